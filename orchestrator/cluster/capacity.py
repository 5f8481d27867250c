"""Whether the Realms of a file can fit its machines at all: memory in granules, PEs, VMIDs, racks.

Granule counts are estimated from below (tables for the memory alone, no host memory), so what is refused here could
never have run. Where exactly each Realm goes is the scheduler's.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cluster.diagnostics import Finding, Path
from orchestrator.cluster.facts import Facts, unknown_name
from orchestrator.cluster.quantities import PPM, format_size
from orchestrator.cluster.schema import Profile, RealmKind

GRANULE = 4096
"""Bytes of a granule: the unit in which memory changes its physical address space."""

REC_GRANULES = 17
"""The REC itself and 16 auxiliary granules. Source: TF-RMM 0.x, MAX_REC_AUX_GRANULES."""

MOST_CONTAINER_BYTES = 4 << 20
"""Real content of a container image: it is encrypted, carried through a mailbox and decrypted in every run."""

_TABLE_SPANS = (2 << 20, 1 << 30, 512 << 30)
"""Bytes that one RTT of level 3, 2 and 1 maps. Source: DEN0137 1.0, RTT levels of a 4 KiB granule."""


def realm_granules(memory_bytes: int, vcpus: int) -> int:
    """Granules that a Realm takes at least: its pages, its RTTs, its RD and its RECs with their auxiliary granules."""
    tables = sum(-(-memory_bytes // span) for span in _TABLE_SPANS)
    return -(-memory_bytes // GRANULE) + tables + 1 + vcpus * REC_GRANULES


def whole_granules(facts: Facts) -> Iterator[Finding]:
    """Memory and images are counted in granules, so they must be multiples of one."""
    cluster = facts.cluster
    sizes: list[tuple[Path, int]] = [
        *((("profiles", name, "memory"), profile.memory) for name, profile in cluster.profiles.items()),
        *((("images", name, "size"), image.size) for name, image in cluster.images.items()),
        *((("realms", name, "memory"), kind.memory) for name, kind in cluster.realms.items()),
    ]
    for path, size in sizes:
        if size % GRANULE:
            upper = format_size(-(-size // GRANULE) * GRANULE)
            yield Finding(path, f"{size} bytes are not a multiple of the 4KiB granule", f"write {upper}")


def realm_contents(facts: Facts) -> Iterator[Finding]:
    """Image and working set lie inside the Realm's memory."""
    for name, kind in facts.cluster.realms.items():
        image = facts.cluster.images.get(kind.image)
        room = format_size(kind.memory)
        if image is not None and image.size > kind.memory:
            message = f"image '{kind.image}' of {format_size(image.size)} is larger than the Realm's memory of {room}"
            yield Finding(("realms", name, "image"), message, "give the Realm more memory")
        if kind.workload.working_set > kind.memory:
            message = f"{format_size(kind.workload.working_set)} are more than the Realm's memory of {room}"
            yield Finding(("realms", name, "workload", "working_set"), message, f"at most {room}")


def pods(facts: Facts) -> Iterator[Finding]:
    """Pods start images that exist, of a content that guests can take, and have no program besides."""
    cluster = facts.cluster
    for name, container in cluster.containers.items():
        if container.content > MOST_CONTAINER_BYTES:
            message = f"{format_size(container.content)} of content are more than pods of a simulation pull"
            yield Finding(
                ("containers", name, "content"), message,
                f"at most {format_size(MOST_CONTAINER_BYTES)}; `size` is what pulling is charged for",
            )  # fmt: skip
    for name, kind in cluster.realms.items():
        if kind.pod is None:
            continue
        if kind.pod.container not in cluster.containers:
            path: Path = ("realms", name, "pod", "container")
            yield unknown_name(path, "container", kind.pod.container, list(cluster.containers))
        for field in ("program", "secret"):
            if field in kind.model_fields_set:
                message = f"a pod has no {field} of its own: it starts a container image and gets the key of that"
                yield Finding(("realms", name, field), message, f"leave {field} out", at="key")


