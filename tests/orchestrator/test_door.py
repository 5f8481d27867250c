"""What a machine's host asked of its RMM during a run, replayed against the RMM alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cca_machine.rmm.replay import replay
from orchestrator.api import Run, RunOptions
from orchestrator.cluster.load import load_text

QUICKSTART = Path(__file__).resolve().parents[2] / "clusters" / "quickstart.yaml"


def recorded(folder: Path, machine: str) -> list[dict[str, Any]]:
    text = QUICKSTART.read_text(encoding="utf-8")
    cluster = load_text(text, "quickstart.yaml").value
    assert cluster is not None
    door = folder / "door.jsonl"
    with Run(cluster, text, RunOptions(fleet="local", out=folder / "run", record_door=(machine, door))) as run:
        run.run_until(run.until_ns)
        run.finish()
    return [json.loads(line) for line in door.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("machine", "boots", "imports"),
    [("r1-std-01", 1, 0), ("r2-std-01", 2, 0), ("r3-std-01", 1, 1), ("r3-std-02", 1, 0)],
    ids=["updated live", "lost power", "migrated to", "migrated from"],
)
def test_a_recorded_door_replays_without_a_disagreement(tmp_path: Path, machine: str, boots: int, imports: int) -> None:
    records = recorded(tmp_path, machine)
    assert sum("header" in record for record in records) == boots
    assert sum("imported (modelled)" in record.get("note", "") for record in records) == imports
    report = replay(records)
    assert report.agrees, {name: told.first for name, told in report.commands.items() if told.first}
    assert report.commands["REC_ENTER"].calls > 0


def test_each_boot_in_a_recording_is_a_machine_of_its_own(tmp_path: Path) -> None:
    once = recorded(tmp_path, "r1-std-01")
    single, double = replay(once), replay([*once, *once])
    assert double.agrees
    assert {name: told.calls for name, told in double.commands.items()} == {
        name: 2 * told.calls for name, told in single.commands.items()
    }


def test_a_recording_in_which_one_answer_was_changed_does_not_replay(tmp_path: Path) -> None:
    records = recorded(tmp_path, "r1-std-01")
    changed = next(record for record in records if record.get("name") == "REC_CREATE")
    changed["x"][0] = "0x1"
    report = replay(records)
    assert not report.agrees
    assert report.commands["REC_CREATE"].first is not None
