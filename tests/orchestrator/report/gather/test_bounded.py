"""What is kept stays small however much there is, and says what it left out."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.report.gather.bounded import EDGES_NS, MOST_STEPS, Histogram, Some, Steps
from orchestrator.report.gather.rows import MACHINE_ROWS, MOST_ROW_SPANS, MOST_SPANS, REALM_ROWS, Rows

S = 1_000_000_000


def test_steps_stay_few_and_end_at_the_last_value() -> None:
    steps = Steps()
    for at in range(20 * MOST_STEPS):
        steps.set(at * S, at % 977)
    assert len(steps.points()) <= MOST_STEPS
    assert steps.thinned
    assert steps.points()[-1] == ((20 * MOST_STEPS - 1) * S, (20 * MOST_STEPS - 1) % 977)
    for at_ns, value in steps.points():
        assert value == at_ns // S % 977


def test_of_steps_that_share_a_grain_the_last_is_kept() -> None:
    steps = Steps()
    for at in range(MOST_STEPS + 1):
        steps.set(at * S, at + 1)
    assert steps.grain_ns > S
    for at_ns, _ in steps.points()[:-1]:
        assert (at_ns + S) // steps.grain_ns > at_ns // steps.grain_ns


def test_few_steps_are_kept_exactly() -> None:
    steps = Steps()
    for at in range(MOST_STEPS):
        steps.set(at, at + 1)
    assert steps.points() == [(at, at + 1) for at in range(MOST_STEPS)]
    assert not steps.thinned


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=60))
def test_every_duration_lies_in_its_bin(durations: list[int]) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    bins = list(histogram.bins())
    assert sum(count for _, _, count in bins) == len(durations) == histogram.events
    for lower, upper, count in bins:
        first, last = lower == EDGES_NS[0], lower == EDGES_NS[-1]
        inside = [one for one in durations if (first or one >= lower) and (last or one < upper)]
        assert len(inside) == count


def test_some_keeps_the_first_and_counts_the_rest() -> None:
    some: Some[int] = Some(3)
    assert [some.add(number) for number in range(5)] == [True, True, True, False, False]
    assert (some.kept, some.left_out) == ([0, 1, 2], 2)


def test_rows_with_most_to_tell_keep_their_spans_when_there_are_too_many() -> None:
    many = 480
    rows = Rows(20)
    for number in range(many):
        rows.row(f"realm-{number}").weight = 1000 if number == many - 1 else 0
    for at in range(4 * MOST_SPANS // many):
        for number in range(many):
            rows.turn(f"realm-{number}", at * S, "serving" if at % 2 else "waiting")
    rows.close(10**6 * S)
    chosen = rows.chosen()
    assert rows.count == many
    assert 0 < len(chosen) <= 20
    assert f"realm-{many - 1}" in {row.name for row in chosen}
    assert not any(row.forgotten for row in chosen)
    assert sum(len(rows.row(f"realm-{number}").spans) for number in range(many)) <= MOST_SPANS


def test_all_rows_that_are_drawn_may_be_full() -> None:
    assert max(REALM_ROWS, MACHINE_ROWS) * MOST_ROW_SPANS <= MOST_SPANS // 2
