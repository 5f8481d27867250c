"""Plots hold what the tables hold."""

from __future__ import annotations

import polars
import pytest

from orchestrator import Results, UnknownName


def test_the_time_line_has_a_bar_for_every_realm_and_outage_and_a_band_for_every_fault(finished: Results) -> None:
    figure = finished.plot.timeline()
    bars = {trace.name: trace for trace in figure.data}
    assert sorted(bars["serving"].y) == sorted(finished.realms["realm"])
    for cause, rows in finished.outages.group_by("cause"):
        assert len(bars[cause[0]].y) == len(rows)
    assert [note.text for note in figure.layout.annotations] == finished.faults["kind"].to_list()


def test_the_distribution_of_downtime_ends_at_one_for_every_cause(finished: Results) -> None:
    figure = finished.plot.downtime()
    longest = (
        finished.outages.filter(polars.col("cause") != "bring-up").group_by("cause").agg(polars.max("duration_ms"))
    )
    assert {trace.name: trace.x[-1] for trace in figure.data} == dict(longest.iter_rows())
    assert all(trace.y[-1] == 1.0 for trace in figure.data)


def test_a_metric_has_a_curve_for_each_combination_of_labels(finished: Results) -> None:
    figure = finished.plot.metric("realmfleet_realms")
    assert {trace.name for trace in figure.data} == set(finished.metrics("realmfleet_realms")["state"])
    assert [trace.name for trace in finished.plot.metric("realmfleet_sim_time_seconds").data] == [
        "realmfleet_sim_time_seconds"
    ]
    with pytest.raises(UnknownName):
        finished.plot.metric("realmfleet_nothing")


def test_runs_are_compared_by_their_outages(finished: Results) -> None:
    figure = finished.plot.compare(finished)
    assert [len(trace.y) for trace in figure.data] == [finished.summary.downtime.events] * 2
