"""The questions that no single field can answer, as one tuple of checks.

Each check is a function from `Facts` to findings; all of them run, so that a user sees every mistake at once. To add
one: write it in the module of its subject (`capacity`, `releases`, `deeds`, or here) and name it in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.cluster import capacity, deeds, editions, releases
from orchestrator.cluster.diagnostics import Finding, Path
from orchestrator.cluster.facts import Facts, gather, too_large, unknown_name
from orchestrator.cluster.names import machine_names
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import Cluster

LEAST_LATENCY_NS = 1_000
"""No link is faster than a microsecond: machines that talk are advanced in windows as long as their latency."""


def references(facts: Facts) -> Iterator[Finding]:
    """Profiles name releases, racks name profiles, kinds name images."""
    cluster = facts.cluster
    for name, profile in cluster.profiles.items():
        if profile.firmware not in cluster.firmware.releases:
            path: Path = ("profiles", name, "firmware")
            yield unknown_name(path, "release", profile.firmware, list(cluster.firmware.releases))
    for name, rack in cluster.racks.items():
        for profile_name in rack.machines:
            if profile_name not in cluster.profiles:
                path = ("racks", name, "machines", profile_name)
                yield unknown_name(path, "profile", profile_name, list(cluster.profiles), at_key=True)
    for name, kind in cluster.realms.items():
        if kind.image not in cluster.images:
            yield unknown_name(("realms", name, "image"), "image", kind.image, list(cluster.images))


def distinct_names(facts: Facts) -> Iterator[Finding]:
    """Rack 'a' with profile 'b-c' and rack 'a-b' with profile 'c' would name two machines alike."""
    seen: dict[str, str] = {}
    for place in machine_names(facts.cluster):
        if place.name in seen:
            message = f"its machine '{place.name}' has the name of a machine in rack '{seen[place.name]}'"
            yield Finding(("racks", place.rack, "machines", place.profile), message, "rename the rack", at="key")
        seen.setdefault(place.name, place.rack)


def rhythm(facts: Facts) -> Iterator[Finding]:
    """Beat, heartbeat, suspicion and lease follow from shortest to longest, and the run is a whole number of beats."""
    control = facts.cluster.control
    if facts.cluster.duration % control.beat:
        beat = format_duration(control.beat)
        whole = format_duration(-(-facts.cluster.duration // control.beat) * control.beat)
        message = f"{format_duration(facts.cluster.duration)} is not a multiple of the beat of {beat}"
        yield Finding(("duration",), message, f"write {whole}")
    if control.beat > control.heartbeat:
        message = f"the beat is longer than the heartbeat of {format_duration(control.heartbeat)}"
        yield Finding(("control", "beat"), message, "control plane and machines only talk once a beat")
    if control.suspect_after < control.heartbeat:
        message = f"shorter than the heartbeat of {format_duration(control.heartbeat)}"
        hint = f"every machine would always be suspect; write at least {format_duration(2 * control.heartbeat)}"
        yield Finding(("control", "suspect_after"), message, hint)
    if control.leases and control.lease < 2 * control.heartbeat:
        message = f"shorter than two heartbeats of {format_duration(control.heartbeat)}"
        hint = f"one lost heartbeat would pause every Realm; write at least {format_duration(2 * control.heartbeat)}"
        yield Finding(("control", "lease"), message, hint)


def links(facts: Facts) -> Iterator[Finding]:
    """Every link takes at least a microsecond."""
    network = facts.cluster.network
    shapes = {"same_rack": network.same_rack, "between_racks": network.between_racks, "to_control": network.to_control}
    for name, shape in shapes.items():
        if shape.latency < LEAST_LATENCY_NS:
            message = f"{format_duration(shape.latency)} is shorter than any link"
            yield Finding(("network", name, "latency"), message, "write at least 1us")


def signers(facts: Facts) -> Iterator[Finding]:
    """No signer is listed twice."""
    listed = facts.cluster.firmware.signers
    for index, signer in enumerate(listed):
        if signer in listed[:index]:
            yield Finding(("firmware", "signers", index), f"'{signer}' is listed twice", "remove one")


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    references,
    distinct_names,
    rhythm,
    links,
    signers,
    capacity.whole_granules,
    capacity.realm_contents,
    capacity.pods,
    capacity.fits_a_machine,
    capacity.fits_the_fleet,
    capacity.spread_has_room,
    editions.combinations,
    editions.kinds_have_a_home,
    releases.bootable,
    releases.component_sizes,
    releases.policy,
    releases.rollouts,
    releases.limits,
    releases.waves,
    releases.firmware_floor,
    releases.revocations,
    releases.steering,
    releases.skew,
    deeds.events,
    deeds.starts,
    deeds.arrivals,
    deeds.faults,
)


def check_cluster(cluster: Cluster) -> list[Finding]:
    """Every finding of every check; a fleet beyond the limits is only told so."""
    oversize = list(too_large(cluster))
    if oversize:
        return oversize
    facts = gather(cluster)
    return [finding for check in CHECKS for finding in check(facts)]
