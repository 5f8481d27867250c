"""From a cluster file and a seed to everything a run starts with: machines, firmware, wanted Realms, reference values.

Pure and cheap to repeat: the head, a resumed head and `realmfleet inspect --anchors` compute the same plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from attestation.stores import PlatformReference, ReferenceValues, TrustAnchor, TrustAnchors
from cca_machine.commands import MachineSpec
from cca_machine.costs import reference_timing
from cca_machine.monitor.platform_token import CONFIG, platform_identity
from orchestrator.cluster.arrivals import Arrival, draw_arrivals
from orchestrator.cluster.editions import mecids, token_profile
from orchestrator.cluster.names import MachinePlace, machine_names, realm_names
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.streams import Stream, derive, run_seed
from orchestrator.firmware.image import FirmwareSet, build_images
from orchestrator.migration.ledger import witness_of
from orchestrator.realms.reference import realm_references
from orchestrator.store import MachineView, RealmView, Store

GRANULE_BYTES = 4096


class Plan(NamedTuple):
    """Everything a run starts with. `secret` are the 32 bytes that all streams and keys of the run derive from."""

    cluster: Cluster
    seed: int
    secret: bytes
    machines: Mapping[str, MachineSpec]
    realms: tuple[tuple[str, str], ...]
    """(name, kind) of every wanted Realm, in the order of the file."""
    arrivals: tuple[Arrival, ...]
    """Realms that come and go, in the order of the processes and of their arrival."""
    firmware: FirmwareSet
    references: ReferenceValues


def arrivals_of(cluster: Cluster, seed: int) -> tuple[Arrival, ...]:
    """Realms that come and go under this seed, in the order of the processes and of their arrival."""
    secret = run_seed(seed)
    return tuple(
        arrival
        for name, process in cluster.arrivals.items()
        for arrival in draw_arrivals(name, process, cluster.duration, Stream.named(secret, "arrivals", name))
    )


def plan(cluster: Cluster, seed: int) -> Plan:
    """Expand a checked cluster under `seed`; equal arguments give equal bytes. Machines are sorted by name."""
    secret = run_seed(seed)
    firmware = build_images(cluster, seed)
    timing = dict(reference_timing(cluster.timing.scale, cluster.timing.override))
    places = sorted(machine_names(cluster))
    return Plan(
        cluster=cluster,
        seed=seed,
        secret=secret,
        machines={place.name: _machine(cluster, place, secret, firmware, timing) for place in places},
        realms=tuple(realm_names(cluster)),
        arrivals=arrivals_of(cluster, seed),
        firmware=firmware,
        references=ReferenceValues(
            [firmware.reference_values(implementation_id(profile), CONFIG) for profile in cluster.profiles],
            realm_references(cluster),
        ),
    )


def _machine(
    cluster: Cluster, place: MachinePlace, secret: bytes, firmware: FirmwareSet, timing: dict[str, int]
) -> MachineSpec:
    profile = cluster.profiles[place.profile]
    return MachineSpec(
        name=place.name,
        rack=place.rack,
        profile=place.profile,
        seed=derive(secret, "machine", place.name),
        pes=profile.pes,
        memory_bytes=profile.memory,
        firmware=firmware.boot_images(profile.firmware),
        anchors=dict(firmware.anchors),
        implementation_id=implementation_id(place.profile),
        timing=timing,
        vmid_bits=profile.vmid_bits,
        ipa_bits=profile.ipa_bits,
        quirks=profile.quirks,
        leases=cluster.control.leases,
        firmware_policy=firmware.policy,
        host_version=profile.host,
        edition=profile.edition,
        token_profile=token_profile(profile),
        mecids=mecids(profile),
    )


def implementation_id(profile: str) -> bytes:
    """The 32-byte implementation id (claim 2396) of all machines of a profile."""
    return hashlib.sha256(b"realmfleet implementation\0" + profile.encode()).digest()


def new_platform_references(before: Cluster, after: Cluster, seed: int) -> list[PlatformReference]:
    """Reference values, by profile, of firmware components that only the later cluster has releases with."""
    known, built = build_images(before, seed), build_images(after, seed)
    found = []
    for profile in after.profiles:
        name = implementation_id(profile)
        old = {component.measurement_value for component in known.reference_values(name, CONFIG).components}
        reference = built.reference_values(name, CONFIG)
        fresh = tuple(each for each in reference.components if each.measurement_value not in old)
        if fresh:
            found.append(msgspec.structs.replace(reference, components=fresh))
    return found


def trust_anchors(made: Plan) -> TrustAnchors:
    """The manufacturers' endorsements: the public CPAK of every machine of the plan, for `inspect --anchors`."""
    anchors = TrustAnchors()
    for spec in made.machines.values():
        identity = platform_identity(spec.seed)
        anchors.add(TrustAnchor(identity.instance_id, spec.implementation_id, identity.cpak.public))
    return anchors


def opening_store(made: Plan) -> Store:
    """What the control plane believes before anything was heard: machines expected, Realms awaited."""
    store = Store(made.cluster, made.seed)
    store.witness = witness_of(made.secret).public_key
    for spec in made.machines.values():
        store.machines[spec.name] = MachineView(
            spec.name, spec.rack, spec.profile, pes=spec.pes, granules=spec.memory_bytes // GRANULE_BYTES
        )
    for name, kind in made.realms:
        store.realms[name] = RealmView(name, kind, start_at_ns=made.cluster.realms[kind].start_at)
    for name, kind, start_ns, stop_ns in made.arrivals:
        store.realms[name] = RealmView(name, kind, start_at_ns=start_ns, stop_at_ns=stop_ns)
    return store
