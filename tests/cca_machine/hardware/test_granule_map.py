"""The two-level granule map behaves as one number per granule does."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cca_machine.hardware.granule_map import OUTSIDE, Bank, GranuleMap

PAGE, BLOCK = 4096, 1 << 21
BANKS = (Bank(BLOCK, 3 * BLOCK), Bank(5 * BLOCK + 7 * PAGE, BLOCK))
ALL = [pa for bank in BANKS for pa in range(bank.base, bank.top, PAGE)]
INSIDE = set(ALL)

granule = st.sampled_from(ALL)
change = st.one_of(
    st.tuples(st.just("set"), granule, st.integers(0, 3), st.just(1)),
    st.tuples(st.just("run"), granule, st.integers(0, 3), st.integers(1, 1300)),
    st.tuples(st.just("swap"), granule, st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("compact"), granule, st.just(0), st.just(0)),
)


def reach(pa: int, count: int) -> list[int]:
    """At most `count` granules from `pa` that lie in one bank."""
    pas = []
    while len(pas) < count and pa in INSIDE:
        pas.append(pa)
        pa += PAGE
    return pas


@given(st.lists(change, max_size=20), st.integers(0, 7 * BLOCK // PAGE))
def test_it_equals_a_dictionary(changes: list[tuple[str, int, int, int]], probe: int) -> None:
    granules, model = GranuleMap(banks=BANKS, default=1), dict.fromkeys(ALL, 1)
    for kind, pa, value, more in changes:
        if kind == "set":
            granules.set(pa, value)
            model[pa] = value
        elif kind == "run":
            pas = reach(pa, more)
            granules.set_run(pa, value, len(pas))
            model.update(dict.fromkeys(pas, value))
        elif kind == "swap":
            assert granules.swap(pa, value, more) == (model[pa] == value)
            model[pa] = more if model[pa] == value else model[pa]
        else:
            granules.compact()
    assert [granules.get(pa) for pa in ALL] == list(model.values())
    here = probe * PAGE
    assert granules.get(here + 17) == model.get(here, OUTSIDE)
    assert not (granules.get(here) == OUTSIDE and granules.contains(here))
    for value in range(4):
        same = 0
        while same < 900 and model.get(here + same * PAGE) == value:
            same += 1
        assert granules.run_length(here, value, 900) == same
        inside = len(reach(here, 900))
        assert granules.run_length(here, value, inside) == min(same, inside)
    counted = granules.counts()
    assert {value: count for value, count in counted.items() if count} == {
        value: list(model.values()).count(value) for value in set(model.values())
    }
    spread = {base + at * PAGE: value for base, count, value in granules.runs() for at in range(count)}
    assert spread == {pa: value for pa, value in model.items() if value != 1}
    runs = list(granules.runs())
    assert all(
        first[0] + first[1] * PAGE < second[0] or first[2] != second[2] for first, second in itertools.pairwise(runs)
    )


def test_swapping_outside_every_bank_is_refused() -> None:
    granules = GranuleMap(banks=BANKS, default=1)
    assert not granules.swap(0, 1, 2)
    assert not granules.swap(4 * BLOCK, 1, 2)


def test_a_block_that_is_uniform_again_is_forgotten() -> None:
    granules = GranuleMap(banks=BANKS, default=1)
    granules.set_run(BLOCK, 2, 512)
    assert granules.blocks == {1: 2}
    granules.set(BLOCK, 1)
    granules.set_run(BLOCK + PAGE, 1, 511)
    assert granules.blocks == {}


def test_whole_blocks_set_back_to_the_default_cost_nothing_again() -> None:
    granules = GranuleMap(banks=BANKS, default=1)
    granules.set_run(BLOCK, 2, 3 * 512)
    assert granules.run_length(BLOCK, 2, 3 * 512) == 3 * 512
    granules.set_run(BLOCK, 1, 2 * 512)
    assert [granules.get(BLOCK + at * BLOCK) for at in range(3)] == [1, 1, 2]
    assert granules.run_length(BLOCK, 1, 3 * 512) == 2 * 512
    assert (granules.blocks, granules.stretches) == ({}, [(3, 4, 2)])


WIDE = 48
blocks = st.tuples(st.integers(0, WIDE - 1), st.integers(1, WIDE), st.integers(0, 3))
touch = st.tuples(st.integers(0, WIDE - 1), st.just(0), st.integers(0, 3))


@given(st.lists(st.one_of(blocks, touch), max_size=25))
def test_stretches_of_blocks_are_cut_joined_and_forgotten_as_one_number_per_block_would_be(
    changes: list[tuple[int, int, int]],
) -> None:
    granules = GranuleMap(banks=(Bank(0, WIDE * BLOCK),), default=1)
    first, rest = [1] * WIDE, [1] * WIDE
    for at, count, value in changes:
        if not count:
            granules.set(at * BLOCK, value)
            first[at] = value
            continue
        count = min(count, WIDE - at)
        granules.set_run(at * BLOCK, value, count * 512)
        first[at : at + count] = rest[at : at + count] = [value] * count
    assert [granules.get(at * BLOCK) for at in range(WIDE)] == first
    assert [granules.get(at * BLOCK + PAGE) for at in range(WIDE)] == rest
    flat = [number for pair in zip(first, rest, strict=True) for number in (pair[0], *[pair[1]] * 511)]
    for at in range(0, WIDE, 5):
        for value in range(4):
            same = next((n for n, number in enumerate(flat[at * 512 :]) if number != value), (WIDE - at) * 512)
            assert granules.run_length(at * BLOCK, value, (WIDE - at) * 512) == same
    held = [block for low, high, _ in granules.stretches for block in range(low, high)]
    assert held == sorted(set(held))
    assert not set(held) & set(granules.blocks)


def test_the_memory_of_a_large_realm_is_one_record() -> None:
    granules = GranuleMap(banks=(Bank(0, 1 << 39),), default=0)
    granules.set_run(1 << 30, 2, 1 << 24)
    granules.set_run(1 << 37, 2, 1 << 24)
    assert (len(granules.blocks), len(granules.stretches)) == (0, 2)
    assert granules.run_length(1 << 30, 2, 1 << 25) == 1 << 24
    assert granules.run_length(0, 0, 1 << 27) == 1 << 18
