"""Which metrics and labels a PromQL expression names, found without a parser: enough to hold it to the catalogue.

Grafana's macros and variables are replaced first, so that what remains is PromQL that a Prometheus answers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orchestrator.metrics.catalogue import BY_NAME, Metric

MACROS = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
"""What tests put for Grafana's macros."""

_SELECTOR = re.compile(r"(?<![\w:])((?:\w+:)?realmfleet_\w+(?::\w+)?)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"([^\"]*)\"")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
_VARIABLE = re.compile(r"\$\{?\w+\}?")


class Matcher(NamedTuple):
    """A label and the value or pattern that a selector asks for."""

    metric: str
    label: str
    value: str


def plain(expr: str) -> str:
    """The expression with macros and variables replaced."""
    for macro, value in MACROS.items():
        expr = expr.replace(macro, value)
    return _VARIABLE.sub(".*", expr)


def series_names(expr: str) -> list[str]:
    """Names of metrics and recorded series in the expression, in order."""
    return [name for name, _ in _SELECTOR.findall(expr)]


def matchers(expr: str) -> list[Matcher]:
    """Every label matcher, with the metric it belongs to."""
    return [
        Matcher(name, label, value)
        for name, inner in _SELECTOR.findall(expr)
        for label, value in _MATCHER.findall(inner)
    ]


def grouping_labels(expr: str) -> list[str]:
    """Labels that aggregations and joins name."""
    return [label.strip() for inner in _GROUPING.findall(expr) for label in inner.split(",") if label.strip()]


def legend_labels(legend: str) -> list[str]:
    """Labels that a legend or an annotation interpolates."""
    return _LEGEND.findall(legend)


def metric_of(series: str) -> Metric | None:
    """The entry of the catalogue that a series name belongs to (`_bucket` and the like included); None if none."""
    return next((metric for metric in BY_NAME.values() if series in metric.sample_names), None)
