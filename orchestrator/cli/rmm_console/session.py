"""One machine with one RMM, and what a Host needs to talk to it: memory, fresh granules, a scripted Realm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cca_machine.abi.guest import GuestEvent, RecView, Yield
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmi2 import VERSION_2_0, Rmi2
from cca_machine.abi.rsi import VERSION_1_0 as RSI_1_0
from cca_machine.abi.rsi2 import VERSION_1_1
from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.rmm.features import EDITION_1_0, EDITION_2_0, RmmFeatures
from cca_machine.rmm.features_2_0 import LaterFeatures
from cca_machine.rmm.quirks import QUIRK_SETS, QUIRK_SETS_2_0
from cca_machine.rmm.replay_ports import ReplayEl3
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import AttestationOperation, Realm, RmmState
from cca_machine.rmm.why import DIALECTS, Dialect, Reason, answer_text, is_refusal, why
from orchestrator.errors import UserMistake

DRAM = Bank(0x8_8000_0000, 512 << 20)
"""Where the machine's memory lies: the same as in the recorded firmware traces."""

HELPER_BASE = DRAM.base + (256 << 20)
"""Helpers take granules from the upper half, so that the lower half is the user's own."""

TOKEN_BYTES = (2134, 2294, 2214)
"""Length of a token per hash algorithm."""

FEATURES = {
    EDITION_1_0: RmmFeatures(),
    EDITION_2_0: RmmFeatures(
        edition=EDITION_2_0,
        rmi_versions=(VERSION_2_0,),
        rsi_versions=(RSI_1_0, VERSION_1_1),
        later=LaterFeatures(yields=True),
    ),
}
"""What the machine offers, by edition; under 2.0 an interrupt may cut long commands in two."""


class ScriptedRealm:
    """A Realm that does what it is told, then loses the PE; it keeps what it saw."""

    def __init__(self) -> None:
        self.events: list[GuestEvent] = []
        self.view: RecView | None = None

    def next_event(self, rec: RecView) -> GuestEvent:
        """The next deed."""
        self.view = rec
        return self.events.pop(0) if self.events else Yield()


class ConsoleTokens:
    """Stand-in tokens: of the right length, and no evidence."""

    def make(self, realm: Realm, operation: AttestationOperation) -> bytes:
        """A token of zeros."""
        return bytes(TOKEN_BYTES[realm.hash_algo])


class Call(msgspec.Struct, frozen=True):
    """One SMC with its answer, in the words of an edition."""

    fid: int
    args: tuple[int, ...]
    x: Registers
    reason: Reason | None
    edition: str = EDITION_1_0

    @property
    def good(self) -> bool:
        """Whether it succeeded, or goes on."""
        return not is_refusal(self.x[0], self.edition)

    @property
    def dialect(self) -> Dialect:
        """Names of commands, arguments and results."""
        return DIALECTS[self.edition]

    @property
    def name(self) -> str:
        """The command's name, or its function id."""
        return self.dialect.name(self.fid)

    def outputs(self) -> dict[str, int]:
        """Results by name; those that the command specifies for a refusal as well."""
        names = self.dialect.shape(self.fid).results
        if self.good and self.x[0] and names[:1] == ("out_top",):
            names = ("handle",)
        shown = {name: self.x[place] for place, name in enumerate(names, 1)}
        return shown if self.good else {name: value for name, value in shown.items() if value}

    def sentence(self) -> str:
        """One line, and a second one with the reason of a refusal."""
        names = self.dialect.shape(self.fid).arguments
        labels = [*names, *(f"x{place}" for place in range(len(names) + 1, len(self.args) + 1))]
        given = ", ".join(f"{name}={value:#x}" for name, value in zip(labels, self.args, strict=False))
        results = "".join(f" {name}={value:#x}" for name, value in self.outputs().items())
        line = f"{self.name}({given}) -> {answer_text(self.x[0], self.edition)}{results}"
        if self.reason is None:
            return line
        whose = "" if self.reason.command == self.name else f"{self.reason.command} "
        return f"{line}\n    why: {whose}{self.reason.condition}: {self.reason.says}"

    def as_json(self) -> dict[str, Any]:
        """The call for scripts: numbers as hexadecimal text."""
        names = self.dialect.shape(self.fid).arguments
        record: dict[str, Any] = {
            "call": self.name,
            "fid": hex(self.fid),
            "args": {name: hex(value) for name, value in zip(names, (*self.args, *(0,) * 8), strict=False)},
            "answer": answer_text(self.x[0], self.edition),
            "x": [hex(value) for value in self.x],
            "outputs": {name: hex(value) for name, value in self.outputs().items()},
        }
        if self.reason is not None:
            record["why"] = msgspec.to_builtins(self.reason)
        return record


class Session:
    """A fresh machine; `names` are the user's `$names`, `calls` everything that went through the door."""

    def __init__(self, quirks: str = "suggested", edition: str = EDITION_1_0) -> None:
        if edition not in FEATURES:
            raise UserMistake(f"there is no edition {edition} of the RMI here", " or ".join(FEATURES))
        sets = QUIRK_SETS if edition == EDITION_1_0 else QUIRK_SETS_2_0
        if quirks not in sets:
            raise UserMistake(f"there is no quirk set {quirks}", " or ".join(sets))
        self.edition = edition
        self.dialect = DIALECTS[edition]
        self.hardware = HardwareState.build((DRAM,))
        self.realm = ScriptedRealm()
        self.rmm = Rmm(
            RmmState.boot((DRAM,)), self.hardware, ReplayEl3(self.hardware), self.realm, FEATURES[edition],
            sets[quirks], ConsoleTokens(),
        )  # fmt: skip
        self.names: dict[str, int] = {"dram": DRAM.base}
        self.calls: list[Call] = []
        self._next = HELPER_BASE
        self._vmid = 1

    def call(self, fid: int, *args: int) -> Call:
        """One SMC."""
        operations = self.rmm.state.operations
        before = msgspec.structs.replace(operations[args[0]]) if args and args[0] in operations else None
        x = self.rmm.smc(fid, args)
        made = Call(fid, args, x, why(self.rmm.core, fid, args, x, before), self.edition)
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
        return self.call(Rmi.REC_ENTER if self.edition == EDITION_1_0 else Rmi2.REC_ENTER, rec, run_ptr)
