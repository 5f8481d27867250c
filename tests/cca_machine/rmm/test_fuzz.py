"""Any registers, any pages, any order, any guest: an answer, never an exception, and no invariant broken."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_door import DRAM, PAGE, Door

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    Poke,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    Smc,
    SystemRegister,
    Yield,
)
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.invariants import violations

U64 = (1 << 64) - 1
word = st.one_of(
    st.integers(0, U64),
    st.sampled_from([0, 1, 2, 3, PAGE, 1 << 21, 1 << 39, 1 << 40, U64, U64 - 0xFFF, DRAM.base, DRAM.top]),
    st.integers(0, 255).map(lambda index: DRAM.base + index * PAGE),
)
service = st.sampled_from([*map(int, Rsi), *map(int, Psci)])
events = st.one_of(
    st.builds(Smc, st.lists(st.one_of(word, service), max_size=12).map(tuple)),
    st.builds(Exception_, st.sampled_from(ExceptionKind), word, word, word),
    st.builds(
        lambda cause, iss, ipa: Exception_(ExceptionKind.SYNC, cause << 26 | iss & ~(3 << 11), ipa, ipa >> 8 & ~0xF),
        st.sampled_from([0x01, 0x07, 0x16, 0x17, 0x18, 0x19, 0x1D, 0x20, 0x24, 0x3F]),
        st.integers(0, (1 << 26) - 1),
        word,
    ),
    st.builds(SetRegister, st.integers(-1, 40), word),
    st.builds(SetSystemRegister, st.sampled_from(SystemRegister), word),
    st.builds(SetListRegister, st.integers(-1, 20), word),
    st.builds(Poke, word, st.binary(max_size=64)),
    st.builds(
        Access, ipa=word, write=st.booleans(), size=st.integers(0, 9), register=st.integers(0, 99),
        sign_extend=st.booleans(), sixty_four=st.booleans(), instruction=st.booleans(),
    ),
    st.builds(Yield, st.sampled_from(ExceptionKind)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.sampled_from(list(map(int, Rmi))), word), st.lists(word, max_size=9))
def test_any_function_id_and_any_registers_are_answered(fid: int, args: list[int]) -> None:
    door = Door()
    door.running_realm()
    x = door.rmm.smc(fid, args)
    assert len(x) == 8
    assert all(0 <= value <= U64 for value in x)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(events, max_size=6), min_size=1, max_size=4), st.integers(0, 31))
def test_any_guest_is_run_to_an_exit(entries: list[list], flags: int) -> None:
    door = Door()
    _, (rec,) = door.running_realm()
    for script in entries:
        x0, out = door.enter(rec, script, flags=flags)
        assert 0 <= x0 <= U64
        if x0 == 0:
            assert out.exit_reason <= 6
    assert violations(door.rmm.state, door.hardware) == []


def storm(seed: int, calls: int, record_property: Callable[[str, object], None]) -> int:
    """`calls` random calls with random pages on one machine; how many succeeded."""
    draw = random.Random(seed)
    door = Door()
    rd, (rec,) = door.running_realm()
    known = [rd, rec]
    succeeded = 0

    def register() -> int:
        kind = draw.randrange(6)
        if kind == 0:
            return draw.getrandbits(64)
        if kind == 1:
            return draw.choice([0, 1, 2, 3, 4, U64, PAGE, 1 << 21, 1 << 30, 1 << 39])
        if kind == 2:
            return draw.choice(known)
        return DRAM.base + draw.randrange(200) * PAGE

    fids = list(map(int, Rmi))
    for turn in range(calls):
        pa = DRAM.base + draw.randrange(200) * PAGE
        try:
            door.hardware.memory.write(World.NS, pa + 8 * draw.randrange(300), draw.randbytes(64))
            if turn % 7 == 0:
                door.hardware.memory.write(World.NS, pa, struct.pack("<QQQ", 0, 40, 0))
        except GranuleProtectionFault:
            pass
        door.guest.events = [Smc((draw.choice([*map(int, Rsi), *map(int, Psci)]), *(register() for _ in range(4))))]
        fid = draw.choice(fids) if draw.randrange(20) else draw.getrandbits(64)
        args = [register() for _ in range(draw.randrange(7))]
        before = door.digest() if turn % 10 == 3 and fid != Rmi.REC_ENTER else b""
        x = door.rmm.smc(fid, args)
        succeeded += x[0] == 0
        assert not before or not x[0] or door.digest() == before, (fid, args, x)
    record_property("fuzz_calls_1_0", calls)
    assert violations(door.rmm.state, door.hardware) == []
    return succeeded


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_random_calls_breaks_nothing(seed: int, record_property: Callable[[str, object], None]) -> None:
    assert storm(seed, 5_000, record_property) > 100


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 20))
def test_a_long_storm_of_random_calls_breaks_nothing(seed: int, record_property: Callable[[str, object], None]) -> None:
    assert storm(seed, 100_000, record_property) > 1_000
