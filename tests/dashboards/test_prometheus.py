"""Every expression of every dashboard and rule, asked of a real Prometheus that holds a real quickstart run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dashboards.boards import BOARDS
from dashboards.expressions import plain
from dashboards.panels import ANNOTATIONS, Query
from orchestrator.metrics.catalogue import CATALOGUE
from orchestrator.metrics.export import FILE

ROOT = Path(__file__).resolve().parents[2]
RULES = YAML(typ="safe").load((ROOT / "dashboards/prometheus/rules/realmfleet.rules.yml").read_text("utf-8"))

pytestmark = pytest.mark.xdist_group("prometheus")


def numbers(series: list[dict[str, Any]]) -> int:
    """How many points of a range answer are finite numbers."""
    return sum(value not in ("NaN", "+Inf", "-Inf") for one in series for _, value in one["values"])


QUERIES: dict[str, Query] = {
    **{
        f"{dashboard.board}: {panel.title}: {place}": query
        for dashboard in BOARDS
        for panel in dashboard.panels
        for place, query in enumerate(panel.queries, 1)
    },
    **{f"annotation: {annotation.name}": annotation.query for annotation in ANNOTATIONS},
}


@pytest.mark.parametrize("name", QUERIES)
def test_an_expression_of_a_dashboard_returns_data(name: str, prometheus) -> None:
    query = QUERIES[name]
    series = prometheus.over_the_run(plain(query.expr))
    assert numbers(series) or query.empty_when, query.expr


@pytest.mark.parametrize("rule", [rule for group in RULES["groups"] for rule in group["rules"]], ids=str)
def test_an_expression_of_a_rule_is_answered_and_recorded_ones_return_data(rule: dict[str, Any], prometheus) -> None:
    series = prometheus.over_the_run(rule["expr"])
    assert numbers(series) or "alert" in rule


def test_the_quickstart_run_raises_no_alert_of_broken_promises(prometheus) -> None:
    critical = [
        rule for group in RULES["groups"] for rule in group["rules"] if rule.get("labels") == {"severity": "critical"}
    ]
    assert critical
    instant = [rule for rule in critical if "for" not in rule]
    assert not [rule["alert"] for rule in instant if prometheus.over_the_run(rule["expr"])]


def test_every_metric_has_a_series_or_needs_something_that_did_not_happen(prometheus) -> None:
    absent = {
        entry.name for entry in CATALOGUE if not prometheus.over_the_run(f'{{__name__=~"{entry.name}(_bucket)?"}}')
    }
    assert absent <= {"realmfleet_rmi_refusals_total", "realmfleet_operator_inputs_total"}


def test_the_numbers_are_those_of_the_virtual_day(prometheus) -> None:
    """Facts that anybody reads off clusters/quickstart.yaml: 9 machines, 24 Realms, two faults, one rollout."""
    answers = {
        expr: [one["value"][1] for one in prometheus.at_the_end(expr)]
        for expr in (
            "sum(realmfleet_machines)",
            "sum(realmfleet_realms)",
            "sum(realmfleet_faults_injected_total)",
            'realmfleet_rollout_machines{phase="done"}',
            'sum(realmfleet_migrations_total{result="moved"})',
        )
    }
    assert list(answers.values()) == [["9"], ["24"], ["2"], ["9"], ["1"]]


def test_the_partition_is_in_force_for_its_fifty_virtual_seconds(prometheus) -> None:
    (series,) = prometheus.over_the_run('realmfleet_faults_active{kind="network.partition"}')
    start_s = prometheus.loaded.from_ms // 1000
    held = [at_s - start_s for at_s, value in series["values"] if value == "1"]
    assert held == [540, 555, 570, 585]


def test_nothing_in_the_run_is_unknown_to_the_catalogue(quickstart: Path) -> None:
    text = (quickstart / FILE).read_text("utf-8")
    others = [line for line in text.splitlines() if '="other"' in line and not re.search(r" 0 \d+(\.\d+)?$", line)]
    assert others == []
