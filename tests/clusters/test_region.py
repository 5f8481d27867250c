"""The region: a small cut of it runs in the quick tests, the whole of it under the `long` marker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.api import Run, RunOptions, RunResult
from orchestrator.cluster.load import load_text
from orchestrator.plan import plan

REGION = Path(__file__).resolve().parents[2] / "clusters" / "region.yaml"
HOUR_NS = 3_600 * 10**9


def run(text: str, folder: Path) -> RunResult:
    loaded = load_text(text.encode(), "region.yaml")
    assert loaded.value is not None, loaded.render()
    with Run(loaded.value, text, RunOptions(fleet="local", out=folder / "run")) as running:
        running.run_until(loaded.value.duration)
        return running.finish()


def cut() -> str:
    """Nine racks of two machines for two hours, with everything that the region's day holds."""
    text = re.sub(r"\n  r(?!00\d)\d{3}: .*", "", REGION.read_text("utf-8"))
    text = re.sub(r"(std|dense|old): 40", r"\1: 2", text)
    for old, new in (
        ("duration: 24h", "duration: 2h"), ("per_hour: 4400", "per_hour: 30"), ("until: 1420min", "until: 90min"),
        ("at: 12h", "at: 40min"), ("at: 6h", "at: 20min"), ("at: 18h", "at: 70min"), ("rack: r123", "rack: r003"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_a_cut_of_the_region_runs_to_its_end_with_all_checkers_passing(tmp_path: Path) -> None:
    result = run(cut(), tmp_path)
    assert result.exit_code == 0, result.verdicts
    assert result.summary.machines == 18
    assert result.summary.realms_wanted > 20
    assert result.summary.activations == 18
    assert [rollout.state for rollout in result.summary.rollouts] == ["finished"]


def test_the_region_has_ten_thousand_machines_and_the_arrivals_that_its_header_tells() -> None:
    cluster = load_text(REGION.read_bytes(), "region.yaml").value
    assert cluster is not None
    made = plan(cluster, cluster.seed)
    assert len(made.machines) == 10_000
    assert {spec.memory_bytes for spec in made.machines.values()} == {512 << 30}
    assert len({spec.profile for spec in made.machines.values()}) == 3
    assert len(made.arrivals) >= 100_000
    short = sum(arrival.stop_ns - arrival.start_ns < HOUR_NS for arrival in made.arrivals)
    assert 0.66 < short / len(made.arrivals) < 0.70


@pytest.mark.long
def test_the_region_runs_to_its_end_with_all_checkers_passing(tmp_path: Path) -> None:
    result = run(REGION.read_text("utf-8"), tmp_path)
    assert result.exit_code == 0, result.verdicts
    assert result.summary.realms_wanted >= 100_000
