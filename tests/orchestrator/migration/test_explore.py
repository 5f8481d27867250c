"""The explorer: no flaw in the implemented tables, and every flaw that variants of them are known to have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cca_machine.migration import tables
from cca_machine.migration.tables import (
    DestinationInput,
    DestinationState,
    SourceInput,
    SourceState,
    WitnessInput,
    WitnessState,
)
from orchestrator.cli import app
from orchestrator.migration import phases
from orchestrator.migration.explore import Report, explore
from orchestrator.migration.protocol import MODES, WITNESSED

_SILENT = (WitnessState.REGISTERED, WitnessInput.UNREACHABLE)


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {mode.name: explore(mode) for mode in MODES}


def test_the_explorer_walks_the_very_tables_that_machines_and_control_plane_run_by() -> None:
    assert WITNESSED.source is tables.SOURCE
    assert WITNESSED.destination is tables.DESTINATION
    assert WITNESSED.witness is tables.WITNESS
    assert WITNESSED.phases is phases.TABLE


def test_the_implemented_mode_has_no_violation_and_no_dead_end(reports: dict[str, Report]) -> None:
    report = reports["witnessed"]
    assert report.violations == {"P1": 0, "P2": 0}
    assert report.dead_ends == 0
    assert report.shortest == ()
    assert report.states > 5_000


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
    assert "the operator lets the source run" in next(found.way for found in report.shortest if found.kind == "P1")


def test_a_host_that_may_abort_what_is_ready_loses_a_realm_with_both_machines_up(reports: dict[str, Report]) -> None:
    report = reports["ready-abortable"]
    assert report.violations == {"P1": 0, "P2": 0}
    assert report.dead_ends > 0
    assert "confirm/1 arrives" in report.shortest[0].way
    assert report.shortest[0].way[-1] in ("the target's deadline passes", "the target's host gives up")


def test_a_witness_that_decides_twice_forks_the_realm(reports: dict[str, Report]) -> None:
    assert reports["equivocating"].violations["P1"] > 0


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        # a relinquished source lets its deadline end the session
        (
            {
                "source": {
                    **tables.SOURCE,
                    (SourceState.RELINQUISHED, SourceInput.GIVE_UP): (
                        SourceState.ACTIVE,
                        tables.SourceEffect.RUN_AGAIN,
                    ),
                }
            },
            "P1",
        ),
        # a destination takes the start token for the grant
        (
            {
                "destination": {
                    **tables.DESTINATION,
                    (DestinationState.STATE_IMPORT, DestinationInput.COMPLETE): (
                        DestinationState.LIVE,
                        tables.DestinationEffect.RUN,
                    ),
                }
            },
            "P1",
        ),
        # the witness waits for a registered destination for ever
        (
            {
                "witness": {
                    key: row
                    for key, row in tables.WITNESS.items()
                    if key not in ((WitnessState.REGISTERED, WitnessInput.FENCED), _SILENT)
                }
            },
            "dead end",
        ),
        # a destination that is ready cannot be told that it lost
        (
            {
                "destination": {
                    key: row
                    for key, row in tables.DESTINATION.items()
                    if key != (DestinationState.READY, DestinationInput.ABORTED)
                }
            },
            "dead end",
        ),
    ],
    ids=["a deadline after the token", "the token is the grant", "a witness that waits for ever", "ready for ever"],
)
def test_a_single_wrong_row_is_found(change: dict[str, Any], flaw: str) -> None:
    report = explore(WITNESSED._replace(name="changed", **change))
    assert flaw in [found.kind for found in report.shortest]


def test_the_command_prints_each_mode_and_that_it_is_modelled() -> None:
    result = CliRunner().invoke(app, ["migration", "explore", "--json", "--mode", "two-party"])
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert "modelled" in printed["note"]
    assert set(printed["modes"]) == {"two-party"}
    for row in printed["modes"].values():
        assert {"states", "violations", "dead_ends"} <= set(row)
    shown = CliRunner().invoke(app, ["migration", "explore", "--mode", "witnessed"])
    assert "no dead end" in shown.stdout
    assert "modelled" in shown.stdout


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["migration", "explore", "--mode", "wishful"])
    assert result.exit_code != 0
    assert "witnessed" in str(getattr(result.exception, "hint", result.exception))
