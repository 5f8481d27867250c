"""Leases as the control plane keeps them: what was granted, until when, and when a Realm may run elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.schema import Cluster
from orchestrator.fleet import leases
from orchestrator.plan import opening_store, plan
from orchestrator.store import MachineState, RealmState, Store

S = 1_000_000_000


def hosting(cluster_file: Any, **changes: Any) -> Store:
    store = opening_store(plan(Cluster.model_validate(cluster_file(**changes)), 1))
    store.now_ns = 10 * S
    machine = store.machines["r1-std-01"]
    machine.state, machine.since_ns = MachineState.ADMITTED, 0
    for name, state in (("web-001", RealmState.SERVING), ("web-002", RealmState.STOPPING)):
        store.bind(store.realms[name], "r1-std-01")
        store.realms[name].state, store.realms[name].incarnation = state, 4
    return store


def test_a_copy_that_is_to_stop_gets_no_more_time(cluster_file: Any) -> None:
    store = hosting(cluster_file)
    assert leases.renewals(store, store.machines["r1-std-01"]) == (("web-001", 4),)
    assert store.realms["web-001"].lease_until_ns == store.machines["r1-std-01"].lease_until_ns == 40 * S
    assert store.realms["web-002"].lease_until_ns == 0


def test_a_copy_that_was_just_declared_lost_gets_no_more_time(cluster_file: Any) -> None:
    store = hosting(cluster_file)
    store.lose(store.realms["web-001"], "rebooted")
    assert leases.renewals(store, store.machines["r1-std-01"]) == ()


@pytest.mark.parametrize("state", [MachineState.SUSPECT, MachineState.DOWN, MachineState.EXPECTED])
def test_a_silent_machine_gets_no_lease(cluster_file: Any, state: MachineState) -> None:
    store = hosting(cluster_file)
    store.machines["r1-std-01"].state = state
    assert leases.renewals(store, store.machines["r1-std-01"]) == ()
    assert store.machines["r1-std-01"].lease_until_ns == 0


def test_realms_may_run_elsewhere_a_margin_after_the_last_lease(cluster_file: Any) -> None:
    store = hosting(cluster_file)
    machine = store.machines["r1-std-01"]
    leases.renewals(store, machine)
    machine.state, machine.since_ns = MachineState.SUSPECT, 17 * S
    assert leases.over_ns(store, machine) == 42 * S


def test_an_idle_machine_is_given_up_a_margin_after_suspicion(cluster_file: Any) -> None:
    store = hosting(cluster_file)
    machine = store.machines["r1-std-02"]
    machine.state, machine.since_ns = MachineState.SUSPECT, 17 * S
    assert leases.over_ns(store, machine) == 19 * S


def test_without_leases_nobody_waits_for_them(cluster_file: Any) -> None:
    store = hosting(cluster_file, control={"leases": False})
    machine = store.machines["r1-std-01"]
    leases.renewals(store, machine)
    machine.state, machine.since_ns = MachineState.SUSPECT, 17 * S
    assert leases.over_ns(store, machine) == 19 * S
