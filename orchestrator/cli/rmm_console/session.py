"""One machine with one RMM, and what a Host needs to talk to it: memory, fresh granules, a scripted Realm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cca_machine.abi.guest import GuestEvent, RecView, Yield
from cca_machine.abi.rmi import COMMANDS, Rmi
from cca_machine.abi.smc import Registers, function_id
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import RmmFeatures
from cca_machine.rmm.quirks import QUIRK_SETS
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState
from cca_machine.rmm.why import Reason, answer_text, why
from orchestrator.errors import UserMistake

DRAM = Bank(0x8_8000_0000, 512 << 20)
"""Where the machine's memory lies: the same as in the recorded firmware traces."""

HELPER_BASE = DRAM.base + (256 << 20)
"""Helpers take granules from the upper half, so that the lower half is the user's own."""

TOKEN_BYTES = (2134, 2294)


class ScriptedRealm:
    """A Realm that does what it is told, then loses the PE; it keeps what it saw."""

    def __init__(self) -> None:
        self.events: list[GuestEvent] = []
        self.view: RecView | None = None

    def next_event(self, rec: RecView) -> GuestEvent:
        """The next deed."""
        self.view = rec
        return self.events.pop(0) if self.events else Yield()


class Call(msgspec.Struct, frozen=True):
    """One SMC with its answer."""

    fid: int
    args: tuple[int, ...]
    x: Registers
    reason: Reason | None

    @property
    def good(self) -> bool:
        """Whether it succeeded."""
        return self.x[0] == 0

    @property
    def name(self) -> str:
        """The command's name, or its function id."""
        command = function_id(self.fid)
        return Rmi(command).name if command in COMMANDS else hex(self.fid)

    def outputs(self) -> dict[str, int]:
        """Results by name; those that the command specifies for a refusal as well."""
        command = function_id(self.fid)
        names = COMMANDS[Rmi(command)].results if command in COMMANDS else ()
        shown = {name: self.x[place] for place, name in enumerate(names, 1)}
        return shown if self.good else {name: value for name, value in shown.items() if value}

    def sentence(self) -> str:
        """One line, and a second one with the reason of a refusal."""
        command = function_id(self.fid)
        names = COMMANDS[Rmi(command)].arguments if command in COMMANDS else ()
        labels = [*names, *(f"x{place}" for place in range(len(names) + 1, len(self.args) + 1))]
        given = ", ".join(f"{name}={value:#x}" for name, value in zip(labels, self.args, strict=False))
        results = "".join(f" {name}={value:#x}" for name, value in self.outputs().items())
        line = f"{self.name}({given}) -> {answer_text(self.x[0])}{results}"
        if self.reason is None:
            return line
        return f"{line}\n    why: {self.reason.condition}: {self.reason.says}"

    def as_json(self) -> dict[str, Any]:
        """The call for scripts: numbers as hexadecimal text."""
        command = function_id(self.fid)
        names = COMMANDS[Rmi(command)].arguments if command in COMMANDS else ()
        record: dict[str, Any] = {
            "call": self.name,
            "fid": hex(self.fid),
            "args": {name: hex(value) for name, value in zip(names, (*self.args, *(0,) * 8), strict=False)},
            "answer": answer_text(self.x[0]),
            "x": [hex(value) for value in self.x],
            "outputs": {name: hex(value) for name, value in self.outputs().items()},
        }
        if self.reason is not None:
            record["why"] = msgspec.to_builtins(self.reason)
        return record


class Session:
    """A fresh machine; `names` are the user's `$names`, `calls` everything that went through the door."""

    def __init__(self, quirks: str = "suggested") -> None:
        if quirks not in QUIRK_SETS:
            raise UserMistake(f"there is no quirk set {quirks}", " or ".join(QUIRK_SETS))
        self.hardware = HardwareState.build((DRAM,))
        self.realm = ScriptedRealm()
        self.rmm = Rmm(
            RmmState.boot((DRAM,)), self.hardware, ReplayEl3(self.hardware), self.realm, RmmFeatures(),
            QUIRK_SETS[quirks], FixedLengthTokens(TOKEN_BYTES),
        )  # fmt: skip
        self.names: dict[str, int] = {"dram": DRAM.base}
        self.calls: list[Call] = []
        self._next = HELPER_BASE
        self._vmid = 1

    def call(self, fid: int, *args: int) -> Call:
        """One SMC."""
        x = self.rmm.smc(fid, args)
        made = Call(fid, args, x, why(self.rmm.core, fid, args, x))
        self.calls.append(made)
        return made

    def last_refusal(self) -> Call | None:
        """The newest call that was refused."""
        return next((call for call in reversed(self.calls) if not call.good), None)

    def granules(self, count: int = 1, align: int = 1) -> int:
        """Fresh contiguous NS granules."""
        step = align * GRANULE_BYTES
        base = -(-self._next // step) * step
        if base + count * GRANULE_BYTES > DRAM.top:
            raise UserMistake("the helpers have no granules left", "start a new shell")
        self._next = base + count * GRANULE_BYTES
        return base

    def vmid(self) -> int:
        """A VMID that no helper has used."""
        self._vmid += 1
        return self._vmid - 1

    def write(self, pa: int, content: bytes) -> None:
        """The Host writes its memory; a fault is the Host's."""
        try:
            self.hardware.memory.write(World.NS, pa, content)
        except GranuleProtectionFault as fault:
            raise UserMistake(f"granule protection fault: {fault}", "the Host reaches NS memory only") from None

    def read(self, pa: int, size: int) -> bytes:
        """The Host reads its memory."""
        try:
            return self.hardware.memory.read(World.NS, pa, size)
        except GranuleProtectionFault as fault:
            raise UserMistake(f"granule protection fault: {fault}", "the Host reaches NS memory only") from None

    def host_page(self, content: bytes) -> int:
        """A fresh Host page."""
        pa = self.granules()
        self.write(pa, content)
        return pa

    def named(self, name: str) -> int:
        """A name that a verb needs and a helper sets."""
        if name not in self.names:
            maker = {"rd": "realm", "rec": "rec"}.get(name, "set")
            raise UserMistake(f"there is no ${name} yet", f"`{maker}` makes one")
        return self.names[name]

    def run(self, rec: int, run_ptr: int, events: Sequence[GuestEvent]) -> Call:
        """REC_ENTER while the Realm does `events`."""
        self.realm.events = list(events)
        self.realm.view = None
        return self.call(Rmi.REC_ENTER, rec, run_ptr)
