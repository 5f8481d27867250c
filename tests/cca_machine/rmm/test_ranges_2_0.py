"""Ranges of RMI 2.0 done at once come to what one granule after the other comes to: answers, state and memory."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from spec_door import PAGE
from spec_door_2_0 import Door2, desc

from cca_machine.abi.rmi2 import Rmi2
from cca_machine.hardware.encryption import EncryptionContexts
from cca_machine.rmm.quirks import SUGGESTED, TF_RMM_2_0, QuirkSet

BLOCK = 512 * PAGE
SINGLE = 1
Call = tuple[Rmi2, tuple[int, ...]]


class Bench:
    """A NEW Realm with a page table for its first block and none below the next three, and four blocks of granules."""

    def __init__(self, quirks: QuirkSet = SUGGESTED, **later: Any) -> None:
        self.door = Door2(quirks, **later)
        self.door.hardware.memory.contexts = EncryptionContexts()
        self.rd = self.door.realm(flags=1 << 7)
        self.door.tables(self.rd, 0)
        self.pool = self.door.granules(4 * 512, BLOCK)
        self.source = self.door.granules(16)
        for at in range(16):
            self.door.write(self.source + at * PAGE, bytes([at + 1]) * PAGE)

    def do(self, calls: list[Call]) -> list[tuple[int, ...]]:
        return [self.door.call(command, *self.placed(args)) for command, args in calls]

    def placed(self, args: tuple[int, ...]) -> tuple[int, ...]:
        """Negative numbers are offsets into the pool; -1 is the Realm."""
        return tuple(self.rd if arg == -1 else self.pool - arg - 2 if arg < -1 else arg for arg in args)


def offset(at: int) -> int:
    return -at - 2


@st.composite
def calls(draw: Any) -> Call:
    granule = draw(st.integers(0, 40)) * PAGE if draw(st.booleans()) else draw(st.integers(0, 3)) * BLOCK
    count = draw(st.integers(1, 40))
    level = draw(st.sampled_from([3, 3, 2]))
    step = PAGE if level == 3 else BLOCK
    ipa = draw(st.integers(0, 40)) * PAGE if level == 3 else draw(st.integers(0, 3)) * BLOCK
    kind = draw(st.sampled_from(["delegate", "delegate", "undelegate", "map", "map", "map", "unmap"]))
    if kind in ("delegate", "undelegate"):
        command = Rmi2.GRANULE_RANGE_DELEGATE if kind == "delegate" else Rmi2.GRANULE_RANGE_UNDELEGATE
        span = draw(st.sampled_from([count * PAGE, 2 * BLOCK]))
        return command, (offset(granule), offset(granule + span))
    blocks = min(count, 4) if level == 2 else count
    if kind == "unmap":
        return Rmi2.RTT_DATA_UNMAP, (-1, ipa, ipa + blocks * step, 0, 0)
    wider = draw(st.integers(-1, 2)) * step
    told = -(desc(granule, blocks, level)) - 2
    return Rmi2.RTT_DATA_MAP, (-1, ipa, max(ipa + blocks * step + wider, 0), SINGLE, told)


@settings(max_examples=120, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=12))
def test_mapping_and_unmapping_at_once_is_what_entry_by_entry_comes_to(given_calls: list[Call]) -> None:
    whole, patient = Bench(), Bench(yields=True)
    assert whole.do(given_calls) == patient.do(given_calls)
    assert whole.door.digest() == patient.door.digest()


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(0, 12), st.integers(0, 2))
def test_a_run_of_calls_is_what_the_single_calls_come_to(
    tf_rmm: bool, first: int, hole: int, count: int, page: int, flags: int
) -> None:
    quirks = TF_RMM_2_0 if tf_rmm else SUGGESTED
    runs, singles = Bench(quirks), Bench(quirks)
    for bench in (runs, singles):
        bench.door.call(Rmi2.GRANULE_RANGE_DELEGATE, bench.pool + hole * PAGE, bench.pool + (hole + 1) * PAGE)
    base, top = runs.pool + first * PAGE, runs.pool + 40 * PAGE
    plans: list[tuple[Rmi2, list[int], list[int]]] = [
        (Rmi2.GRANULE_RANGE_DELEGATE, [base, top], [PAGE, 0]),
        (Rmi2.RTT_DATA_MAP_INIT, [runs.rd, base, page * PAGE, runs.source, flags], [0, PAGE, PAGE, PAGE, 0]),
        (Rmi2.GRANULE_RANGE_UNDELEGATE, [base, top], [PAGE, 0]),
    ]
    for command, args, stride in plans:
        done, last = runs.door.rmm.smc_run(command, args, stride, count)
        made, answer = 0, (0,) * 8
        while made < count:
            here = [arg + made * step for arg, step in zip(args, stride, strict=True)]
            answer = singles.door.call(command, *here)
            if answer[0]:
                break
            made += 1
        assert (done, last) == (made, answer)
        assert runs.door.digest() == singles.door.digest()
    assert runs.door.rmm.counters == singles.door.rmm.counters
