"""Selections: narrowing by words, drawing from the seed, tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import Fleet, FleetError


def test_machines_are_chosen_by_rack_zone_and_state(fleet: Fleet) -> None:
    assert fleet.machines.where(rack="r1").names == ["r1-std-01", "r1-std-02"]
    assert fleet.machines.where(zone="b").names == ["r2-std-01", "r2-std-02"]
    assert fleet.machines.where(rack=["r1", "r2"], state="admitted", rmm="1.0.0").names == fleet.machines.names
    assert fleet.machines.where(name="*-02").names == ["r1-std-02", "r2-std-02"]
    assert fleet.machines.where(state="down").names == []


def test_realms_are_chosen_by_image_machine_and_by_a_function(fleet: Fleet) -> None:
    first = fleet.realms["web-001"]
    assert fleet.realms.where(image="image-v1").names == ["web-001", "web-002"]
    assert "web-001" in fleet.realms.where(machine=first.machine)
    assert fleet.realms.where(lambda realm: realm.name.endswith("2")).names == ["web-002"]
    assert fleet.realms.where(rack=fleet.machines[first.machine].view.rack, state="serving")[0].machine != ""


def test_a_word_that_nobody_knows_is_refused(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match=r"a machine has no rak .did you mean 'rack'"):
        fleet.machines.where(rak="r1")


def test_a_handle_tells_the_present_state(fleet: Fleet) -> None:
    machine = fleet.machines["r1-std-01"]
    chosen = fleet.machines.where(cordoned=True)
    assert not chosen
    machine.cordon()
    assert machine.facts()["cordoned"] is True
    assert fleet.machines.where(cordoned=True).names == ["r1-std-01"]


def test_samples_come_from_the_seed(opened: Callable[..., Fleet]) -> None:
    def draws(seed: int) -> list[list[str]]:
        machines = opened(seed=seed).machines
        return [machines.sample(2).names for _ in range(6)]

    assert draws(5) == draws(5)
    assert draws(5) != draws(6)
    assert all(len(set(names)) == 2 and names == sorted(names) for names in draws(5))


def test_a_sample_is_never_larger_than_what_there_is(fleet: Fleet) -> None:
    assert fleet.realms.sample(99).names == fleet.realms.names


def test_a_selection_is_a_sequence_and_a_table(fleet: Fleet) -> None:
    machines = fleet.machines
    assert (len(machines), machines[0].name, machines[-1].name) == (4, "r1-std-01", "r2-std-02")
    assert machines[1:3].names == ["r1-std-02", "r2-std-01"]
    assert machines.table().columns == list(machines[0].facts())
    assert machines.table()["realms"].sum() == 2
    assert repr(machines) == "4 machines (4 admitted)"
