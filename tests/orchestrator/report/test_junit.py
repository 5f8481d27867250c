"""JUnit XML of chaos experiments: counts, failures with their repeat command, and texts that XML can hold."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from orchestrator.chaos.experiment import ExperimentResult, Finding, SeedResult
from orchestrator.chaos.verdict import Outcome
from orchestrator.cli.app import app
from orchestrator.errors import UserMistake
from orchestrator.report.junit import junit, write_junit

ROOT = Path(__file__).resolve().parents[3]


def result(detail: str = "web-001 does not serve") -> ExperimentResult:
    good = Finding("checker", "alive-once", Outcome.PASS, "never two at once")
    bad = Finding("checker", "recovered", Outcome.FAIL, detail)
    open_ = Finding("probe", "quick", Outcome.UNKNOWN, "the summary has no speed")
    first = SeedResult(1, Outcome.PASS, (good,), 2, "aa" * 32, "runs/x/seed-1", "realmfleet chaos run x --seeds 1")
    second = SeedResult(
        2, Outcome.FAIL, (good, bad, open_), 3, "bb" * 32, "runs/x/seed-2", "realmfleet chaos run x --seeds 2"
    )
    return ExperimentResult("storm", "It recovers", Outcome.FAIL, (first, second))


def test_every_question_is_a_case_and_every_seed_a_suite() -> None:
    root = ElementTree.fromstring(junit(result()))
    assert (root.get("tests"), root.get("failures"), root.get("skipped"), root.get("errors")) == ("4", "1", "1", "0")
    suites = root.findall("testsuite")
    assert [(suite.get("name"), suite.get("tests")) for suite in suites] == [
        ("storm seed 1", "1"),
        ("storm seed 2", "3"),
    ]
    told = {item.get("name"): item.get("value") for item in suites[1].findall("properties/property")}
    assert told == {"seed": "2", "faults": "3", "trace_digest": "bb" * 32, "repeat": "realmfleet chaos run x --seeds 2"}
    names = [(case.get("classname"), case.get("name")) for case in suites[1].findall("testcase")]
    assert names[1:] == [("storm.seed-2", "checker recovered"), ("storm.seed-2", "probe quick")]


def test_a_failure_holds_the_command_that_repeats_it() -> None:
    (failure,) = ElementTree.fromstring(junit(result())).iter("failure")
    assert failure.get("message") == "web-001 does not serve"
    assert "repeat: realmfleet chaos run x --seeds 2" in (failure.text or "")


def test_what_could_not_be_told_is_skipped() -> None:
    (skipped,) = ElementTree.fromstring(junit(result())).iter("skipped")
    assert skipped.get("message") == "unknown: the summary has no speed"


def test_characters_that_xml_cannot_hold_do_not_break_the_file() -> None:
    (failure,) = ElementTree.fromstring(junit(result("a \x00 <b> & \x1b[31m \ud800"))).iter("failure")
    assert failure.get("message") == "a � <b> & �[31m �"


def test_a_file_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="cannot write"):
        write_junit(tmp_path / "none" / "out.xml", result())


def test_the_command_line_writes_it_beside_the_table(tmp_path: Path) -> None:
    file, out = tmp_path / "chaos.xml", tmp_path / "runs"
    arguments = ["chaos", "run", str(ROOT / "clusters" / "chaos-tokens.yaml"), "--seeds", "1", "--out", str(out)]
    told = CliRunner().invoke(app, [*arguments, "--junit", str(file), "--json"])
    assert told.exit_code == 0, told.output
    (suite,) = ElementTree.parse(file).getroot().findall("testsuite")
    assert int(suite.get("tests", "0")) >= 9
    assert suite.get("failures") == "0"
