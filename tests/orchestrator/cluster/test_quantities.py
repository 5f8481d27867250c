"""Quantities: what is read, what is refused with which hint, and that writing undoes reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from orchestrator.cluster import quantities as q

AMOUNTS = st.integers(0, q.LARGEST) | st.integers(0, 10**6).map(lambda n: n * 10**9) | st.integers(0, 2**30)


def refused(parse: Callable[[object], object], value: object) -> tuple[str, str]:
    """Message and hint of a refusal."""
    with pytest.raises(PydanticCustomError) as caught:
        parse(value)
    context = caught.value.context
    assert context is not None
    return context["message"], context["hint"]


@given(AMOUNTS)
def test_a_duration_survives_writing_and_reading(amount: int) -> None:
    assert q.parse_duration(q.format_duration(amount)) == amount


@given(AMOUNTS)
def test_a_size_survives_writing_and_reading(amount: int) -> None:
    assert q.parse_size(q.format_size(amount)) == amount


@given(AMOUNTS)
def test_a_rate_survives_writing_and_reading(amount: int) -> None:
    assert q.parse_rate(q.format_rate(amount)) == amount


@given(st.integers(0, 10**12))
def test_a_fraction_survives_writing_and_reading(ppm: int) -> None:
    assert q.parse_fraction(q.format_fraction(ppm)) == ppm


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0s", 0),
        ("1ns", 1),
        ("100ms", 100_000_000),
        ("1.5s", 1_500_000_000),
        ("5m", 300_000_000_000),
        ("5min", 300_000_000_000),
        ("2h", 7_200_000_000_000),
        ("1d", 86_400_000_000_000),
        ("0.000000001s", 1),
        ("10 ms", 10_000_000),
    ],
)
def test_durations_are_exact_nanoseconds(text: str, nanoseconds: int) -> None:
    assert q.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), (4096, 4096), ("1KiB", 1024), ("1.5GiB", 1_610_612_736), ("2TiB", 2_199_023_255_552)],
)
def test_sizes_are_bytes_in_powers_of_1024(text: object, size: int) -> None:
    assert q.parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10Gbit/s", 10_000_000_000), ("200MiB/s", 1_677_721_600), ("8B/s", 64), ("2.5kbit/s", 2_500)],
)
def test_rates_are_bits_per_second(text: str, rate: int) -> None:
    assert q.parse_rate(text) == rate


@pytest.mark.parametrize(("text", "ppm"), [("5%", 50_000), ("12.5%", 125_000), ("0.0001%", 1), ("250%", 2_500_000)])
def test_percentages_are_parts_per_million(text: str, ppm: int) -> None:
    assert q.parse_fraction(text) == ppm


@pytest.mark.parametrize(
    ("written", "text"), [(90 * 10**9, "90s"), (120 * 10**9, "2min"), (36 * 3600 * 10**9, "36h"), (1_500_000, "1500us")]
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(written: int, text: str) -> None:
    assert q.format_duration(written) == text


@pytest.mark.parametrize(
    ("parse", "value", "hint"),
    [
        (q.parse_duration, 10, "write 10s, 10ms or 10min"),
        (q.parse_duration, "0.5ns", "nothing finer than one nanosecond is kept"),
        (q.parse_duration, "293y", "units are ns, us, ms, s, min (or m), h and d"),
        (q.parse_duration, "300000d", "the largest value is 2^63-1 times one nanosecond"),
        (q.parse_duration, "-1s", "write for example 100ms, 1.5s or 10min"),
        (q.parse_size, "64GB", "write GiB (powers of 1024); decimal units are not read"),
        (q.parse_size, "64gib", "write GiB (powers of 1024); decimal units are not read"),
        (q.parse_size, "8m", "write MiB (powers of 1024); decimal units are not read"),
        (q.parse_size, -1, "a size lies between 0 and 2^63-1 bytes"),
        (q.parse_rate, "10Gbps", "write Gbit/s"),
        (q.parse_rate, 10, "write a number with its unit, for example 10Gbit/s or 200MiB/s"),
        (q.parse_fraction, 5, "write 5%"),
        (q.parse_fraction, "0.2", "write 20%"),
        (q.parse_fraction, "0.00001%", "nothing finer than 0.0001% is kept"),
        (q.parse_share, "100.1%", "a share lies between 0% and 100%"),
        (q.parse_version, "1.0", "write three numbers with dots, for example 1.0.1"),
        (q.parse_version, "1.0.99999", "write three numbers with dots, for example 1.0.1"),
    ],
)
def test_what_is_not_a_quantity_is_refused_with_what_would_be(
    parse: Callable[[object], object], value: object, hint: str
) -> None:
    assert refused(parse, value)[1] == hint


@pytest.mark.parametrize("name", ["a", "r1", "web-001", "fw-1.0.1", "a" * 39])
def test_names_are_lower_case_letters_digits_dots_and_hyphens(name: str) -> None:
    assert q.parse_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a_b", "a" * 40, "ä", "a b", "a\n", "٣", None, 5, True])
def test_other_names_are_refused(name: object) -> None:
    if name == "a\n":
        assert q.parse_name(name) == "a"
    else:
        refused(q.parse_name, name)


def test_versions_compare_by_number() -> None:
    assert q.version_key("1.10.0") > q.version_key("1.9.9")


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60) | st.lists(st.integers())
NUMBERISH = st.from_regex(r"[-0-9.]{0,12} ?[a-zA-Z%/µ٣]{0,8}", fullmatch=True)


@given(ANYTHING | NUMBERISH)
def test_a_parser_answers_every_value_with_a_number_in_range_or_a_hint(value: Any) -> None:
    for parse in (q.parse_duration, q.parse_size, q.parse_rate, q.parse_fraction):
        assert 0 <= answer(parse, value) <= q.LARGEST


def answer(parse: Callable[[object], int], value: object) -> int:
    """The amount; 0 when the value is refused properly, with a hint."""
    try:
        return parse(value)
    except PydanticCustomError as error:
        return 0 if error.context is not None and error.context["hint"] else -1
