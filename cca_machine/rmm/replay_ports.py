"""The world around an RMM on its own: an EL3 without secrets, tokens of given length, a Realm that follows a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    GuestEvent,
    Poke,
    RecView,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    Smc,
    SystemRegister,
    Yield,
)
from cca_machine.abi.rmm_el3 import El3Status
from cca_machine.hardware.gpt import Gpi, World
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.measurement import ALGORITHMS
from cca_machine.rmm.state import AttestationOperation, Realm
from cca_machine.rmm.view import RunningRec

TOKEN_BYTE = 0xA5
"""Every byte of a token here: where it shows up in a host call, the recorded byte is not reproducible."""

HCR_TWI, HCR_TWE = 1 << 13, 1 << 14
"""HCR_EL2 bits that depend on the command."""


class ReplayEl3:
    """EL3 for an RMM on its own: changes the GPT as asked, and has no secrets."""

    def __init__(self, hardware: HardwareState) -> None:
        self._gpt = hardware.gpt

    def delegate(self, pa: int) -> int:
        """Non-secure to Realm."""
        return self._change(pa, Gpi.NON_SECURE, Gpi.REALM)

    def undelegate(self, pa: int) -> int:
        """Realm to Non-secure."""
        return self._change(pa, Gpi.REALM, Gpi.NON_SECURE)

    def delegate_run(self, pa: int, count: int) -> int:
        """Non-secure to Realm upward; how many."""
        return self._change_run(pa, count, Gpi.NON_SECURE, Gpi.REALM)

    def undelegate_run(self, pa: int, count: int) -> int:
        """Realm to Non-secure upward; how many."""
        return self._change_run(pa, count, Gpi.REALM, Gpi.NON_SECURE)

    def realm_key(self) -> bytes:
        """A scalar that signs nothing of value."""
        return (1).to_bytes(48, "big")

    def platform_token(self) -> bytes:
        """No platform token: the tokens of a trace are not reproducible."""
        return b""

    def _change(self, pa: int, old: Gpi, new: Gpi) -> int:
        return El3Status.OK if self._gpt.swap(pa, old, new) else El3Status.BAD_PAS

    def _change_run(self, pa: int, count: int, old: Gpi, new: Gpi) -> int:
        done = self._gpt.run_length(pa, old, count)
        self._gpt.set_run(pa, new, done)
        return done


class FixedLengthTokens:
    """Tokens of the length that the recorded firmware's tokens had, by hash algorithm; their bytes are no evidence."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.made = 0
        self.set_lengths(lengths)

    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Another image makes tokens of other lengths from now on."""
        self._lengths = dict(zip(ALGORITHMS, lengths, strict=False))

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """A stand-in token."""
        self.made += 1
        return bytes((TOKEN_BYTE,)) * self._lengths[realm.hash_algo]


class ScriptedGuest:
    """Does what a trace says the Realm did, and notes what the Realm saw at each entry."""

    def __init__(self, hardware: HardwareState) -> None:
        self._hardware = hardware
        self._script: list[Sequence[Any]] = []
        self._resumed = True
        self.used = 0
        self.seen: list[dict[str, Any]] = []

    def start(self, script: Sequence[Sequence[Any]]) -> None:
        """Have `script` ready for the next REC_ENTER."""
        self._script = list(script)
        self.used, self.seen, self._resumed = 0, [], True

    def next_event(self, rec: RecView) -> GuestEvent:
        """The next item, or the FIQ that takes the PE away when there is none."""
        if self._resumed:
            self.seen.append(seen_by(rec))
            self._resumed = False
        while self.used < len(self._script):
            item = self._script[self.used]
            self.used += 1
            kind = item[0]
            if kind == "gpt":
                set_world(self._hardware, item)
            elif kind == "poke":
                self._poke(number(item[1]), bytes.fromhex(item[2]))
            else:
                self._resumed = kind in ENTERING
                return _EVENTS[kind](item)
        return Yield()

    def _poke(self, pa: int, data: bytes) -> None:
        # The recorder wrote behind the firmware's back, whether stage 2 let the Realm through or not.
        for world in (World.REALM, World.NS):
            if self._hardware.gpt.allows(world, pa):
                self._hardware.memory.write(world, pa, data)


def number(value: int | str) -> int:
    """A number of a trace: JSON integer, or hexadecimal string."""
    return int(value, 16) if isinstance(value, str) else int(value)


def seen_by(rec: RecView) -> dict[str, Any]:
    """What the Realm sees at an entry, and which waits are trapped, in the words of a trace."""
    assert isinstance(rec, RunningRec)
    traps = (HCR_TWI if rec.state.trap_wfi else 0) | (HCR_TWE if rec.state.trap_wfe else 0)
    return {
        "pc": rec.pc,
        "x": list(rec.gprs[:12]),
        "esr12": rec.system_register(SystemRegister.ESR_EL1),
        "far12": rec.system_register(SystemRegister.FAR_EL1),
        "elr12": rec.system_register(SystemRegister.ELR_EL1),
        "hcr": traps,
    }


def set_world(hardware: HardwareState, item: Sequence[Any]) -> None:
    """`["gpt", pa, 1]`: another world takes an NS granule; 0: it is back."""
    pa, taken = number(item[1]), number(item[2])
    before = Gpi.NON_SECURE if taken else Gpi.SECURE
    if hardware.gpt.granules.get(pa) == before:
        hardware.gpt.set(pa, Gpi.SECURE if taken else Gpi.NON_SECURE)


def _exception(item: Sequence[Any]) -> GuestEvent:
    return Exception_(ExceptionKind(number(item[1])), *(number(value) for value in item[2:5]))


def _access(item: Sequence[Any]) -> GuestEvent:
    ipa, write, size, register, sign_extend, sixty_four, instruction = map(number, item[1:8])
    return Access(
        ipa=ipa, write=bool(write), size=size, register=register,
        sign_extend=bool(sign_extend), sixty_four=bool(sixty_four), instruction=bool(instruction),
    )  # fmt: skip


_EVENTS: dict[str, Callable[[Sequence[Any]], GuestEvent]] = {
    "rsi": lambda item: Smc(tuple(number(value) for value in item[1:])),
    "exc": _exception,
    "reg": lambda item: SetRegister(number(item[1]), number(item[2])),
    "store": lambda item: Poke(number(item[1]), bytes.fromhex(item[2])),
    "access": _access,
    "sys": lambda item: SetSystemRegister(SystemRegister(item[1]), number(item[2])),
    "lr": lambda item: SetListRegister(number(item[1]), number(item[2])),
}
"""Script items as guest events; the last four kinds are written by `record` only."""

ENTERING = ("rsi", "exc")
"""Items after which the Realm, if it carries on, is entered anew."""
