"""Rounding to beats and printing of instants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.instant import MS, US, S, beat_ceil, beat_floor, format_duration, format_instant


@given(at_ns=st.integers(0, 10**15), beat_ns=st.integers(1, 10**10))
def test_an_instant_lies_between_its_two_boundaries(at_ns: int, beat_ns: int) -> None:
    low, high = beat_floor(at_ns, beat_ns), beat_ceil(at_ns, beat_ns)
    assert low % beat_ns == high % beat_ns == 0
    assert low <= at_ns <= high
    assert high - low == (0 if at_ns % beat_ns == 0 else beat_ns)


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (0, "00:00:00.000"),
        (62 * S + 3 * MS, "00:01:02.003"),
        (3_600 * S + 1 * US, "01:00:00.000001"),
        (1, "00:00:00.000000001"),
        (100 * 3_600 * S, "100:00:00.000"),
    ],
)
def test_instants_print_exactly(at_ns: int, text: str) -> None:
    assert format_instant(at_ns) == text


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [(0, "0ns"), (1, "1ns"), (1_500_000, "1.5ms"), (30 * S, "30s"), (-2_050_000_000, "-2.05s"), (1_001, "1.001us")],
)
def test_durations_print_exactly_in_their_largest_unit(duration_ns: int, text: str) -> None:
    assert format_duration(duration_ns) == text
