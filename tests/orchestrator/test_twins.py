"""Twins of a run: the ways that must not matter, and the naming of the first record where one parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from orchestrator.api import open_file
from orchestrator.plan import plan
from orchestrator.twins import RestoredFleet, held_to, restored

ROOT = Path(__file__).resolve().parents[2]
ATTEST = ROOT / "clusters" / "realm-attest.yaml"
QUICKSTART = ROOT / "clusters" / "quickstart.yaml"
S = 1_000_000_000


def line(at_ns: int, source: str, **what: object) -> bytes:
    record = {"at_ns": at_ns, "kind": "realm.live", "number": 1, "priority": 3, "source": source, "what": what}
    return msgspec.json.encode(record)


def test_the_first_differing_record_is_named_with_its_machine_and_instant() -> None:
    measure = [line(1, "m-1", realm="a"), line(2, "m-2", realm="b"), line(3, "m-1", realm="c")]
    twin = held_to(iter(measure), [measure[0], line(2, "m-2", realm="x"), line(3, "m-9", realm="c")], "other", "d")
    assert (twin.source, twin.at_ns) == ("m-2", 2)
    assert "differs in what.realm" in twin.difference


def test_a_twin_that_says_the_same_names_nothing() -> None:
    measure = [line(1, "m-1", realm="a")]
    twin = held_to(iter(measure), measure, "other", "d")
    assert (twin.difference, twin.source, twin.at_ns, twin.records) == ("", "", None, 1)


def test_machines_really_change_hands_half_way() -> None:
    cluster, _ = open_file(ATTEST)
    fleet = RestoredFleet(list(plan(cluster, 1).machines.values()), 10 * S)
    name = fleet.machines()[0]
    before = fleet._fleet
    fleet.advance(5 * S, {}, [name])
    assert not fleet.restored
    fleet.advance(11 * S, {}, [name])
    assert fleet.restored
    assert fleet._fleet is not before


def test_all_machines_of_a_busy_fleet_restored_half_way_change_no_record(tmp_path: Path) -> None:
    cluster, _ = open_file(QUICKSTART)
    through, _ = restored(cluster, 1, 900 * S)
    done = realmfleet(tmp_path, "run", str(QUICKSTART), "--fleet", "local", "--json")
    assert json.loads(done.stdout)["work"]["trace_records"] == len(through)
    assert restored(cluster, 1, 900 * S)[1] == json.loads(done.stdout)["trace_digest"]


def test_the_command_says_yes_for_a_run_that_repeats_itself(tmp_path: Path) -> None:
    done = realmfleet(tmp_path, "verify-determinism", str(ATTEST), "--no-ray", "--until", "40s", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["same"] is True
    assert len(told["twins"]) == 5
    assert len({twin["trace_digest"] for twin in told["twins"]}) == 1


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_actors_are_twins_too(tmp_path: Path) -> None:
    done = realmfleet(tmp_path, "verify-determinism", str(ATTEST), "--until", "40s", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["twins"]) == 8


def realmfleet(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
