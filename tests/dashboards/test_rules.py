"""Rules are sound for promtool, name metrics that exist, know about faults, and are tested both ways."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dashboards import expressions

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
RULES_FILE = FOLDER / "prometheus/rules/realmfleet.rules.yml"
TESTS_FILE = FOLDER / "prometheus/tests/realmfleet.test.yml"


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text("utf-8"))


RULES = [rule for group in load(RULES_FILE)["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = [rule for rule in RULES if "record" in rule]
TESTS = load(TESTS_FILE)["tests"]
ON_RULES = pytest.mark.parametrize("rule", RULES, ids=[rule.get("alert") or rule["record"] for rule in RULES])
ON_ALERTS = pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])


def promtool_says(promtool: str, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_promtool_accepts_rules_and_configuration(promtool: str) -> None:
    assert promtool_says(promtool, "check", "rules", RULES_FILE)[0] == 0
    code, words = promtool_says(promtool, "check", "config", FOLDER / "prometheus/prometheus.yml")
    assert (code, "1 rule files found" in words) == (0, True)


def test_the_unit_tests_of_the_rules_pass(promtool: str) -> None:
    code, words = promtool_says(promtool, "test", "rules", TESTS_FILE)
    assert code == 0, words


def test_the_unit_tests_notice_a_changed_rule(promtool: str, tmp_path: Path) -> None:
    for path in (RULES_FILE, TESTS_FILE):
        copy = tmp_path / path.relative_to(FOLDER)
        copy.parent.mkdir(parents=True)
        copy.write_text(
            path.read_text("utf-8").replace("== 0\n            unless", "== 1\n            unless"), "utf-8"
        )
    code, words = promtool_says(promtool, "test", "rules", tmp_path / TESTS_FILE.relative_to(FOLDER))
    assert code != 0
    assert "RealmfleetMachineDownUnexplained" in words


@ON_RULES
def test_every_metric_label_and_value_of_a_rule_exists(rule: dict[str, Any]) -> None:
    metrics = [expressions.metric_of(name) for name in expressions.series_names(rule["expr"])]
    assert metrics
    assert None not in metrics
    known = {label.name for metric in metrics if metric for label in metric.labels} | {"le"}
    assert set(expressions.grouping_labels(rule["expr"])) <= known
    for matcher in expressions.matchers(rule["expr"]):
        metric = expressions.metric_of(matcher.metric)
        assert metric is not None
        (label,) = [label for label in metric.labels if label.name == matcher.label]
        assert not label.values or any(re.fullmatch(matcher.value, value) for value in label.values)


@pytest.mark.parametrize("rule", RECORDED, ids=[rule["record"] for rule in RECORDED])
def test_a_recorded_series_is_named_level_metric_operation_and_tested(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"(fleet|rack|rollout):realmfleet_\w+:\w+", rule["record"])
    tested = [case["expr"] for test in TESTS for case in test.get("promql_expr_test", [])]
    assert rule["record"] in tested


@ON_ALERTS
def test_an_alert_has_severity_summary_and_a_runbook_that_exists(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"]
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (FOLDER.parent / path).read_text("utf-8"), re.M)
    assert anchor in [heading.lower() for heading in headings]
    assert alert["alert"] in headings


@ON_ALERTS
def test_an_alert_is_seen_to_fire_and_to_stay_quiet(alert: dict[str, Any]) -> None:
    cases = [
        case["exp_alerts"] != []
        for test in TESTS
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert["alert"]
    ]
    fired_alone = any(
        len({series["series"] for series in test["input_series"]}) > len(case["exp_alerts"]) > 0
        for test in TESTS
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert["alert"]
    )
    assert True in cases
    assert False in cases or fired_alone


def test_every_runbook_belongs_to_an_alert() -> None:
    headings = re.findall(r"^### (\w+)$", (FOLDER / "README.md").read_text("utf-8"), re.M)
    assert sorted(headings) == sorted(alert["alert"] for alert in ALERTS)
