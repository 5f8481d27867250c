"""RMI 2.0: any registers, pages, order and guest: an answer, never an exception, and a refusal changes nothing."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable

import msgspec
import pytest
from spec_door import DRAM, PAGE, UNKNOWN
from spec_door_2_0 import Door2, desc

from cca_machine.abi.guest import Access, Exception_, ExceptionKind, GuestEvent, Poke, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi2 import COMMANDS_2_0, Rmi2
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi2 import PlaneEnter, Rsi2
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.invariants import Violation, violations
from cca_machine.rmm.quirks import SUGGESTED, TF_RMM_2_0, QuirkSet
from cca_machine.rmm.state import RmmState

U64 = (1 << 64) - 1
NOT_REFUSALS = (0, 13)
LAST_WORD = (Rmi2.OP_CONTINUE, Rmi2.REC_ENTER)
"""A failed operation ends, a REC that ran has run: their errors are results."""

SERVICES = [*map(int, Rsi), *map(int, Rsi2), *map(int, Psci)]


class Storm:
    """Random calls with random pages on one machine that already has Realms with and without planes."""

    def __init__(self, seed: int, quirks: QuirkSet) -> None:
        self.draw = random.Random(seed)
        self.door = Door2(quirks, yields=bool(seed % 2), mec_count=3)
        self.door.hardware.pes[0].irq_after = -1
        rd, (rec,) = self.door.running_realm(num_aux_planes=2, flags1=1 + seed % 2)
        page = PlaneEnter(pc=0x1000, pstate=0x3C5).encode()
        found = self.door.rmm.core.walk(self.door.rmm.state.realms[rd], 0x1000, 3)
        self.door.hardware.memory.write(World.REALM, found.entry & (1 << 52) - PAGE, page)
        self.known = [rd, rec, self.door.realm()]

    def address(self) -> int:
        return DRAM.base + self.draw.randrange(120) * PAGE

    def register(self) -> int:
        kind = self.draw.randrange(9)
        if kind == 0:
            return self.draw.getrandbits(64)
        if kind < 3:
            return self.draw.choice(
                [0, 1, 2, 3, 4, 5, 6, U64, PAGE, 2 * PAGE, 1 << 21, 1 << 30, 1 << 39, (1 << 39) + PAGE]
            )
        if kind < 5:
            return self.draw.choice(self.known)
        if kind == 5:
            return desc(self.address(), self.draw.randrange(20), self.draw.randrange(4), bool(self.draw.randrange(2)))
        return self.address()

    def plausible(self, fid: Rmi2) -> list[int]:
        """Arguments such as a Host would give."""
        draw = self.draw
        base = draw.choice([0, 1, 2, 0x1000, 0x200, 512]) % 600 * PAGE + draw.choice([0, 0, 0, 1 << 39])
        values = {
            "rd": draw.choice(self.known), "rec": draw.choice([*self.known, self.address()]), "base": base,
            "top": base + draw.choice([1, 2, 512]) * PAGE, "ipa": base, "flags": draw.choice([0, 1, 1, 1, 2 | 4 << 2]),
            "oaddr": draw.choice([0, desc(self.address(), draw.randrange(1, 9)), self.address()]),
            "level": draw.choice([2, 3]), "handle": draw.randrange(3), "list": self.address(),
            "count": draw.randrange(20), "index": draw.choice([1, 2]),
        }  # fmt: skip
        if fid in (Rmi2.GRANULE_RANGE_DELEGATE, Rmi2.GRANULE_RANGE_UNDELEGATE):
            values["base"] = self.address()
            values["top"] = values["base"] + draw.randrange(1, 9) * PAGE
        shape = COMMANDS_2_0[fid].arguments if fid in COMMANDS_2_0 else ()
        return [values.get(name, self.address()) for name in shape]

    def event(self) -> GuestEvent:
        kind = self.draw.randrange(6)
        if kind == 0:
            cause = self.draw.choice([0x01, 0x07, 0x16, 0x18, 0x20, 0x24, 0x3F])
            return Exception_(
                ExceptionKind.SYNC, cause << 26 | self.draw.getrandbits(10), 0, self.register() >> 8 & ~0xF
            )
        if kind == 1:
            return Access(
                ipa=self.register(), write=bool(self.draw.randrange(2)), instruction=not self.draw.randrange(4)
            )
        if kind == 2:
            return Poke(self.register(), self.draw.randbytes(16))
        if kind == 3:
            return Smc((Rsi2.PLANE_ENTER, 1, 0x1000))
        return Smc((self.draw.choice(SERVICES), *(self.register() for _ in range(4))))

    def page(self) -> None:
        pa = self.address()
        content = self.draw.choice([
            self.draw.randbytes(64), struct.pack("<8Q", *(self.register() for _ in range(8))), bytes(64),
        ])  # fmt: skip
        with contextlib.suppress(GranuleProtectionFault):
            self.door.write(pa + 8 * self.draw.choice([0, 0, 0, 257, 8]), content)

    def turn(self) -> int:
        self.page()
        self.door.hardware.pes[0].irq_after = self.draw.choice([-1, -1, 0, 1, 3, 600])
        self.door.guest.events = [self.event() for _ in range(self.draw.randrange(4))]
        fid = self.draw.choice(list(Rmi2)) if self.draw.randrange(20) else self.draw.getrandbits(64)
        args = [self.register() for _ in range(self.draw.randrange(8))]
        if self.draw.randrange(3):
            fid = self.draw.choice(list(COMMANDS_2_0))
            args = self.plausible(fid)
        checked = not self.draw.randrange(10) and fid not in LAST_WORD
        before = self.door.digest() if checked else b""
        x = self.door.rmm.smc(fid, args)
        assert len(x) == 8
        assert all(0 <= value <= U64 for value in x)
        if checked and x[0] & 0xFF not in NOT_REFUSALS and self.door.rmm.quirks is SUGGESTED:
            assert self.door.digest() == before, (fid, args, x)
        return x[0]


FIRMWARE_MISCOUNTS = {"tables-are-counted", "auxiliary-trees-follow"}
"""What the firmware's own quirks break."""


def broken(door: Door2) -> list[Violation]:
    """Invariants that do not hold, but for those that a quirk is about."""
    excused = FIRMWARE_MISCOUNTS if door.rmm.quirks is TF_RMM_2_0 else set()
    return [one for one in violations(door.rmm.state, door.hardware) if one.invariant not in excused]


def blow(seed: int, quirks: QuirkSet, calls: int, record_property: Callable[[str, object], None]) -> list[int]:
    """A storm of `calls`: their statuses; nothing is broken after it, and its machine survives a snapshot."""
    storm = Storm(seed, quirks)
    answers = [storm.turn() for _ in range(calls)]
    record_property("fuzz_calls_2_0", calls)
    assert not storm.door.rmm.panicked or UNKNOWN in answers
    assert broken(storm.door) == []
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(storm.door.rmm.state), type=RmmState)
    assert again.digest() == storm.door.rmm.digest()
    return answers


@pytest.mark.parametrize("quirks", [SUGGESTED, TF_RMM_2_0], ids=lambda quirks: quirks.name)
@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_random_calls_is_answered(
    seed: int, quirks: QuirkSet, record_property: Callable[[str, object], None]
) -> None:
    assert blow(seed, quirks, 3_000, record_property).count(0) > 50


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 20))
def test_a_long_storm_of_random_calls_is_answered(seed: int, record_property: Callable[[str, object], None]) -> None:
    assert blow(seed, SUGGESTED, 100_000, record_property).count(0) > 1_000
