"""Tables for people, in plain text."""

from __future__ import annotations

import io
from typing import Any

import pytest
from msgspec import Struct
from rich.console import Console

from orchestrator.chaos.experiment import ExperimentResult, Finding, SeedResult
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.report.summary import Summary, summarise
from orchestrator.report.table import duration, show_experiment, show_run


class Shown(Struct, frozen=True):
    summary: Summary
    verdicts: tuple[Verdict, ...]
    name: str = "quickstart"
    seed: int = 7
    trace_digest: str = "ab" * 32
    virtual_ns: int = 720_000_000_000
    wall_s: float = 31.25
    run_dir: str = "runs/quickstart-7-001"


def plain(show: Any, result: Any) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=120, highlight=False))
    return out.getvalue()


def test_a_run_is_shown_with_its_numbers_its_verdicts_and_where_it_lies(script: Any) -> None:
    script.wanted("a", 0).serves("m1", "a", 1).still("m1", "a", 50, "lease-ended").serves("m1", "a", 52.5)
    verdicts = (Verdict("alive-once", Outcome.FAIL, "a#2 runs [on] m2 while a#1 still runs on m1"),)
    text = plain(show_run, Shown(summarise(script.entries, script.facts), verdicts))
    assert "quickstart, seed 7: 720 virtual s in 31.2 s" in text
    assert "1 of 1 wanted" in text
    assert "96.5000% of wanted Realm-time" in text
    assert "1 event: median 2.50 s, p99 2.50 s, max 2.50 s" in text
    assert "alive-once   fail      a#2 runs [on] m2 while a#1 still runs on m1" in text
    assert "ab" * 32 in text
    assert "runs/quickstart-7-001" in text


def test_an_experiment_shows_each_seed_and_for_a_failing_one_the_command_that_repeats_it() -> None:
    good = SeedResult(1, Outcome.PASS, (Finding("checker", "alive-once", Outcome.PASS, ""),), 3, "d", "r", "again 1")
    found = Finding("probe", "alive", Outcome.FAIL, "twice alive")
    bad = SeedResult(2, Outcome.FAIL, (found,), 3, "d", "r", "realmfleet chaos run x.yaml --seeds 2")
    text = plain(show_experiment, ExperimentResult("x", "All is well", Outcome.FAIL, (good, bad)))
    assert "repeat seed 2: realmfleet chaos run x.yaml --seeds 2" in text
    assert "again 1" not in text
    assert "twice alive" in text
    assert "verdict: fail (1 pass, 1 fail)" in text


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(0, "0.00 ms"), (1.234, "1.23 ms"), (45.67, "45.7 ms"), (999.4, "999 ms"), (34_210, "34.2 s"), (5e6, "5000 s")],
)
def test_durations_have_three_figures_and_their_unit(value_ms: float, text: str) -> None:
    assert duration(value_ms) == text
