"""Which way a machine is updated when the rollout leaves it open (`strategy: auto`): the cheapest that is possible.

Each way has a predicted cost in Realm-nanoseconds without service, from the assumed timings and what stands on the
machine; a live activation also carries the risk of losing every Realm there, by how often it failed in this rollout so
far. What is impossible is said with its reason. Integers only; every number stands in the record of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from cca_machine.costs import reference_timing
from orchestrator.cluster.schema import Component
from orchestrator.migration.admission import Declined, admit
from orchestrator.scheduler.footprint import granules
from orchestrator.store import MachineView, MigrationRequest, RealmState, RealmView, Store

WAYS = ("live", "drain", "reboot")
PRIOR_TRIES, PRIOR_FAILURES_PPM = 20, 1_000_000
"""Before anything was tried one activation in 20 is expected to fail (assumed)."""
PPM = 1_000_000


class RolloutChose(Struct, frozen=True, tag="rollout.chose"):
    """How a machine is updated, and why: predicted Realm-ns without service by way, and what was impossible."""

    rollout: str
    machine: str
    strategy: str
    realms: int
    costs_ns: dict[str, int]
    impossible: dict[str, str]
    activation_failure_ppm: int


def choose(rollout: str, view: MachineView, new: Component, tries: int, failures: int, store: Store) -> RolloutChose:
    """Choose the way of one machine; `tries` and `failures` are the live activations of this rollout so far."""
    cluster = store.cluster
    timing = reference_timing(cluster.timing.scale, cluster.timing.override)
    here = [realm for realm in store.realms_on(view.name) if realm.state is RealmState.SERVING]
    risk_ppm = (failures * PPM + PRIOR_FAILURES_PPM) // (tries + PRIOR_TRIES)
    again_ns = _restart_ns(timing, store)
    pause_ns = timing["lfa.gather"] + timing["lfa.activate"] + view.pes * timing["lfa.call"]
    costs = {
        "live": len(here) * (pause_ns + again_ns * risk_ppm // PPM),
        "drain": sum(_blackout_ns(realm, timing, store) for realm in here),
        "reboot": len(here) * again_ns,
    }
    impossible = {
        way: why for way, why in (("live", _no_live(view, new, store)), ("drain", _no_drain(here, store))) if why
    }
    strategy = min((way for way in WAYS if way not in impossible), key=lambda way: (costs[way], WAYS.index(way)))
    return RolloutChose(rollout, view.name, strategy, len(here), costs, impossible, risk_ppm)


def _restart_ns(timing: Mapping[str, int], store: Store) -> int:
    """Stopped here and started elsewhere: one beat to place it, build, boot and attest (what each Realm needs)."""
    attestation = store.cluster.attestation
    build_ns = timing["host.vmm-setup"] + timing["guest.boot"] + timing["rsi.attestation-token"]
    return 2 * store.cluster.control.beat + build_ns + attestation.service + attestation.latency


def _blackout_ns(realm: RealmView, timing: Mapping[str, int], store: Store) -> int:
    """Of a migration (modelled): the downtime that pre-copy aims at, or the whole transfer; and a beat to decide."""
    cluster, kind = store.cluster, store.cluster.realms[realm.kind]
    if cluster.migration.mode == "pre-copy":
        return cluster.migration.downtime + cluster.control.beat
    wire_ns = kind.memory * 8 * 1_000_000_000 // max(cluster.network.between_racks.bandwidth, 1)
    sealed_ns = granules(kind) * (timing["migration.page-export"] + timing["migration.page-import"])
    return timing["migration.freeze"] + wire_ns + sealed_ns + cluster.control.beat


def _no_live(view: MachineView, new: Component, store: Store) -> str:
    if view.rmm_dead:
        return "it has no RMM whose state could be handed over"
    running = store.cluster.firmware.releases[store.cluster.profiles[view.profile].firmware].components["RMM"]
    if running.version == view.versions.get("RMM") and running.data_format != new.data_format:
        return f"data_format {new.data_format} cannot take over the state of format {running.data_format}"
    return ""


def _no_drain(here: list[RealmView], store: Store) -> str:
    for realm in here:
        verdict = admit(store, MigrationRequest(realm.name, "", "rollout", store.now_ns))
        if isinstance(verdict, Declined) and verdict.rule in ("target", "trust", "source"):
            return f"{realm.name}: {verdict.why}"
    return ""
