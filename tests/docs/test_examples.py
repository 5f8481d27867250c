"""The worked examples run as they stand, and say what their texts promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the cluster files in it."""
    (tmp_path / "clusters").symlink_to(ROOT / "clusters")
    return tmp_path


def run(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_by_a_test_here() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert [file.name for file in sorted(EXAMPLES.glob("*.py")) if file.name not in tests] == []


def test_the_sweep_finds_that_twenty_seconds_of_lease_cost_twenty_seconds(folder: Path) -> None:
    said = run(folder, str(EXAMPLES / "sweep_with_a_plot.py"))
    found = re.search(r"30s against 10s, seed by seed: ([0-9.]+) s more", said)
    assert found is not None
    assert 18 < float(found[1]) < 22
    assert "plotly" in (folder / "runs" / "leases" / "plot.html").read_text(encoding="utf-8")


def test_the_score_leaves_machines_empty_and_loses_more_with_one(folder: Path) -> None:
    said = run(folder, str(EXAMPLES / "custom_score.py"))
    (_, spread, lost), (_, packed, more_lost) = re.findall(r"(\S+) +(\d) machines empty, +([0-9.]+)", said)
    assert int(spread) < int(packed)
    assert float(lost) < float(more_lost)


def test_the_fault_strikes_and_the_checker_judges(folder: Path) -> None:
    said = run(folder, str(EXAMPLES / "custom_fault_and_checker.py"))
    assert re.search(r"pass +noticed-within-a-minute +1 freezes, all noticed", said)
    again = run(folder, "-m", "orchestrator.cli", *said.splitlines()[-1].split()[1:])
    assert "the same as recorded" in again


def test_the_policy_test_passes_under_two_seeds(folder: Path) -> None:
    known = any(point.name == "realmfleet" for point in entry_points(group="pytest11"))
    plugin = [] if known else ["-p", "orchestrator.scripting.pytest_plugin"]
    file = EXAMPLES / "test_attestation_policy.py"
    said = run(folder, "-m", "pytest", "-q", *plugin, "--rootdir", str(folder), str(file))
    assert "2 passed" in said


@pytest.mark.parametrize(
    ("file", "function"),
    [("custom_score.py", "packed"), ("custom_fault_and_checker.py", "brownout"),
     ("custom_fault_and_checker.py", "noticed_within_a_minute")],
)  # fmt: skip
def test_what_is_said_to_take_ten_lines_takes_no_more(file: str, function: str) -> None:
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    body = text.split(f"def {function}(")[1].split("\n\n\n")[0]
    assert len(body.splitlines()) <= 10
