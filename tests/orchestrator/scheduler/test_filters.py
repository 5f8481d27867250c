"""Filters: each refuses for its own reason, in words, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan
from orchestrator.scheduler.bind import Round
from orchestrator.scheduler.filters import FILTERS, Wish, refusal, version_key
from orchestrator.scheduler.footprint import granules
from orchestrator.store import Capacity, MachineState, MachineView, Store

WEB = Wish("web")


def ready(cluster_file: Any, **web: Any) -> Store:
    kind = {"image": "web", "count": 3, "memory": "16MiB", **web}
    store = opening_store(plan(Cluster.model_validate(cluster_file(realms={"web": kind})), 1))
    for machine in store.machines.values():
        machine.state, machine.versions = MachineState.ADMITTED, {"RMM": "1.2.0"}
        machine.capacity = Capacity(granules=60_000, vmids=200)
    return store


def spoil(store: Store, how: str) -> Wish:
    """Make r1-std-01 fail one filter and no other."""
    machine = store.machines["r1-std-01"]
    match how:
        case "state":
            machine.state = MachineState.SUSPECT
        case "cordon":
            store.cordon(machine.name, "memory errors", by="operator")
        case "activity":
            store.occupy(machine.name, "activate")
        case "excluded":
            return Wish("web", ("r1-std-01",))
        case "report":
            machine.capacity = None
        case "granules":
            machine.capacity = Capacity(granules(store.cluster.realms["web"]) - 1, 200)
        case "vmids":
            machine.capacity = Capacity(60_000, 0)
        case "pes":
            machine.demand_ppm = 4_000_000 - 200_000 + 1
        case _:
            raise AssertionError(how)
    return WEB


@pytest.mark.parametrize("how", ["state", "cordon", "activity", "excluded", "report", "granules", "vmids", "pes"])
def test_a_machine_that_lacks_one_thing_is_refused_by_just_that_filter(cluster_file: Any, how: str) -> None:
    store = ready(cluster_file)
    wish = spoil(store, how)
    found = refusal(store, store.machines["r1-std-01"], wish)
    assert found is not None
    assert found.filter == how
    assert found.why
    assert refusal(store, store.machines["r1-std-02"], wish) is None


def test_every_filter_has_a_name_of_its_own() -> None:
    names = [name for name, _ in FILTERS]
    assert len(names) == len(set(names)) == 12


@pytest.mark.parametrize("web", [{"mec": "private"}, {"hash": "sha-384"}, {"lfa": "disallow"}], ids=str)
def test_what_only_edition_2_0_has_is_placed_there_alone(cluster_file: Any, web: dict[str, Any]) -> None:
    base = {"pes": 4, "memory": "256MiB", "firmware": "base"}
    kind = {"image": "web", "memory": "16MiB", **web}
    given = cluster_file(
        profiles={"old": base, "new": {**base, "edition": "2.0"}, "bare": {**base, "edition": "2.0", "mecids": 0}},
        racks={"r1": {"machines": {"old": 1, "new": 1, "bare": 1}}},
        realms={"web": kind},
    )
    store = opening_store(plan(Cluster.model_validate(given), 1))
    for machine in store.machines.values():
        machine.state = MachineState.ADMITTED
        machine.capacity = Capacity(granules=60_000, vmids=200, mecids=1 if machine.profile == "new" else 0)
    found = {name: refusal(store, machine, WEB) for name, machine in store.machines.items()}
    old = found["r1-old-01"]
    assert old is not None
    assert old.filter == "edition"
    assert "edition 2.0" in old.why
    assert found["r1-new-01"] is None
    bare = found["r1-bare-01"]
    assert (bare and bare.filter) == ("edition" if "mec" in web else None)


def test_a_private_context_takes_a_mecid_and_none_is_left_for_the_next(cluster_file: Any) -> None:
    base = {"pes": 4, "memory": "256MiB", "firmware": "base", "edition": "2.0"}
    kind = {"image": "web", "memory": "16MiB", "mec": "private", "count": 2}
    given = cluster_file(profiles={"new": base}, racks={"r1": {"machines": {"new": 1}}}, realms={"web": kind})
    store = opening_store(plan(Cluster.model_validate(given), 1))
    [machine] = store.machines.values()
    machine.state, machine.capacity = MachineState.ADMITTED, Capacity(granules=60_000, vmids=200, mecids=1)
    assert Round(store).place(store.realms["web-001"], WEB).machine == machine.name
    choice = Round(store).place(store.realms["web-002"], WEB)
    assert choice.machine == ""
    assert choice.why.refused == {"mecids": 1}
    assert "MECID" in choice.why.samples[machine.name]


@pytest.mark.parametrize(
    ("running", "floor", "passes"),
    [("1.2.0", "1.2.0", True), ("1.10.0", "1.9.0", True), ("1.2.0", "1.10.0", False), ("", "0.0.1", False)],
)
def test_the_firmware_floor_compares_versions_by_number(
    cluster_file: Any, running: str, floor: str, passes: bool
) -> None:
    store = ready(cluster_file, min_rmm=floor)
    machine = store.machines["r1-std-01"]
    machine.versions = {"RMM": running} if running else {}
    found = refusal(store, machine, WEB)
    assert (found is None) == passes
    assert found is None or found.filter == "firmware"


def test_more_vcpus_than_pes_never_fit(cluster_file: Any) -> None:
    store = ready(cluster_file, vcpus=5, workload={"cpu": "1%"})
    found = refusal(store, store.machines["r1-std-01"], WEB)
    assert found is not None
    assert found.why == "5 vCPUs, 4 PEs"


def refused(store: Store) -> set[str]:
    def look(machine: MachineView) -> bool:
        return refusal(store, machine, WEB) is not None

    return {machine.name for machine in store.machines.values() if look(machine)}


@pytest.mark.parametrize(
    ("spread", "expected"),
    [("none", set()), ("machine", {"r1-std-01"}), ("rack", {"r1-std-01", "r1-std-02"})],
)
def test_realms_of_a_spread_kind_keep_apart(cluster_file: Any, spread: str, expected: set[str]) -> None:
    store = ready(cluster_file, spread=spread)
    store.bind(store.realms["web-001"], "r1-std-01")
    assert refused(store) == expected


def test_versions_are_ordered_by_number() -> None:
    assert sorted(["1.10.0", "1.9.9", "1.2.0"], key=version_key) == ["1.2.0", "1.9.9", "1.10.0"]
