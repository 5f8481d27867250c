"""Two runs compared: what was changed in the file, what came of it, and the very first record that differs."""

from __future__ import annotations

import json
import shutil
import sqlite3
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import rundir
from orchestrator.cli import app
from orchestrator.engine.run_store import RunReader
from orchestrator.errors import UserMistake
from orchestrator.report.diff import compare
from orchestrator.report.stored import META


def lines(path: Path) -> list[bytes]:
    with RunReader(path / rundir.DATABASE) as reader:
        return list(reader.trace())


def test_a_run_is_the_same_as_itself_wherever_it_lies(quickstart: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(quickstart.path, tmp_path / "copy")
    found = compare(quickstart.path, Path(copy))
    assert found.same
    assert (found.configuration, found.outcomes, found.checkers, found.metrics) == ((), (), (), ())


def test_a_changed_key_is_named_by_its_path_and_its_consequences_are_told(quickstart: Any, leaseless: Any) -> None:
    found = compare(quickstart.path, leaseless.path)
    assert [(one.what, one.left, one.right) for one in found.configuration] == [("control.leases", True, False)]
    verdicts = {one.what: (one.left, one.right) for one in found.checkers}
    assert set(verdicts) == {"alive-once", "lease-respected"}
    assert str(verdicts["alive-once"][0]).startswith("pass")
    assert str(verdicts["alive-once"][1]).startswith("fail")
    outcomes = {one.what: (one.left, one.right) for one in found.outcomes}
    ppm = (quickstart.result.summary.availability.ppm, leaseless.result.summary.availability.ppm)
    assert outcomes["availability.ppm"] == ppm
    metrics = {one.what: (one.left, one.right) for one in found.metrics}
    assert metrics["realmfleet_checker_verdict{alive-once,fail}"] == (0, 1)


def test_the_first_record_that_differs_is_the_first_that_differs(quickstart: Any, leaseless: Any) -> None:
    part = compare(quickstart.path, leaseless.path).parting
    assert part is not None
    pairs = zip_longest(lines(quickstart.path), lines(leaseless.path))
    place, (one, other) = next((place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1])
    assert one is not None
    assert other is not None
    earlier = min(json.loads(one), json.loads(other), key=lambda record: record["at_ns"])
    assert (part.place, part.at_ns, part.source, part.kind) == (
        place, earlier["at_ns"], earlier["source"], earlier["kind"],
    )  # fmt: skip
    assert json.loads(one)["what"]["machine"] in part.left
    assert "silent, without leases" in part.right


def test_a_key_that_spells_its_default_is_no_difference(tmp_path: Path, quickstart: Any, rerun: Any) -> None:
    spelled = rerun(tmp_path / "spelled", {"lease: 30s": "lease: 30000ms, leases: true, order_timeout: 20s"})
    found = compare(quickstart.path, spelled.path)
    assert found.same


def test_another_seed_is_told_as_such(tmp_path: Path, quickstart: Any, rerun: Any) -> None:
    other = rerun(tmp_path / "seed", {"seed: 1\n": "seed: 2\n"})
    found = compare(quickstart.path, other.path)
    told = {one.what: (one.left, one.right) for one in found.configuration}
    assert told == {"(seed of the run)": (1, 2), "seed": (1, 2)}
    assert found.parting is not None


def test_a_trace_that_ends_earlier_is_told(quickstart: Any, tmp_path: Path) -> None:
    """As if the last record had never been written: digest, count and manifest agree with what is there."""
    import hashlib

    copy = Path(shutil.copytree(quickstart.path, tmp_path / "copy"))
    kept = lines(copy)[:-1]
    digest = hashlib.sha256(b"".join(line + b"\n" for line in kept)).hexdigest()
    connection = sqlite3.connect(copy / rundir.DATABASE)
    (ending,) = connection.execute("SELECT value FROM meta WHERE key = ?", (META,)).fetchone()
    ending = json.dumps(json.loads(ending) | {"records": len(kept), "trace_digest": digest})
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (ending, META))
    connection.execute("DELETE FROM trace WHERE line_number = ?", (len(kept),))
    connection.commit()
    connection.close()
    manifest = json.loads((copy / rundir.MANIFEST).read_text()) | {"trace_digest": digest}
    (copy / rundir.MANIFEST).write_text(json.dumps(manifest))
    part = compare(quickstart.path, copy).parting
    assert part is not None
    assert (part.place, part.right) == (len(kept), "")
    assert part.left


def test_a_damaged_run_is_refused_by_its_name(quickstart: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(quickstart.path, tmp_path / "copy"))
    (copy / rundir.DATABASE).write_bytes(b"")
    with pytest.raises(UserMistake, match=r"copy/run\.db"):
        compare(quickstart.path, copy)
    with pytest.raises(UserMistake, match="nowhere is not a run directory"):
        compare(tmp_path / "nowhere", copy)


def test_the_command_says_0_for_the_same_and_1_for_different_runs(quickstart: Any, leaseless: Any) -> None:
    runner = CliRunner()
    same = runner.invoke(app, ["diff", str(quickstart.path), str(quickstart.path)])
    assert (same.exit_code, "the same: " in same.output) == (0, True)
    told = runner.invoke(app, ["diff", str(quickstart.path), str(leaseless.path)])
    assert told.exit_code == 1
    assert "control.leases: true → false" in told.output
    assert "traces: part at record" in told.output
    as_json = runner.invoke(app, ["diff", str(quickstart.path), str(leaseless.path), "--json"])
    body = json.loads(as_json.stdout)
    assert (as_json.exit_code, body["kind"], body["same"]) == (1, "diff", False)
    assert body["parting"]["kind"] == "machine.down"


def test_the_command_makes_a_report_again_where_it_is_wanted(quickstart: Any, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(quickstart.path), "--out", str(out), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"kind": "report", "file": str(out), "bytes": out.stat().st_size}
    assert out.read_text(encoding="utf-8") == quickstart.page
