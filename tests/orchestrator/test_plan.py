"""From cluster file and seed to machines, firmware and Realms: repeatable, and different where it must be."""

from __future__ import annotations

from typing import Any

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan, trust_anchors
from orchestrator.store import MachineState, RealmState


def test_the_same_file_and_seed_give_the_same_machines(cluster_file: Any) -> None:
    cluster = Cluster.model_validate(cluster_file())
    assert plan(cluster, 7).machines == plan(cluster, 7).machines
    assert plan(cluster, 7).machines != plan(cluster, 8).machines


def test_no_two_machines_share_a_seed_and_machines_of_a_profile_share_an_implementation(cluster_file: Any) -> None:
    machines = plan(Cluster.model_validate(cluster_file()), 1).machines.values()
    assert len({spec.seed for spec in machines}) == 4
    assert len({spec.implementation_id for spec in machines}) == 1
    assert [spec.name for spec in machines] == sorted(spec.name for spec in machines)


def test_the_manufacturer_endorses_every_machine(cluster_file: Any) -> None:
    made = plan(Cluster.model_validate(cluster_file()), 1)
    assert len(trust_anchors(made)) == len(made.machines)


def test_the_control_plane_starts_out_knowing_nothing_but_the_file(cluster_file: Any) -> None:
    store = opening_store(plan(Cluster.model_validate(cluster_file()), 1))
    assert {machine.state for machine in store.machines.values()} == {MachineState.EXPECTED}
    assert {machine.capacity for machine in store.machines.values()} == {None}
    assert {realm.state for realm in store.realms.values()} == {RealmState.AWAITED}
    assert list(store.realms) == ["web-001", "web-002", "web-003"]


def test_turning_leases_off_in_the_file_reaches_the_hosts(cluster_file: Any) -> None:
    cluster = Cluster.model_validate(cluster_file(control={"leases": False}))
    assert not any(spec.leases for spec in plan(cluster, 1).machines.values())
