"""Rows of alike translation tables: the same answers and the same state as tables held one by one."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from spec_door import DRAM, PAGE, SUCCESS, Door

from cca_machine.abi.rmi import Rmi
from cca_machine.invariants import violations
from cca_machine.rmm.rtt import Table
from cca_machine.rmm.table_store import Row, TableStore

BLOCK = 1 << 21
TABLES = DRAM.base + 16 * BLOCK
DATA = DRAM.base + 20 * BLOCK
BLOCKS = 6


def prepared(*, spoiled: list[int], aligned: bool) -> tuple[Door, int, int]:
    """A NEW Realm with a level 2 table, delegated granules for tables and for six blocks, some of them spoiled."""
    door = Door()
    rd = door.realm()
    door.tables(rd, 0, to=2)
    data = DATA if aligned else DATA + PAGE
    door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (TABLES,), (PAGE,), 16)
    door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (data,), (PAGE,), BLOCKS * 512)
    for index in spoiled:
        door.call(Rmi.GRANULE_UNDELEGATE, data + index * PAGE)
    return door, rd, data


def one_by_one(door: Door, fid: int, args: list[int], stride: list[int], count: int) -> tuple[int, tuple[int, ...]]:
    last: tuple[int, ...] = (0,) * 8
    for turn in range(count):
        last = door.call(fid, *(value + turn * step for value, step in zip(args, stride, strict=True)))
        if last[0] != SUCCESS:
            return turn, last
    return count, last


@st.composite
def block_runs(draw: st.DrawFn) -> tuple[Rmi, int, int]:
    fid = draw(
        st.sampled_from([Rmi.RTT_CREATE, Rmi.DATA_CREATE_UNKNOWN, Rmi.RTT_FOLD, Rmi.RTT_DESTROY, Rmi.RTT_READ_ENTRY])
    )
    return fid, draw(st.integers(0, BLOCKS - 1)), draw(st.integers(1, BLOCKS))


def as_run(fid: Rmi, rd: int, data: int, first: int, blocks: int) -> tuple[list[int], list[int], int]:
    ipa = first * BLOCK
    match fid:
        case Rmi.RTT_CREATE:
            return [rd, TABLES + first * PAGE, ipa, 3], [0, PAGE, BLOCK, 0], blocks
        case Rmi.DATA_CREATE_UNKNOWN:
            return [rd, data + first * BLOCK, ipa], [0, PAGE, PAGE], blocks * 512
        case Rmi.RTT_READ_ENTRY:
            return [rd, ipa, 3], [0, BLOCK, 0], blocks
        case _:
            return [rd, ipa, 3], [0, BLOCK, 0], blocks


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, BLOCKS * 512 - 1), max_size=2),
    st.booleans(),
    st.lists(block_runs(), min_size=1, max_size=7),
)
def test_runs_over_whole_blocks_equal_the_loop(
    spoiled: list[int], aligned: bool, commands: list[tuple[Rmi, int, int]]
) -> None:
    (fast, rd, data), (slow, _, _) = (prepared(spoiled=spoiled, aligned=aligned) for _ in range(2))
    for fid, first, blocks in [(Rmi.RTT_CREATE, 0, BLOCKS), *commands]:
        args, stride, count = as_run(fid, rd, data, first, blocks)
        assert fast.rmm.smc_run(fid, args, stride, count) == one_by_one(slow, fid, args, stride, count)
        assert fast.rmm.digest() == slow.rmm.digest()
    assert violations(fast.rmm.state, fast.hardware) == []
    assert fast.rmm.counters == slow.rmm.counters


def test_backing_six_blocks_leaves_six_block_entries_and_no_table() -> None:
    door, rd, data = prepared(spoiled=[], aligned=True)
    tables_before = len(door.rmm.state.tables)
    for fid in (Rmi.RTT_CREATE, Rmi.DATA_CREATE_UNKNOWN, Rmi.RTT_FOLD):
        args, stride, count = as_run(fid, rd, data, 0, BLOCKS)
        assert door.rmm.smc_run(fid, args, stride, count)[0] == count
    assert len(door.rmm.state.tables) == tables_before
    for block in range(BLOCKS):
        level, state, address = door.call(Rmi.RTT_READ_ENTRY, rd, block * BLOCK, 3)[1:4]
        assert (level, state, address) == (2, 1, data + block * BLOCK)


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_store_of_rows_is_a_mapping_of_tables(looked_at: list[int]) -> None:
    store, plain = TableStore(), {}
    store.add_row(Row(0, 10, 3, 1 << 12, 1 << 21))
    for index in range(10):
        plain[index * PAGE] = Table.uniform(3, (1 << 12) + (index << 21))
    for index in looked_at:
        assert store[index * PAGE] == plain[index * PAGE]
    assert list(store) == sorted(plain)
    assert dict(store.items()) == plain
    assert len(store) == 10
    for index in looked_at:
        if index * PAGE in plain:
            del store[index * PAGE], plain[index * PAGE]
        assert index * PAGE not in store
    assert dict(store.items()) == plain
