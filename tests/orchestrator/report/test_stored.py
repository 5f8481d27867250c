"""A run directory that was changed after the run is refused, and the refusal names what is wrong with which file."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orchestrator import rundir
from orchestrator.errors import UserMistake
from orchestrator.report.stored import open_stored


@pytest.fixture
def run(quickstart: Any, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may damage."""
    return Path(shutil.copytree(quickstart.path, tmp_path / "copy"))


def refusal(run: Path) -> str:
    with pytest.raises(UserMistake) as caught:
        open_stored(run)
    assert caught.value.hint
    return caught.value.message


def change(run: Path, **fields: Any) -> None:
    manifest = json.loads((run / rundir.MANIFEST).read_text())
    (run / rundir.MANIFEST).write_text(json.dumps(manifest | fields))


def execute(run: Path, statement: str) -> None:
    with sqlite3.connect(run / rundir.DATABASE) as connection:
        connection.execute(statement)
    connection.close()


def test_a_whole_run_opens_with_all_it_was(run: Path, quickstart: Any) -> None:
    with open_stored(run) as stored:
        assert stored.ending.trace_digest == quickstart.result.trace_digest
        assert stored.ending.end_ns == quickstart.end_ns
        assert stored.cluster == quickstart.cluster
        assert sum(1 for _ in stored.trace()) == len(quickstart.lines)


def test_one_of_another_version_is_refused(run: Path) -> None:
    versions = json.loads((run / rundir.MANIFEST).read_text())["versions"]
    change(run, versions={**versions, "realmfleet": "99.0"})
    assert "was written by version 99.0" in refusal(run)


@pytest.mark.parametrize("status", ["running", "strange", None])
def test_one_without_an_end_is_refused(run: Path, status: str | None) -> None:
    change(run, status=status)
    assert "has no end yet" in refusal(run)


@pytest.mark.parametrize(("field", "value"), [("seed", 2), ("name", "other"), ("trace_digest", "00"), ("repeat", "x")])
def test_a_manifest_that_was_changed_is_refused(run: Path, field: str, value: Any) -> None:
    change(run, **{field: value})
    assert f"manifest.json and run.db differ in {field}" in refusal(run)


def test_an_interrupted_run_that_calls_itself_finished_is_refused(run: Path) -> None:
    change(run, status="interrupted")
    assert "differ in how the run ended" in refusal(run)


def test_one_flipped_bit_of_a_trace_record_is_found(run: Path) -> None:
    """In the file itself, in the text of a record, where SQLite notices nothing."""
    content = bytearray((run / rundir.DATABASE).read_bytes())
    place = content.index(b'"kind":"migration.finished"') + len(b'"kind":"migration.finis')
    content[place] ^= 0x04
    (run / rundir.DATABASE).write_bytes(bytes(content))
    assert "run.db is damaged: its trace gives" in refusal(run)


def test_records_cut_off_the_end_are_missed(run: Path) -> None:
    execute(run, "DELETE FROM trace WHERE line_number > 800")
    assert "run.db is cut short: 801 trace records are there" in refusal(run)


def test_a_record_missing_in_the_middle_is_missed(run: Path) -> None:
    execute(run, "DELETE FROM trace WHERE line_number = 100")
    assert "run.db" in refusal(run)


@pytest.mark.parametrize("share", [3, 10])
def test_a_truncated_file_is_refused(run: Path, share: int) -> None:
    content = (run / rundir.DATABASE).read_bytes()
    (run / rundir.DATABASE).write_bytes(content[: len(content) * share // 16])
    assert "run.db" in refusal(run)


@pytest.mark.parametrize("junk", [b"", b"SQLite format 3\x00" + b"\xff" * 4096, b"hello"])
def test_a_file_that_is_no_run_is_refused(run: Path, junk: bytes) -> None:
    (run / rundir.DATABASE).write_bytes(junk)
    assert "run.db" in refusal(run)


def test_a_run_whose_file_does_not_say_how_it_ended_is_refused(run: Path) -> None:
    execute(run, "DELETE FROM meta WHERE key = 'ending'")
    assert "does not say how the run ended" in refusal(run)


def test_an_ending_that_cannot_be_read_is_refused(run: Path) -> None:
    execute(run, "UPDATE meta SET value = substr(value, 1, 40) WHERE key = 'ending'")
    assert "cannot be read" in refusal(run)


def test_another_cluster_file_is_refused(run: Path) -> None:
    text = (run / rundir.CLUSTER).read_text()
    (run / rundir.CLUSTER).write_text(text.replace("lease: 30s", "lease: 31s"))
    assert "cluster.yaml is not the file that was run" in refusal(run)


def test_a_missing_file_is_refused_by_its_name(run: Path) -> None:
    (run / rundir.CLUSTER).unlink()
    assert "cannot read" in refusal(run)
    (run / rundir.DATABASE).unlink()
    assert "run.db" in refusal(run)
    (run / rundir.MANIFEST).unlink()
    assert "is not a run directory" in refusal(run)
