"""Generated names."""

from __future__ import annotations

from typing import Any

from orchestrator.cluster.names import MachinePlace, machine_names, realm_names
from orchestrator.cluster.schema import Cluster


def test_machines_are_numbered_per_rack_and_profile_from_one(sound: dict[str, Any]) -> None:
    sound["profiles"]["big"] = sound["profiles"]["std"]
    sound["racks"] = {"r1": {"machines": {"std": 2, "big": 1}, "power": "b"}, "r2": {"machines": {"std": 1}}}
    assert machine_names(Cluster.model_validate(sound)) == [
        MachinePlace("r1-std-01", "r1", "std", "b"),
        MachinePlace("r1-std-02", "r1", "std", "b"),
        MachinePlace("r1-big-01", "r1", "big", "b"),
        MachinePlace("r2-std-01", "r2", "std", "a"),
    ]


def test_realms_are_numbered_per_kind_with_three_digits_at_least(sound: dict[str, Any]) -> None:
    sound["realms"] = {"web": {"image": "web", "count": 1001}, "db": {"image": "web"}}
    names = realm_names(Cluster.model_validate(sound))
    assert names[0] == ("web-001", "web")
    assert names[1000] == ("web-1001", "web")
    assert names[1001:] == [("db-001", "db")]


def test_a_hundredth_machine_gets_a_third_digit(sound: dict[str, Any]) -> None:
    sound["racks"] = {"r1": {"machines": {"std": 100}}}
    assert machine_names(Cluster.model_validate(sound))[-1].name == "r1-std-100"
