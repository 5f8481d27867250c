"""What a Realm must look like: its specification from the cluster file, and the RIM that follows from it.

The RIM is computed from the VMM's plan by an independent calculator (`attestation.rim`); no machine is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha512

import msgspec

from attestation import rim
from attestation.container.init_data import init_data_digest
from attestation.rim import (
    DataCreate,
    HashAlgorithm,
    PageDigests,
    RealmCreate,
    RecCreate,
    RimEvent,
    RimRule,
    RipasInit,
)
from attestation.stores import RealmReference
from cca_machine import layout
from cca_machine.commands import ImageSpec, RealmSpec, Workload
from cca_machine.guest.program import POD
from cca_machine.registry import key_path
from orchestrator.cluster.schema import Cluster
from orchestrator.realms.pods import pod_spec

SECRET_REPOSITORY = "realmfleet"
SECRET_TYPE = "secret"


def realm_spec(cluster: Cluster, kind_name: str, realm: str, incarnation: int) -> RealmSpec:
    """One incarnation of a Realm, as its VMM will be asked to build it; the RPV names the Realm."""
    kind = cluster.realms[kind_name]
    image = cluster.images[kind.image]
    shape = kind.workload
    pod = pod_spec(cluster, kind.pod, realm) if kind.pod is not None else None
    return RealmSpec(
        realm=realm,
        incarnation=incarnation,
        kind=kind_name,
        vcpus=kind.vcpus,
        memory_bytes=kind.memory,
        image=ImageSpec(kind.image, image.version, image.size),
        program=kind.program if pod is None else POD,
        workload=Workload(shape.requests_per_s, shape.cpu, shape.dirty, shape.working_set),
        hash_algo=kind.hash,
        rpv=personalization(realm) if pod is None else init_data_digest(pod.init_data),
        mec=kind.mec,
        lfa=kind.lfa,
        pod=pod,
    )


def personalization(realm: str) -> bytes:
    """The 64-byte RPV of a Realm: SHA-512 of its name, so that evidence says which Realm it is about."""
    return sha512(realm.encode()).digest()


def resource_path(cluster: Cluster, kind_name: str) -> str:
    """The path (repository/type/tag) of what the broker releases to Realms of this kind: to pods their image key."""
    kind = cluster.realms[kind_name]
    if kind.pod is not None:
        return key_path(kind.pod.container)
    return f"{SECRET_REPOSITORY}/{SECRET_TYPE}/{kind.secret}"


def rim_rule(edition: str, quirks: str) -> RimRule:
    """By which rules an RMM measures: 2.0 leaves RIPAS out and starts from zero, TF-RMM's from the parameters."""
    if edition == "1.0":
        return RimRule.RMM_1_0
    return RimRule.RMM_2_0 if quirks == "tf-rmm" else RimRule.RMM_2_0_TEXT


def rim_rules(cluster: Cluster) -> tuple[RimRule, ...]:
    """The rules of all machines of the cluster, each once."""
    used = {name for rack in cluster.racks.values() for name in rack.machines}
    profiles = [profile for name, profile in cluster.profiles.items() if name in used]
    return tuple(dict.fromkeys(rim_rule(profile.edition, profile.quirks) for profile in profiles))


def expected_rim(spec: RealmSpec, rule: RimRule = RimRule.RMM_1_0) -> bytes:
    """The RIM of a Realm built from `spec` (DEN0137 1.0-rel0, section A7.1); name, incarnation and RPV do not enter."""
    unmeasured = {"realm": "", "incarnation": 0, "kind": "", "rpv": bytes(64), "workload": Workload(), "pod": None}
    return _rim(msgspec.structs.replace(spec, **unmeasured), rule)


@lru_cache(maxsize=1024)
def _rim(spec: RealmSpec, rule: RimRule) -> bytes:
    return rim.compute(_events(layout.plan(spec), rule), rule=rule)


def _events(plan: layout.LoadPlan, rule: RimRule) -> Iterator[RimEvent]:
    """The plan's measured events in the calculator's words; an RMM 2.0 is given its policies in the flags."""
    policies = 0 if rule is RimRule.RMM_1_0 else plan.policy_flags
    digests = PageDigests(HashAlgorithm(int(plan.hash_algo)))
    for event in layout.measured_events(plan):
        match event:
            case layout.RealmCreated():
                yield RealmCreate(**{**msgspec.structs.asdict(event), "flags": event.flags | policies})
            case layout.RipasInitialised():
                yield RipasInit(event.base, event.top)
            case layout.DataLoaded():
                yield DataCreate(event.ipa, rim.DATA_MEASURED, digests.page(event.content))
            case layout.RecCreated():
                yield RecCreate(rim.REC_RUNNABLE, event.pc, event.gprs)


def realm_references(cluster: Cluster) -> tuple[RealmReference, ...]:
    """One reference value per distinct Realm image and shape of the cluster, and per rule of its machines."""
    references: dict[bytes, RealmReference] = {}
    for kind_name in cluster.realms:
        for rule in rim_rules(cluster):
            value = expected_rim(realm_spec(cluster, kind_name, "", 0), rule)
            references.setdefault(
                value, RealmReference(initial_measurement=value, class_id=value, name=kind_name, source="computed")
            )
    return tuple(references.values())
