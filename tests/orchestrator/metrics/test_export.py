"""The text is OpenMetrics: exact, ordered, and read the same by the library and by promtool."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from orchestrator.metrics.catalogue import BY_NAME, Kind, metric
from orchestrator.metrics.collect import Collector
from orchestrator.metrics.export import EPOCH_S, exposition, head, lines_of, number, openmetrics, write_metrics
from orchestrator.metrics.tally import Distribution, Key

S = 1_000_000_000


def text_of(story) -> str:
    return "".join(openmetrics(story.samples()))


@given(st.integers(-(10**18), 10**18))
def test_durations_are_printed_exactly(value_ns: int) -> None:
    assert Decimal(number(metric("sim_time_seconds"), value_ns)) == Decimal(value_ns) / S


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (12 * S, "12"), (-500_000_000, "-0.5")],
)
def test_durations_are_printed_without_trailing_zeros(value_ns: int, text: str) -> None:
    assert number(metric("sim_time_seconds"), value_ns) == text


def test_counts_and_bytes_are_printed_as_integers() -> None:
    assert number(metric("realm_memory_bytes"), 1 << 40) == "1099511627776"


def test_a_family_begins_with_help_type_and_unit() -> None:
    assert head(metric("realm_serving_seconds_total")) == (
        "# HELP realmfleet_realm_serving_seconds Wanted Realm-seconds that were served.\n"
        "# TYPE realmfleet_realm_serving_seconds counter\n"
        "# UNIT realmfleet_realm_serving_seconds seconds\n"
    )


def test_buckets_are_cumulative_and_end_with_infinity() -> None:
    entry = metric("scheduling_wait_seconds")
    value = Distribution((1, 0, 2, *([0] * 11), 4), 9 * S)
    lines = list(lines_of(entry, Key(entry.name, ()), value))
    assert lines[0] == 'realmfleet_scheduling_wait_seconds_bucket{le="0.1"} 1'
    assert lines[2] == 'realmfleet_scheduling_wait_seconds_bucket{le="0.5"} 3'
    assert lines[14] == 'realmfleet_scheduling_wait_seconds_bucket{le="+Inf"} 7'
    assert lines[15:] == ["realmfleet_scheduling_wait_seconds_count 7", "realmfleet_scheduling_wait_seconds_sum 9"]


def test_an_observation_at_a_bound_belongs_to_that_bucket(facts) -> None:
    """`le` is less or equal."""
    tally = Collector(facts).tally
    tally.observe("scheduling_wait_seconds", 300_000_000)
    value = tally.values[Key("realmfleet_scheduling_wait_seconds", ())]
    assert isinstance(value, Distribution)
    assert value.buckets[1] == 1


def test_names_in_label_values_are_escaped() -> None:
    entry = metric("rollout_wave")
    (line,) = lines_of(entry, Key(entry.name, ('a"b\\c\nd',)), 1)
    assert line == 'realmfleet_rollout_wave{rollout="a\\"b\\\\c\\nd"} 1'


def test_virtual_time_starts_at_the_epoch(day) -> None:
    lines = [line for line in text_of(day).splitlines() if line.startswith("realmfleet_sim_time_seconds ")]
    assert lines[:2] == [f"realmfleet_sim_time_seconds 0 {EPOCH_S}", f"realmfleet_sim_time_seconds 15 {EPOCH_S + 15}"]
    assert lines[-1] == f"realmfleet_sim_time_seconds 100 {EPOCH_S + 100}"


def test_families_are_sorted_and_stand_once(day) -> None:
    families = [line.split()[2] for line in text_of(day).splitlines() if line.startswith("# TYPE ")]
    assert families == sorted(families)
    assert len(families) == len(set(families))


def test_the_text_ends_with_the_end_mark_and_nothing_behind_it(day) -> None:
    text = text_of(day)
    assert text.endswith("\n# EOF\n")
    assert text.count("# EOF") == 1


@pytest.mark.parametrize("at_s", [0, 15, 45, 100])
def test_the_reference_parser_reads_every_sample_and_type(day, at_s: int) -> None:
    """Instant by instant: prometheus_client 0.26 drops buckets of a second instant as if they were repeated."""
    end = f" {EPOCH_S + at_s}\n"
    text = "".join(line for line in text_of(day).splitlines(keepends=True) if line[0] == "#" or line.endswith(end))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() <= {entry.family for entry in BY_NAME.values()}
    for entry in BY_NAME.values():
        if entry.family in families:
            assert families[entry.family].type == entry.kind
            assert families[entry.family].unit == entry.unit
    (calls,) = families["realmfleet_rmi_calls"].samples
    assert (calls.name, calls.labels) == ("realmfleet_rmi_calls_total", {"command": "RMI_DATA_CREATE"})
    assert calls.value == (0 if at_s == 0 else 500)


def test_timestamps_of_a_series_increase(day) -> None:
    last: dict[str, Decimal] = {}
    for line in text_of(day).splitlines():
        if not line.startswith("#"):
            series, _, stamp = line.rpartition(" ")
            series = series.rpartition(" ")[0]
            assert Decimal(stamp) > last.get(series, Decimal(0)), line
            last[series] = Decimal(stamp)


def test_counters_never_fall(day) -> None:
    samples = day.samples()
    for key in samples.changes:
        if BY_NAME[key.name].kind is Kind.COUNTER:
            values = [value for _, value in samples.points(key)]
            assert values == sorted(values)


def test_facts_about_one_execution_have_no_place_in_the_file(day) -> None:
    text = text_of(day)
    assert "realmfleet_actor" not in text
    assert "realmfleet_build_info" not in text


def test_the_same_trace_gives_the_same_bytes(day, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_metrics(tmp_path / name, day.samples())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_line_that_says_nothing_new_about_the_present_is_the_last_of_the_file(day, facts) -> None:
    """The exposition of the last moment is the last point of each series, without its timestamp."""
    samples = day.samples()
    present = {key: list(samples.points(key))[-1][1] for key in samples.changes}
    shown = {line for line in exposition(present) if not line.startswith("#")}
    end = f" {EPOCH_S + 100}\n"
    last = {line[: -len(end)] + "\n" for line in text_of(day).splitlines(keepends=True) if line.endswith(end)}
    assert shown == last


def test_promtool_loads_it(day, tmp_path: Path, promtool: str) -> None:
    write_metrics(tmp_path / "metrics.om", day.samples())
    command = [
        promtool,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        str(tmp_path / "metrics.om"),
        str(tmp_path / "db"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "db").iterdir())
