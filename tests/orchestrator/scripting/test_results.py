"""Results of a finished run: tables that agree with its trace, metrics, evidence, checkers of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars
import pytest

from attestation.policy import Condition, Operator, Policy, Rule, Verdict, evaluate
from orchestrator import Case, FleetError, Outcome, Results, UnknownName, Violations, open_results
from orchestrator import Verdict as Judgement
from orchestrator.scripting.columns import TABLES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_has_the_columns_of_the_catalogue(finished: Results, name: str) -> None:
    table = finished.table(name)
    assert table.columns == [column.name for column in TABLES[name]]
    assert len(table) > 0
    assert table.equals(getattr(finished, name))


def test_the_events_are_the_trace_that_the_command_line_prints(finished: Results) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "inspect", str(finished.path), "--trace", "--json"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    lines = [json.loads(line) for line in printed]
    assert finished.events["at_ns"].to_list() == [line["at_ns"] for line in lines]
    assert finished.events["kind"].to_list() == [line["kind"] for line in lines]
    assert [json.loads(what) for what in finished.events["what"]] == [line["what"] for line in lines]


def test_tables_and_summary_say_the_same(finished: Results) -> None:
    summary = finished.summary
    wanted_s = finished.realms["until_s"] - finished.realms["wanted_s"]
    assert round(finished.realms["served_s"].sum() * 1e9) == summary.availability.served_ns
    assert round(wanted_s.sum() * 1e9) == summary.availability.wanted_ns
    assert finished.realms["serving"].sum() == summary.realms_running
    assert finished.attestations["passed"].sum() == summary.attestations.passed
    assert finished.realms["restarts"].sum() == summary.realm_restarts
    assert len(finished.faults) == summary.faults == 2
    assert (finished.migrations["outcome"] == "moved").sum() == summary.migrations == 1
    assert len(finished.outages.filter(polars.col("cause") != "bring-up")) == summary.downtime.events


def test_a_run_read_from_its_directory_is_the_run_that_has_just_ended(finished: Results) -> None:
    read = open_results(finished.path)
    assert (read.trace_digest, read.repeat, read.passed) == (finished.trace_digest, finished.repeat, finished.passed)
    assert read.realms.equals(finished.realms)
    assert {name: verdict.outcome for name, verdict in read.verdicts.items()} == {
        name: verdict.outcome for name, verdict in finished.verdicts.items()
    }
    assert repr(read) == repr(finished)


def test_metrics_are_samples_over_virtual_time_with_a_column_for_each_label(finished: Results) -> None:
    realms = finished.metrics("realmfleet_realms")
    assert realms.columns == ["at_s", "series", "value", "state"]
    last = realms.filter((polars.col("at_s") == finished.virtual_s) & (polars.col("state") == "serving"))
    assert last["value"].to_list() == [9.0]
    assert realms["at_s"].min() == 0.0
    counted = finished.metrics("attestations_total").filter(polars.col("at_s") == finished.virtual_s)
    assert counted["value"].sum() >= len(finished.attestations)


def test_a_histogram_keeps_its_buckets(finished: Results) -> None:
    pauses = finished.metrics("realmfleet_activation_pause_seconds")
    assert {"le", "value"} <= set(pauses.columns)
    counts = pauses.filter(polars.col("series").str.ends_with("_count") & (polars.col("at_s") == finished.virtual_s))
    assert counts["value"].sum() == len(finished.activations.filter(polars.col("status") == "success"))


def test_a_metric_or_a_table_that_does_not_exist_gets_the_closest_name(finished: Results) -> None:
    with pytest.raises(UnknownName, match="did you mean 'realmfleet_realms'"):
        finished.metrics("realmfleet_realm")
    with pytest.raises(UnknownName, match="did you mean 'realms'"):
        finished.table("realm")


POLICY = Policy(
    "patched-rmm", "1",
    (Rule("new", "*", (Condition("firmware.RMM.version", Operator.VERSION_AT_LEAST, ("1.0.1",)),)),),
)  # fmt: skip


def test_evidence_can_be_put_before_a_policy_of_ones_own(finished: Results) -> None:
    first, *_, last = finished.evidence("web-002")
    assert evaluate(POLICY, first.facts, "any").verdict is Verdict.DENY
    assert evaluate(POLICY, last.facts, "any").verdict is Verdict.ALLOW
    assert first.at_s < last.at_s


def test_a_realm_without_a_token_is_named(finished: Results) -> None:
    with pytest.raises(UnknownName, match="no Realm with a token web-999"):
        finished.evidence("web-999")


def short_outages(case: Case) -> Judgement:
    """No power loss lasts."""
    found = Violations()
    for line in case.of("machine.lost"):
        found.add(f"{line.source} lost power", line)
    return found.verdict("powered", "nobody lost power")


def test_a_checker_of_ones_own_judges_a_run_afterwards(finished: Results) -> None:
    verdict = finished.check(short_outages)
    assert (verdict.outcome, verdict.detail) == (Outcome.FAIL, "r1-std-01 lost power")
    assert verdict.evidence[0].source == "r1-std-01"


def test_a_directory_without_an_ended_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"status": "running"}')
    with pytest.raises(FleetError, match=r"has not ended.*running"):
        open_results(tmp_path)


def test_the_run_explains_itself(finished: Results) -> None:
    assert "migration.started" in [event.kind for event in finished.explain("web-001")]
