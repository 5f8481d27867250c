"""Whether a Realm may be moved, and where to: rules with a name each, asked before anything is ordered.

Rules follow part C of the migration reference (modelled): serving Realm, trusted ends, room, features, no firmware
activity, no older RMM, few sessions at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from cca_machine.migration.precopy import Terms, course
from orchestrator.cluster.schema import Cluster
from orchestrator.realms.reference import rim_rule
from orchestrator.scheduler import footprint
from orchestrator.scheduler.bind import Round
from orchestrator.scheduler.filters import Wish, refusal, version_key
from orchestrator.store import MachineState, MachineView, MigrationRequest, RealmState, RealmView, Store

LEAST_SESSIONS = 5
"""Sessions of a small fleet (KubeVirt's limit for a cluster); larger ones may have 5 % of their machines."""
PATIENCE = 4
"""How many times the estimated transfer a session may take before it is aborted."""
PAGE_NS = 3_000
"""Sealing and opening one granule, both ends together (`migration.page-export`, `migration.page-import`)."""


class Declined(NamedTuple):
    """The rule that forbids the move, and its sentence."""

    rule: str
    why: str


class Admitted(NamedTuple):
    """The machine that the Realm goes to."""

    target: str


def admit(store: Store, request: MigrationRequest) -> Admitted | Declined:
    """Judge a request, and choose the target if the request leaves it open."""
    realm = store.realms.get(request.realm)
    if realm is None:
        return Declined("realm", f"there is no Realm {request.realm}")
    if realm.state is not RealmState.SERVING:
        return Declined("realm", f"Realm is {realm.state}, only a serving one moves")
    if realm.stop_wanted:
        return Declined("realm", "Realm is about to be stopped")
    source = store.machines[realm.machine]
    if len(store.sessions) >= sessions_allowed(store.cluster):
        return Declined("fleet-sessions", f"the fleet has {len(store.sessions)} sessions")
    barred = _source_barred(store, source)
    if barred is not None:
        return barred
    return _choose(store, realm, source) if not request.to else _check(store, realm, source, request.to)


def _source_barred(store: Store, source: MachineView) -> Declined | None:
    if source.state is not MachineState.ADMITTED:
        return Declined("source", f"{source.name} is {source.state}")
    return _end_barred(store, source)


def _end_barred(store: Store, machine: MachineView) -> Declined | None:
    """Rules for either end of a session."""
    if not machine.rak:
        return Declined("trust", f"no platform token of {machine.name} was verified in this boot")
    if machine.activity:
        return Declined("activity", f"firmware activity on {machine.name}: {machine.activity}")
    if len(store.sessions_on(machine.name)) >= store.cluster.migration.sessions_per_machine:
        return Declined("sessions", f"{machine.name} has {store.cluster.migration.sessions_per_machine} sessions")
    return None


def _target_barred(store: Store, source: MachineView, target: MachineView) -> Declined | None:
    """Rules beyond those of the scheduler for a target."""
    if target.name == source.name:
        return Declined("target", f"Realm is on {target.name} already")
    barred = _end_barred(store, target)
    if barred is not None:
        return barred
    profiles = store.cluster.profiles
    here, there = profiles[source.profile], profiles[target.profile]
    if there.edition != here.edition:
        why = f"{source.name} runs RMM {here.edition}, {target.name} RMM {there.edition}"
        return Declined("edition", f"{why}: measurement, token and state of a Realm differ between editions")
    if rim_rule(there.edition, there.quirks) != rim_rule(here.edition, here.quirks):
        why = f"profile {target.profile} measures Realms by other rules than profile {source.profile}"
        return Declined("features", f"{why}: its RIM would be nobody's")
    if there.ipa_bits < here.ipa_bits:
        return Declined("features", f"profile {target.profile} lacks what profile {source.profile} offers its Realms")
    running, offered = source.versions.get("RMM", ""), target.versions.get("RMM", "")
    if version_key(offered) < version_key(running):
        return Declined("firmware", f"RMM {offered or 'unknown'} on {target.name} is older than {running}")
    return None


def _check(store: Store, realm: RealmView, source: MachineView, to: str) -> Admitted | Declined:
    target = store.machines.get(to)
    if target is None:
        return Declined("target", f"there is no machine {to}")
    barred = _target_barred(store, source, target)
    if barred is not None:
        return barred
    store.unbind(realm)  # the Realm does not stand in its own way
    refused = refusal(store, target, Wish(realm.kind))
    store.bind(realm, source.name)
    return Admitted(to) if refused is None else Declined(refused.filter, f"{to}: {refused.why}")


def _choose(store: Store, realm: RealmView, source: MachineView) -> Admitted | Declined:
    barred = {
        machine.name: why
        for machine in store.machines.values()
        if (why := _target_barred(store, source, machine)) is not None
    }
    store.unbind(realm)
    wish = Wish(realm.kind, tuple(sorted(barred)))
    choice = Round(store).choose(wish)
    counts: dict[str, int] = {}
    for machine in store.machines.values() if not choice.machine else ():
        reason = barred.get(machine.name) or refusal(store, machine, wish)
        if reason is not None:
            counts[reason[0]] = counts.get(reason[0], 0) + 1
    store.bind(realm, source.name)
    if choice.machine:
        return Admitted(choice.machine)
    told = ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items()))
    return Declined("target", f"no machine can take it: {told}")


def sessions_allowed(cluster: Cluster) -> int:
    """Sessions that the fleet may have at a time."""
    machines = sum(count for rack in cluster.racks.values() for count in rack.machines.values())
    return cluster.migration.sessions or max(LEAST_SESSIONS, machines // 20)


def patience_ns(cluster: Cluster, kind_name: str) -> int:
    """How long a session of this kind of Realm may stay undecided (virtual ns): an order's time and the transfer's."""
    return cluster.control.order_timeout + PATIENCE * move_ns(cluster, kind_name)


def move_ns(cluster: Cluster, kind_name: str) -> int:
    """How long a move of this kind of Realm takes by the model, rounds and sealing included (virtual ns)."""
    kind = cluster.realms[kind_name]
    link = cluster.network.between_racks
    transfer_ns = kind.memory * 8 * 1_000_000_000 // max(link.bandwidth, 1)
    sealing_ns = footprint.granules(kind) * PAGE_NS * cluster.timing.scale // 1_000_000
    load = kind.workload
    running_ns = course(kind.memory, load.dirty, load.working_set, terms(cluster)).running_ns
    return transfer_ns + sealing_ns + running_ns


def terms(cluster: Cluster, inbound: int = 1) -> Terms:
    """What the file allows a session: nine tenths of the line rate between racks, shared by the `inbound` of a target.

    A source shares what it sends among its own sessions by itself.
    """
    rules = cluster.migration
    return Terms(
        bytes_per_s=max(cluster.network.between_racks.bandwidth * 9 // 80 // max(inbound, 1), 1),
        downtime_ns=rules.downtime,
        most_rounds=0 if rules.mode == "stop-copy" else rules.max_rounds,
        formula=rules.dirty_model,
        auto_converge=rules.auto_converge,
        on_stall=rules.on_stall,
    )
