"""The explorer: no flaw in the implemented tables, and every flaw that variants of them are known to have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from cca_machine.migration import tables
from cca_machine.migration.tables import DestinationInput, DestinationState, SourceInput, SourceState
from orchestrator.cli import app
from orchestrator.migration import phases
from orchestrator.migration.explore import Report, explore
from orchestrator.migration.protocol import MODES, WITNESSED
from orchestrator.store import SessionPhase

LATE = (SourceState.NEW, SourceInput.RESUME)


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {mode.name: explore(mode) for mode in MODES}


def test_the_explorer_walks_the_very_tables_that_machines_and_control_plane_run_by() -> None:
    assert WITNESSED.source is tables.SOURCE
    assert WITNESSED.destination is tables.DESTINATION
    assert WITNESSED.phases is phases.TABLE


def test_the_implemented_mode_has_no_violation_and_no_dead_end(reports: dict[str, Report]) -> None:
    report = reports["witnessed"]
    assert report.violations == {"P1": 0, "P2": 0}
    assert report.dead_ends == 0
    assert report.shortest == ()
    assert report.states > 10_000


def test_two_parties_without_an_arbiter_never_fork_but_strand_the_source(reports: dict[str, Report]) -> None:
    report = reports["two-party"]
    assert report.violations == {"P1": 0, "P2": 0}
    assert report.dead_ends > 0
    [found] = report.shortest
    assert "the target reboots" in found.way


def test_an_operator_who_forces_the_source_to_resume_forks_the_realm(reports: dict[str, Report]) -> None:
    report = reports["forced-resume"]
    assert report.violations["P1"] > 0
    assert report.violations["P2"] > 0
    assert "resume-export arrives" in next(found.way for found in report.shortest if found.kind == "P1")


def test_a_host_that_may_abort_what_is_ready_loses_a_realm_with_both_machines_up(reports: dict[str, Report]) -> None:
    report = reports["ready-abortable"]
    assert report.violations == {"P1": 0, "P2": 0}
    assert report.dead_ends > 0
    assert "the target's host aborts" in report.shortest[0].way


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        # the control plane's abort is obeyed after its commit: the one decision is taken twice
        (
            {
                "phases": {
                    **phases.TABLE,
                    (SessionPhase.COMMITTED, phases.Event.TARGET_LOST): (SessionPhase.ABORTING, phases.Effect.ABORT),
                }
            },
            "P2",
        ),
        # a relinquished source that takes a stray bundle for a failure runs on
        (
            {
                "source": {
                    **tables.SOURCE,
                    (SourceState.RELINQUISHED, SourceInput.BUNDLE): (
                        SourceState.RESUMED,
                        tables.SourceEffect.RUN_AGAIN,
                    ),
                }
            },
            "P1",
        ),
        # a stray bundle takes back what is ready
        (
            {
                "destination": {
                    **tables.DESTINATION,
                    (DestinationState.READY, DestinationInput.BUNDLE_BAD): (
                        DestinationState.FAILED,
                        tables.DestinationEffect.CLEAR,
                    ),
                }
            },
            "dead end",
        ),
        # an opening that comes after its own end is obeyed
        (
            {
                "source": {
                    key: row for key, row in tables.SOURCE.items() if key != (SourceState.NEW, SourceInput.RESUME)
                }
            },
            "dead end",
        ),
    ],
    ids=["commit and abort", "a stray bundle resumes", "a stray bundle fails what is ready", "a late opening"],
)
def test_a_single_wrong_row_is_found(change: dict[str, Any], flaw: str) -> None:
    report = explore(replace(WITNESSED, name="changed", **change))
    assert flaw in [found.kind for found in report.shortest]


def test_the_command_prints_each_mode_and_that_it_is_modelled() -> None:
    result = CliRunner().invoke(app, ["migration", "explore", "--json"])
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert "modelled" in printed["note"]
    assert set(printed["modes"]) == {mode.name for mode in MODES}
    for row in printed["modes"].values():
        assert {"states", "violations", "dead_ends"} <= set(row)
    shown = CliRunner().invoke(app, ["migration", "explore", "--mode", "witnessed"])
    assert "no dead end" in shown.stdout
    assert "modelled" in shown.stdout


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["migration", "explore", "--mode", "wishful"])
    assert result.exit_code != 0
    assert "witnessed" in str(getattr(result.exception, "hint", result.exception))
