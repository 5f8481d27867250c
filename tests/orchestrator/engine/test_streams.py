"""Named random streams: independence by name, integer distributions, and state of two fields."""

from __future__ import annotations

import math
from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine import streams
from orchestrator.engine.streams import Stream, derive, draw_below, run_seed

SEED = run_seed(7)


def test_a_draw_is_the_documented_hash() -> None:
    stream = Stream.named(SEED, "chaos", 3)
    name = blake2b(key=SEED, digest_size=32, person=b"realmfleet/name")
    name.update(b"s\x00\x00\x00\x05chaos" + b"i\x00\x00\x00\x01\x03")
    first = blake2b(bytes(8), key=name.digest(), digest_size=16)
    assert stream.bits() == int.from_bytes(first.digest(), "big")


def test_streams_of_different_names_do_not_shift_each_other() -> None:
    alone = Stream.named(SEED, "a")
    expected = [alone.bits() for _ in range(5)]
    one, other = Stream.named(SEED, "a"), Stream.named(SEED, "b")
    mixed = []
    for _ in range(5):
        other.bits()
        mixed.append(one.bits())
    assert mixed == expected


@pytest.mark.parametrize(
    ("one", "other"), [(("ab", "c"), ("a", "bc")), (("1",), (1,)), ((b"a",), ("a",)), ((1, 2), (1, 2, 0)), ((), ("",))]
)
def test_names_that_read_alike_are_different_names(
    one: tuple[str | int | bytes, ...], other: tuple[str | int | bytes, ...]
) -> None:
    assert derive(SEED, *one) != derive(SEED, *other)
    assert draw_below(1 << 128, SEED, *one) != draw_below(1 << 128, SEED, *other)


def test_a_stream_goes_on_from_its_snapshot() -> None:
    stream = Stream.named(SEED, "x")
    stream.bits()
    copy = msgspec.msgpack.decode(msgspec.msgpack.encode(stream), type=Stream)
    assert [copy.bits() for _ in range(3)] == [stream.bits() for _ in range(3)]


@given(bound=st.integers(1, 1 << 64), number=st.integers(0, 1000))
def test_draws_stay_below_their_bound(bound: int, number: int) -> None:
    assert 0 <= draw_below(bound, SEED, number) < bound
    assert 0 <= Stream.named(SEED, number).below(bound) < bound


def test_uniform_draws_fill_their_range_evenly() -> None:
    stream, counts = Stream.named(SEED, "dice"), [0] * 6
    for _ in range(12_000):
        counts[stream.between(1, 6) - 1] += 1
    # five degrees of freedom: 20.5 is exceeded once in a thousand
    assert sum((count - 2000) ** 2 / 2000 for count in counts) < 20.5


def test_chances_come_true_in_their_proportion() -> None:
    stream = Stream.named(SEED, "coin")
    assert abs(sum(stream.chance(250_000) for _ in range(20_000)) - 5_000) < 250
    assert not any(stream.chance(0) for _ in range(100))
    assert all(stream.chance(1_000_000) for _ in range(100))


def test_weights_are_kept() -> None:
    stream, counts = Stream.named(SEED, "weights"), [0, 0, 0]
    for _ in range(8_000):
        counts[stream.weighted([1, 0, 3])] += 1
    assert counts[1] == 0
    assert abs(counts[0] - 2_000) < 200


def test_a_sample_has_no_member_twice() -> None:
    stream = Stream.named(SEED, "sample")
    assert len(set(stream.sample(range(100), 30))) == 30
    assert sorted(stream.sample("abc", 10)) == ["a", "b", "c"]
    assert stream.choice([4]) == 4


def test_the_quantile_table_is_the_logarithm() -> None:
    table = streams._QUANTILES
    assert len(table) == 1024
    for place in (0, 1, 17, 512, 900, 1023):
        assert table[place] / 2**32 == pytest.approx(-math.log(1 - place / 1024), abs=1e-9)


def test_waiting_times_have_their_mean_spread_and_tail() -> None:
    stream = Stream.named(SEED, "waiting")
    waits = [stream.exponential(1_000_000) for _ in range(20_000)]
    assert sum(waits) / len(waits) == pytest.approx(1_000_000, rel=0.03)
    assert sum(wait > 1_000_000 for wait in waits) / len(waits) == pytest.approx(math.exp(-1), abs=0.015)
    # beyond the last cell of the table, where the draw starts again
    assert sum(wait > 7_500_000 for wait in waits) / len(waits) == pytest.approx(math.exp(-7.5), abs=0.0006)
    assert max(waits) > 8_000_000


def test_octets_have_the_asked_length() -> None:
    stream = Stream.named(SEED, "octets")
    assert [len(stream.octets(count)) for count in (0, 1, 16, 33)] == [0, 1, 16, 33]