def _too_small(kind: RealmKind, profile: Profile) -> bool:
    granules = realm_granules(kind.memory, kind.vcpus)
    return granules * GRANULE > profile.memory or kind.memory > 1 << (profile.ipa_bits - 1)


def fits_a_machine(facts: Facts) -> Iterator[Finding]:
    """Every kind fits some machine by memory, by IPA width and by PEs; vCPUs of several Realms may share PEs."""
    if not facts.profiles:
        return
    for name, kind in facts.cluster.realms.items():
        roomy = [profile for profile in facts.profiles.values() if not _too_small(kind, profile)]
        most_memory = max(facts.profiles, key=lambda profile: facts.profiles[profile].memory)
        most_pes = max(facts.profiles, key=lambda profile: facts.profiles[profile].pes)
        if not roomy:
            needs = format_size(realm_granules(kind.memory, kind.vcpus) * GRANULE)
            largest = format_size(facts.profiles[most_memory].memory)
            message = f"larger than any machine: it takes {needs} with its tables and RECs"
            yield Finding(("realms", name, "memory"), message, f"the largest profile '{most_memory}' has {largest}")
        if kind.vcpus > facts.profiles[most_pes].pes:
            message = f"{kind.vcpus} vCPUs are more than any machine has PEs"
            hint = f"the largest profile '{most_pes}' has {facts.profiles[most_pes].pes}"
            yield Finding(("realms", name, "vcpus"), message, hint)
        elif roomy and all(kind.vcpus > profile.pes for profile in roomy):
            message = f"no machine has both {kind.vcpus} PEs and room for {format_size(kind.memory)}"
            yield Finding(("realms", name), message, "lower vcpus or memory, or add a profile", at="key")


def fits_the_fleet(facts: Facts) -> Iterator[Finding]:
    """All Realms together fit all machines together, by granules, by VMIDs and by CPU demand."""
    cluster = facts.cluster
    placed = [facts.profiles[place.profile] for place in facts.machines.values() if place.profile in facts.profiles]
    wanted = sum(realm_granules(kind.memory, kind.vcpus) * kind.count for kind in cluster.realms.values()) * GRANULE
    memory = sum(profile.memory for profile in placed)
    if placed and wanted > memory:
        message = f"all Realms take {wanted >> 20}MiB with tables and RECs, all machines have {memory >> 20}MiB"
        yield Finding(("realms",), message, "lower counts or memory, or add machines", at="key")
    count = sum(kind.count for kind in cluster.realms.values())
    vmids = sum(1 << profile.vmid_bits for profile in placed)
    if placed and count > vmids:
        message = f"{count} Realms need as many VMIDs, all machines have {vmids}"
        yield Finding(("realms",), message, "set vmid_bits: 16 in the profiles, or add machines", at="key")
    demand_ppm = sum(kind.workload.cpu * kind.vcpus * kind.count for kind in cluster.realms.values())
    pes = sum(profile.pes for profile in placed)
    if placed and demand_ppm > pes * PPM:
        message = f"all Realms demand {-(-demand_ppm // PPM)} PEs, all machines have {pes}"
        yield Finding(("realms",), message, "lower counts, vcpus or workload.cpu, or add machines", at="key")


def spread_has_room(facts: Facts) -> Iterator[Finding]:
    """Anti-affinity needs as many machines or racks as the kind has Realms."""
    available = {"machine": len(facts.machines), "rack": len(facts.cluster.racks)}
    for name, kind in facts.cluster.realms.items():
        if kind.spread != "none" and kind.count > available[kind.spread]:
            message = f"{kind.count} Realms cannot each have a {kind.spread} of their own"
            hint = f"the fleet has {available[kind.spread]} {kind.spread}s; lower count or choose another spread"
            yield Finding(("realms", name, "spread"), message, hint)
