"""Every file of `clusters/`: valid, within its JSON schema, and what its header promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator.chaos.checkers import CHECKERS
from orchestrator.cluster.experiment import Experiment, PropertyProbe, expand
from orchestrator.cluster.json_schema import json_schema
from orchestrator.cluster.load import load_either, load_experiment, load_text
from orchestrator.cluster.names import machine_names, realm_names
from orchestrator.cluster.schema import Cluster, LinkFault, LinkFaultKind, MachineFaultKind, RolloutEvent

CLUSTERS = Path(__file__).resolve().parents[2] / "clusters"
FILES = sorted(CLUSTERS.glob("*.yaml"))
EXPERIMENTS = [path for path in FILES if path.name.startswith("chaos-")]


def cluster(name: str) -> Cluster:
    loaded = load_text((CLUSTERS / name).read_bytes(), name)
    assert loaded.value is not None, loaded.render()
    return loaded.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_valid_without_warnings(path: Path) -> None:
    loaded = load_either(path.read_bytes(), path.name)
    assert loaded.render() == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_fits_the_json_schema_as_another_yaml_reader_sees_it(path: Path) -> None:
    data: Any = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    jsonschema.validate(data, json_schema("experiment" if path in EXPERIMENTS else "cluster"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_what_it_shows_what_to_look_at_and_its_seed(path: Path) -> None:
    text = path.read_text("utf-8")
    header = text[: text.index("\n\n")]
    for word in ("What it shows", "What to look at", "Seed: "):
        assert word in header
    value = load_either(text, path.name).value
    assert value is not None
    assert f"# Seed: {value.seed}" in header
    assert value.name == path.stem


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("extreme", [0, 1])
def test_an_experiment_can_be_planned_at_both_ends_of_its_jitter(path: Path, extreme: int) -> None:
    experiment = load_experiment(path.read_bytes(), path.name).value
    assert experiment is not None
    faults = expand(experiment, cluster(experiment.fleet), lambda _, bound: extreme * (bound - 1))
    assert len(faults) >= len(experiment.method)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_asks_only_checkers_that_exist(path: Path) -> None:
    experiment = load_experiment(path.read_bytes(), path.name).value
    assert experiment is not None
    asked = {probe.checker for probe in experiment.hypothesis.probes if isinstance(probe, PropertyProbe)}
    assert {*asked, *experiment.checkers} <= set(CHECKERS)


OF_PODS = {"pod.tampered-image", "pod.tampered-init-data"}
"""Faults that the storm leaves out: its Realms are no pods."""


def test_the_storm_holds_every_kind_of_fault_that_its_fleet_can_meet() -> None:
    storm = load_experiment((CLUSTERS / "chaos-storm.yaml").read_bytes(), "f").value
    assert isinstance(storm, Experiment)
    kinds = {*get_args(MachineFaultKind), *get_args(LinkFaultKind)}
    assert {step.fault for step in storm.method} == kinds - OF_PODS
    assert {fault.fault for fault in cluster("coco-pod.yaml").faults} >= OF_PODS


def test_the_quickstart_is_the_day_that_its_header_tells() -> None:
    fleet = cluster("quickstart.yaml")
    places = machine_names(fleet)
    assert (len(places), len({place.rack for place in places}), len({place.profile for place in places})) == (9, 3, 2)
    assert (len(realm_names(fleet)), len(fleet.realms)) == (24, 3)
    assert len({(kind.image, kind.program, kind.workload) for kind in fleet.realms.values()}) == 3
    assert [event.kind for event in fleet.events] == ["migrate", "rollout"]
    assert [fault.fault for fault in fleet.faults] == ["machine.power-loss", "network.partition"]


def test_the_quickstart_rolls_out_to_a_canary_first_and_to_all_in_the_end() -> None:
    rollout = cluster("quickstart.yaml").events[1]
    assert isinstance(rollout, RolloutEvent)
    assert [(wave.machines, wave.share) for wave in rollout.waves] == [(1, None), (None, 300_000), (None, 1_000_000)]


def test_the_quickstart_cuts_a_rack_off_for_longer_than_a_lease_and_its_margin() -> None:
    fleet = cluster("quickstart.yaml")
    cut = fleet.faults[1]
    assert isinstance(cut, LinkFault)
    assert cut.during > fleet.control.lease + fleet.control.lease_margin


def test_the_quickstart_has_room_for_all_realms_with_one_rack_gone() -> None:
    fleet = cluster("quickstart.yaml")
    left = [fleet.profiles[place.profile] for place in machine_names(fleet) if place.rack != "r3"]
    memory = sum(kind.memory * kind.count for kind in fleet.realms.values())
    demand_ppm = sum(kind.workload.cpu * kind.vcpus * kind.count for kind in fleet.realms.values())
    assert 2 * memory < sum(profile.memory for profile in left)
    assert 2 * demand_ppm < sum(profile.pes for profile in left) * 1_000_000
    assert all(kind.count <= len(left) for kind in fleet.realms.values() if kind.spread == "machine")
