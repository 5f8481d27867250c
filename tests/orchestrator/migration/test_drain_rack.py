"""`clusters/drain-rack.yaml` end to end: real machines, link faults, all checkers, numbers per migration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app

FILE = Path(__file__).resolve().parents[3] / "clusters" / "drain-rack.yaml"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("drain") / "run"
    done = CliRunner().invoke(
        app, ["run", str(FILE), "--fleet", "local", "--until", "4min", "--out", str(where), "--json"]
    )
    assert done.exit_code == 0, done.output
    verdicts = json.loads(done.stdout)["checkers"]
    assert set(verdicts.values()) == {"pass"}
    return where


def test_the_rack_is_empty_in_the_end_and_every_migration_tells_its_numbers(run_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["migration", "list", str(run_dir), "--json"])
    printed = json.loads(shown.stdout)
    assert "modelled" in printed["note"]
    rows = printed["migrations"]
    moved = [row for row in rows if row["outcome"] == "moved"]
    assert len({row["realm"] for row in rows}) == len(moved) == 6
    for row in moved:
        assert row["source"].startswith("r1-")
        assert not row["target"].startswith("r1-")
        assert row["rounds"] >= 1
        assert row["paused_for"] == "target"
        assert 0 < row["downtime_ns"] < 400_000_000
        memory = (1 << 30) if row["realm"].startswith("db") else (256 << 20)
        assert row["sent_bytes"] > memory * 0.99


def test_the_list_for_people_says_that_it_is_modelled(run_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["migration", "list", str(run_dir)])
    assert "modelled" in shown.stdout
    assert shown.stdout.count(" moved ") == 6
