"""smc_run is its definition: the single calls, digest for digest and count for count."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from spec_door import DRAM, OUTSIDE, PAGE, SUCCESS, Door

from cca_machine.abi.rmi import Rmi

BLOCK = 1 << 21
POOL = DRAM.base + 16 * BLOCK
IMAGE = DRAM.base + 8 * BLOCK
STRIDES = st.sampled_from([0, PAGE, 2 * PAGE, -PAGE & 0xFFFF_FFFF_FFFF_FFFF, BLOCK, 8])


def prepared(spoiled: list[int]) -> tuple[Door, int]:
    """A NEW Realm with tables at IPA 0 and 2 MiB, 600 DELEGATED granules with some spoiled, and a page mapped early."""
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    door.ok(Rmi.RTT_CREATE, rd, door.delegated(), BLOCK, 3)
    door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (POOL,), (PAGE,), 1200)
    for index in spoiled:
        door.call(Rmi.GRANULE_UNDELEGATE, POOL + index * PAGE)
    door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, door.delegated(), 40 * PAGE)
    door.write(IMAGE, b"image" * 4000)
    door.take_away(IMAGE + 60 * PAGE)
    return door, rd


def one_by_one(door: Door, fid: int, args: list[int], stride: list[int], count: int) -> tuple[int, tuple[int, ...]]:
    last: tuple[int, ...] = (0,) * 8
    for turn in range(count):
        here = [(value + turn * step) % (1 << 64) for value, step in zip(args, stride, strict=True)]
        last = door.call(fid, *here)
        if last[0] != SUCCESS:
            return turn, last
    return count, last


@st.composite
def runs(draw: st.DrawFn) -> tuple[Rmi, list[str | int], list[int], int]:
    count = draw(st.sampled_from([0, 1, 2, 5, 39, 513, 700]))
    natural = draw(st.integers(0, 3)) > 0
    where = draw(st.sampled_from([0, 1, 35, 511, 512, 600]))
    ipa = draw(st.sampled_from([0, 3 * PAGE, 38 * PAGE, 500 * PAGE, BLOCK, 511 * PAGE + BLOCK, 1 << 39, 5]))
    pa = draw(st.sampled_from([POOL, POOL + where * PAGE, POOL + 8, OUTSIDE, DRAM.top - 3 * PAGE]))
    fid = draw(
        st.sampled_from(
            [
                Rmi.GRANULE_DELEGATE,
                Rmi.GRANULE_UNDELEGATE,
                Rmi.DATA_CREATE_UNKNOWN,
                Rmi.DATA_DESTROY,
                Rmi.RTT_CREATE,
                Rmi.RTT_READ_ENTRY,
                Rmi.DATA_CREATE,
            ]
        )
    )
    shapes: dict[Rmi, tuple[list[str | int], list[int]]] = {
        Rmi.GRANULE_DELEGATE: ([pa], [PAGE]),
        Rmi.GRANULE_UNDELEGATE: ([pa], [PAGE]),
        Rmi.DATA_CREATE_UNKNOWN: (["rd", pa, ipa], [0, PAGE, PAGE]),
        Rmi.DATA_DESTROY: (["rd", ipa], [0, PAGE]),
        Rmi.RTT_CREATE: (["rd", pa, draw(st.sampled_from([BLOCK * 2, BLOCK * 500, ipa])), 3], [0, PAGE, BLOCK, 0]),
        Rmi.RTT_READ_ENTRY: (["rd", ipa, 3], [0, PAGE, 0]),
        Rmi.DATA_CREATE: (
            ["rd", pa, ipa, draw(st.sampled_from([IMAGE, IMAGE + 8, POOL])), draw(st.integers(0, 2))],
            [0, PAGE, PAGE, PAGE, 0],
        ),
    }
    args, stride = shapes[fid]
    if not natural:
        stride = [draw(STRIDES) for _ in stride]
    return fid, args, stride, count


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 1199), max_size=4), st.lists(runs(), min_size=1, max_size=4))
def test_a_run_equals_the_loop(spoiled: list[int], commands: list[tuple]) -> None:
    (fast, rd), (slow, same_rd) = prepared(spoiled), prepared(spoiled)
    assert rd == same_rd
    for fid, shape, stride, count in commands:
        args = [rd if value == "rd" else value for value in shape]
        assert fast.rmm.smc_run(fid, args, stride, count) == one_by_one(slow, fid, args, stride, count)
        assert fast.rmm.digest() == slow.rmm.digest()
        assert fast.hardware.digest() == slow.hardware.digest()
    counted = {key: value for key, value in fast.rmm.counters.items() if key[0] != "REC_EXIT"}
    assert counted == {key: value for key, value in slow.rmm.counters.items() if key[0] != "REC_EXIT"}


@settings(max_examples=25, deadline=None)
@given(
    tables=st.integers(1, 3),
    filled=st.sampled_from([0, 512, 700, 1024, 1536]),
    destroyed=st.tuples(st.sampled_from([0, 1, 512]), st.sampled_from([300, 512, 1100, 1600])),
    removed=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=2),
)
def test_rows_of_tables_are_filled_emptied_and_removed_as_the_loop_does(
    tables: int, filled: int, destroyed: tuple[int, int], removed: list[tuple[int, int]]
) -> None:
    (fast, rd), (slow, _) = prepared([]), prepared([])
    commands: list[tuple[Rmi, list[int], list[int], int]] = [
        (Rmi.GRANULE_DELEGATE, [POOL + 1200 * PAGE], [PAGE], 800),
        (Rmi.RTT_CREATE, [rd, POOL + 1980 * PAGE, 4 * BLOCK, 3], [0, PAGE, BLOCK, 0], tables),
        (Rmi.DATA_CREATE_UNKNOWN, [rd, POOL, 4 * BLOCK], [0, PAGE, PAGE], filled),
        (Rmi.DATA_DESTROY, [rd, 4 * BLOCK + destroyed[0] * PAGE], [0, PAGE], destroyed[1]),
        *((Rmi.RTT_DESTROY, [rd, (4 + at) * BLOCK, 3], [0, BLOCK, 0], count) for at, count in removed),
    ]
    for fid, args, stride, count in commands:
        assert fast.rmm.smc_run(fid, args, stride, count) == one_by_one(slow, fid, args, stride, count)
        assert fast.rmm.digest() == slow.rmm.digest()
        assert fast.hardware.digest() == slow.hardware.digest()


def test_a_run_stops_with_the_refusal_it_met() -> None:
    door = Door()
    base = door.granules(10)
    door.ok(Rmi.GRANULE_DELEGATE, base + 4 * PAGE)
    done, last = door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (base,), (PAGE,), 10)
    assert (done, last[0]) == (4, 1)


def test_a_run_that_meets_a_stubborn_el3_panics_as_the_call_does() -> None:
    door = Door()
    base = door.delegated(8)
    door.el3.refused.add(base + 5 * PAGE)
    done, last = door.rmm.smc_run(Rmi.GRANULE_UNDELEGATE, (base,), (PAGE,), 8)
    assert (done, last[0], door.rmm.panicked) == (5, 0xFFFF_FFFF_FFFF_FFFF, True)


def test_a_run_over_all_memory_is_kept_as_whole_blocks() -> None:
    door = Door()
    done, _ = door.rmm.smc_run(Rmi.GRANULE_DELEGATE, (DRAM.base,), (PAGE,), DRAM.size // PAGE)
    assert done == DRAM.size // PAGE
    assert all(isinstance(block, int) for block in door.rmm.state.granules.blocks.values())
