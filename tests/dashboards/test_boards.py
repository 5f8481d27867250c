"""Dashboards keep their conventions and name only metrics and labels that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dashboards import expressions
from dashboards.boards import BOARDS
from dashboards.panels import ANNOTATIONS, COLOURS, MOST_PANELS, Dashboard, Look, Panel, Query, quantiles
from orchestrator.metrics.catalogue import BY_NAME, CATALOGUE, Board

JOINED = {"instance", "job"}


def queries(dashboard: Dashboard) -> Iterator[Query]:
    for panel in dashboard.panels:
        yield from panel.queries
    for annotation in ANNOTATIONS:
        yield annotation.query


EVERY = [
    pytest.param(query, id=f"{dashboard.board}: {query.expr}") for dashboard in BOARDS for query in queries(dashboard)
]
ON_BOARDS = pytest.mark.parametrize("dashboard", BOARDS, ids=[dashboard.board for dashboard in BOARDS])


def test_there_is_one_dashboard_per_task() -> None:
    assert [dashboard.board for dashboard in BOARDS] == list(Board)


# -- expressions and the catalogue ---------------------------------------------------------------------------------


@pytest.mark.parametrize("query", EVERY)
def test_every_metric_of_an_expression_is_in_the_catalogue(query: Query) -> None:
    names = expressions.series_names(query.expr)
    assert names
    assert [name for name in names if expressions.metric_of(name) is None] == []


@pytest.mark.parametrize("query", EVERY)
def test_every_matcher_names_a_label_and_a_value_that_the_metric_has(query: Query) -> None:
    for matcher in expressions.matchers(query.expr):
        metric = expressions.metric_of(matcher.metric)
        assert metric is not None
        (label,) = [label for label in metric.labels if label.name == matcher.label]
        if label.values and not matcher.value.startswith("$"):
            assert [value for value in label.values if re.fullmatch(matcher.value, value)], matcher


@pytest.mark.parametrize("query", EVERY)
def test_every_grouping_and_legend_names_labels_of_the_metrics(query: Query) -> None:
    metrics = [expressions.metric_of(name) for name in expressions.series_names(query.expr)]
    known = {label.name for metric in metrics if metric for label in metric.labels} | {"le"}
    assert set(expressions.grouping_labels(query.expr)) <= known
    assert set(expressions.legend_labels(query.legend)) <= known


@pytest.mark.parametrize("query", EVERY)
def test_quantiles_and_rates_are_taken_of_what_they_are_meant_for(query: Query) -> None:
    for name in re.findall(r"(?:rate|increase)\((realmfleet_\w+)", query.expr):
        assert name.endswith(("_total", "_bucket", "_sum", "_count"))
    if "histogram_quantile" in query.expr:
        assert "_bucket" in query.expr
        assert "by (le" in query.expr


@pytest.mark.parametrize("query", EVERY)
def test_a_histogram_with_stages_is_never_summed_over_them(query: Query) -> None:
    """Stages of one thing and their total stand side by side: a sum over them counts everything twice."""
    for name, selector in re.findall(r"(realmfleet_\w+_(?:bucket|sum|count))(\{[^}]*\})?", query.expr):
        metric = expressions.metric_of(name)
        assert metric is not None
        if any(label.name == "stage" for label in metric.labels):
            assert "stage" in selector or "by (stage)" in query.expr


@pytest.mark.parametrize("entry", CATALOGUE, ids=[entry.name for entry in CATALOGUE])
def test_a_metric_is_shown_on_exactly_the_dashboards_that_the_catalogue_names(entry) -> None:
    shown = {
        dashboard.board
        for dashboard in BOARDS
        for panel in dashboard.panels
        for query in panel.queries
        if any(expressions.metric_of(name) is entry for name in expressions.series_names(query.expr))
    }
    assert shown == set(entry.boards)


def test_colours_are_given_to_values_that_exist() -> None:
    values = {value for metric in CATALOGUE for label in metric.labels for value in label.values}
    assert COLOURS.keys() <= values


# -- conventions ---------------------------------------------------------------------------------------------------


@ON_BOARDS
def test_the_first_row_is_the_verdict_in_four_numbers(dashboard: Dashboard) -> None:
    first = dashboard.rows[0]
    assert first.title == "Verdict"
    assert [panel.look for panel in first.panels] == [Look.STAT] * 4


@ON_BOARDS
def test_a_dashboard_is_not_overfull(dashboard: Dashboard) -> None:
    assert len(dashboard.panels) <= MOST_PANELS


@ON_BOARDS
def test_details_are_collapsed_and_last(dashboard: Dashboard) -> None:
    collapsed = [row.details for row in dashboard.rows]
    assert collapsed == sorted(collapsed)


@ON_BOARDS
def test_every_panel_says_what_it_shows_in_sentences(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        assert panel.shows.endswith(".")
        assert panel.title[0].isupper()
        assert len(panel.shows.split()) >= 6


@ON_BOARDS
def test_lines_of_one_panel_can_be_told_apart(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        legends = [query.legend for query in panel.queries]
        assert len(set(legends)) == len(legends)
        assert all(legends) or panel.look is Look.STAT


@ON_BOARDS
def test_variables_are_labels_and_every_variable_is_used(dashboard: Dashboard) -> None:
    used = {name for query in queries(dashboard) for name in re.findall(r"\$(\w+)", query.expr)}
    used -= {name.removeprefix("$") for name in expressions.MACROS}
    assert used == {variable.name for variable in dashboard.variables}
    for variable in dashboard.variables:
        assert variable.label in {label.name for label in BY_NAME[variable.metric].labels}


def test_quantiles_of_what_is_no_histogram_are_refused() -> None:
    with pytest.raises(ValueError, match="no histogram"):
        quantiles("realmfleet_realms")


def test_a_panel_has_no_more_than_the_width_of_the_grid() -> None:
    assert all(isinstance(panel, Panel) and 0 < panel.width <= 24 for board in BOARDS for panel in board.panels)


# -- reading expressions -------------------------------------------------------------------------------------------


def test_macros_and_variables_are_replaced_by_promql() -> None:
    expr = 'rate(realmfleet_x_total{rack=~"$rack"}[$__rate_interval]) + $__range_s'
    assert expressions.plain('rate(x{rack=~"$rack"}[$__rate_interval])') == 'rate(x{rack=~".*"}[1m])'
    assert "$" not in expressions.plain(expr)


def test_names_matchers_and_labels_are_found() -> None:
    expr = 'sum by (a, b) (realmfleet_x_bucket{c="d",e!~"f"}) / on (g) group_left (h) fleet:realmfleet_y:sum'
    assert expressions.series_names(expr) == ["realmfleet_x_bucket", "fleet:realmfleet_y:sum"]
    assert [(matcher.label, matcher.value) for matcher in expressions.matchers(expr)] == [("c", "d"), ("e", "f")]
    assert expressions.grouping_labels(expr) == ["a", "b", "g", "h"]
    assert expressions.legend_labels("{{a}} of {{ $labels.b }}") == ["a", "b"]
