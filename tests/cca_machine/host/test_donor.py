"""The pool of granules: nothing lent twice, nothing lost, everything merged again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine.errors import BrokenPromise
from cca_machine.host.donor import GranulePool, Run

BASE = 0x8_8000_0000
BLOCK = 2 << 20
SIZE = 4096


def pages(run: Run) -> set[int]:
    return {run[0] // 4096 + index for index in range(run[1])}


REQUESTS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 700)),
        st.tuples(st.just("blocks"), st.integers(1, 1700)),
        st.tuples(st.just("give"), st.integers(0, 50)),
    ),
    max_size=40,
)


@given(REQUESTS)
def test_what_is_lent_is_apart_and_everything_comes_back(requests: list[tuple[str, int]]) -> None:
    pool = GranulePool([(BASE, SIZE)])
    lent: list[list[Run]] = []
    for what, number in requests:
        if what == "give":
            if lent:
                for run in lent.pop(number % len(lent)):
                    pool.give(*run)
            continue
        free = pool.free
        if what == "take":
            base = pool.take(number)
            runs = None if base is None else [(base, number)]
        else:
            runs = pool.take_blocks(number)
        if runs is None:
            assert pool.free == free
        else:
            lent.append(runs)
        held = [page for group in lent for run in group for page in pages(run)]
        assert len(held) == len(set(held)) == SIZE - pool.free
        assert all(low[0] + low[1] * 4096 < high[0] for low, high in zip(pool.runs, pool.runs[1:], strict=False))
    for group in lent:
        for run in group:
            pool.give(*run)
    assert pool.runs == [(BASE, SIZE)]


def test_the_lowest_fitting_run_is_taken_at_the_alignment_asked_for() -> None:
    pool = GranulePool([(BASE + 0x1000, 3), (BASE + 0x10000, 40)])
    assert pool.take(4) == BASE + 0x10000
    assert pool.take(2, 0x2000) == BASE + 0x2000
    assert pool.runs == [(BASE + 0x1000, 1), (BASE + 0x14000, 36)]


def test_blocks_come_whole_and_aligned_when_memory_is_in_pieces() -> None:
    pool = GranulePool([(BASE + 0x1000, 1500), (BASE + 16 * BLOCK, 600)])
    runs = pool.take_blocks(1100)
    assert runs is not None
    assert sum(count for _, count in runs) == 1100
    assert all(base % BLOCK == 0 for base, _ in runs)
    assert [count % 512 for _, count in runs[:-1]] == [0] * (len(runs) - 1)


def test_more_than_there_is_takes_nothing() -> None:
    pool = GranulePool([(BASE, 100), (BASE + BLOCK, 100)])
    assert pool.take(101) is None
    assert pool.take_blocks(201) is None
    assert pool.free == 200


@pytest.mark.parametrize("run", [(BASE, 1), (BASE + 0x1000, 5), (BASE - 0x1000, 2), (BASE + 99 * 0x1000, 1)])
def test_a_granule_that_is_free_cannot_be_returned(run: Run) -> None:
    with pytest.raises(BrokenPromise, match="returned twice"):
        GranulePool([(BASE, 100)]).give(*run)


def test_a_run_that_is_not_free_cannot_be_cut_out() -> None:
    with pytest.raises(BrokenPromise, match="not free"):
        GranulePool([(BASE, 100)]).take_at(BASE + 0x1000, 100)
