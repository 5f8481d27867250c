"""Sweeps: variants of a file, runs side by side, what was finished is not repeated, variants compared by seed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from orchestrator import rundir
from orchestrator.api import open_cluster, open_file
from orchestrator.errors import UserMistake
from orchestrator.replay import replay_run
from orchestrator.sweep import Sweep, sweep, variants
from orchestrator.sweep_runs import Job, processes, run_away, run_here, tasks, unpack_run

FLEET = """\
version: 1
name: swept
duration: 80s
recover_within: 60s
profiles: {std: {pes: 8, memory: 4GiB, firmware: base}}
racks: {r1: {machines: {std: 2}}}
firmware:
  releases:
    base:
      components:
        BL2: {version: 1.0.0, signed_by: vendor}
        BL31: {version: 1.0.0, signed_by: vendor}
        RMM: {version: 1.0.0, signed_by: vendor}
images: {web: {size: 64KiB}}
realms: {web: {image: web, memory: 16MiB, count: 1}}
faults:
  - {fault: machine.freeze, at: 30s, for: 1s, select: {machine: r1-std-01}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "swept.yaml"
    path.write_text(FLEET)
    return path


def swept(file: Path, out: Path, seeds: list[int], said: list[str], *settings: str) -> Sweep:
    cluster, text = open_file(file)
    out.mkdir(exist_ok=True)
    return sweep(cluster.name, variants(text, str(file), settings), seeds, out, processes(2), said.append)


def test_settings_multiply_and_reach_into_mappings_and_lists() -> None:
    made = variants(FLEET, "f", ["realms.web.count=1,2", "faults.0.for=1s,2s", "control.lease=40s"])
    assert [variant.name for variant in made] == [
        f"realms.web.count={count} faults.0.for={during} control.lease=40s"
        for count in (1, 2)
        for during in ("1s", "2s")
    ]
    data = json.loads(made[3].text)
    assert (data["realms"]["web"]["count"], data["faults"][0]["for"], data["control"]["lease"]) == (2, "2s", "40s")


def test_nothing_set_runs_the_file_as_it_is() -> None:
    assert [variant.text for variant in variants(FLEET, "f", [])] == [FLEET]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("control.lease", "names no path with values"),
        ("control.lease=10s,,", "names no path with values"),
        ("control.lease=40s,40s", "names a value twice"),
        ("control.leese=10s", "unknown key 'leese'"),
        ("faults.7.for=1s", "there is no entry 7"),
        ("name.deeper=1", "holds no keys"),
        ("realms.web.count=none", "cannot be run"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(setting: str, said: str) -> None:
    with pytest.raises(UserMistake, match=said):
        variants(FLEET, "f", [setting])


def test_a_sweep_runs_every_pair_once_and_goes_on_where_it_stopped(file: Path, tmp_path: Path) -> None:
    said: list[str] = []
    first = swept(file, tmp_path / "sweep", [1], said, "realms.web.count=1,3")
    assert (first.runs, first.reused, first.exit_code) == (2, 0, 0)
    manifest = next((tmp_path / "sweep").glob("*/seed-1/manifest.json"))
    killed = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**killed, "status": "running"}))
    again = swept(file, tmp_path / "sweep", [1, 2], said, "realms.web.count=1,3")
    assert (again.runs, again.reused) == (4, 1)
    with (tmp_path / "sweep" / "runs.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["realms.web.count"], row["seed"], row["realms_running"]) for row in rows] == [
        ("1", "1", "1"), ("1", "2", "1"), ("3", "1", "3"), ("3", "2", "3"),
    ]  # fmt: skip
    assert len({row["trace_digest"] for row in rows}) == 4
    counts = again.variants[1].against_first["realms_running"]
    assert (counts.count, counts.mean, counts.low, counts.high) == (2, 2.0, 2.0, 2.0)
    assert again.variants[0].against_first == {}
    with open_cluster(file, seed=2, out=tmp_path / "alone") as run:
        run.run_until(run.until_ns)
        assert run.finish().trace_digest == rows[1]["trace_digest"]


def test_a_run_sent_home_from_another_host_is_the_run_that_was_made_there(tmp_path: Path) -> None:
    here = run_here(Job(FLEET, 1, str(tmp_path / "here")))
    away, packed = run_away(Job(FLEET, 1, str(tmp_path / "away")))
    unpack_run(packed, tmp_path / "away")
    assert away["trace_digest"] == here["trace_digest"]
    assert away["run_dir"] == str(tmp_path / "away")
    assert replay_run(tmp_path / "away").same
    assert rundir.read_manifest(tmp_path / "away")["result"] == json.loads(json.dumps(away))


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_sweep_of_ray_tasks_has_the_table_of_a_sweep_of_processes(file: Path, tmp_path: Path) -> None:
    cluster, text = open_file(file)
    chosen = variants(text, str(file), ["realms.web.count=1,2"])
    tables = []
    for name, run_all in (("ray", tasks(None, 2, tmp_path / "ray.log")), ("local", processes(2))):
        (tmp_path / name).mkdir()
        told = sweep(cluster.name, chosen, [1, 2], tmp_path / name, run_all, lambda line: None)
        assert (told.runs, told.exit_code) == (4, 0)
        with (tmp_path / name / "runs.csv").open() as table:
            tables.append([{**row, "wall_s": ""} for row in csv.DictReader(table)])
        assert len(list((tmp_path / name).glob("*/seed-*/run.db"))) == 4
    assert tables[0] == tables[1]
