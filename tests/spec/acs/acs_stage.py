"""What the compliance scenarios start from: a machine with a granule in every state and a Realm in every state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spec_door import INPUT, OUTSIDE, PAGE, SUCCESS, Door

from cca_machine.abi.guest import Access, Exception_, ExceptionKind, Smc, SystemRegister
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import COMMANDS, ExitReason, RecExit, Rmi

HALF = 1 << 39
WIDTH = 1 << 40
BLOCK = 1 << 21
NO_TABLE = 1 << 30
ABOVE_PA = 1 << 48
MAPPED, EMPTY, MISSING, LOST = 0x1000, 0x2000, 0x3000, 0x4000

DATA_ABORT, INSTRUCTION_ABORT = 0x24, 0x20
SEA = 0x25
MINUS_1 = 0xFFFF_FFFF_FFFF_FFFF


class Stage(Door):
    """A Door with one granule of each state (of a Realm of their own), and helpers that speak the scenarios' words."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.new = self.realm()
        tables = self.tables(self.new, 0)
        data = self.data(self.new, 0)
        rec = self.rec(self.new)
        self.states = {
            "UNDELEGATED": self.granules(),
            "DELEGATED": self.delegated(),
            "RD": self.new,
            "RTT": tables[-1],
            "DATA": data,
            "REC": rec,
            "REC_AUX": self.rmm.state.recs[rec].aux[0],
        }
        self.secure = self.granules()
        self.take_away(self.secure)
        self.active = self.realm()
        self.ok(Rmi.REALM_ACTIVATE, self.active)
        self.off, (caller,) = self.running_realm()
        self.enter(caller, [Smc((Psci.SYSTEM_OFF,))])
        self.off_rec = caller
        self.null = self.realm()
        self.ok(Rmi.REALM_DESTROY, self.null)

    def bad(self, good_state: str) -> Iterator[tuple[str, int]]:
        """Addresses that no command takes where it wants a granule of `good_state`, by what is wrong with them."""
        yield "unaligned", self.states[good_state] + 0x800
        yield "no memory", OUTSIDE
        yield "outside of the physical address space", ABOVE_PA
        for state, address in self.states.items():
            if state != good_state:
                yield state, address

    def bad_host_page(self) -> Iterator[tuple[str, int]]:
        """The same where it wants an NS granule; and one that belongs to the Secure world."""
        yield from self.bad("UNDELEGATED")
        yield "Secure", self.secure

    def refuses(self, command: Rmi, good: dict[str, int], x0: int = INPUT, **wrong: int) -> None:
        """The command with `wrong` arguments over `good` ones answers `x0` and changes nothing."""
        args = {**good, **wrong}
        before = self.digest()
        answer = self.call(command, *(args[name] for name in COMMANDS[command].arguments))[0]
        assert answer == x0, (command.name, {name: hex(value) for name, value in wrong.items()}, hex(answer))
        assert self.digest() == before, (command.name, wrong)

    def refuses_every(self, command: Rmi, good: dict[str, int], name: str, good_state: str) -> None:
        """Every bad address as argument `name` is ERROR_INPUT."""
        places = self.bad_host_page() if good_state == "NS" else self.bad(good_state)
        for _, address in places:
            self.refuses(command, good, **{name: address})

    def succeeds(self, command: Rmi, good: dict[str, int]) -> tuple[int, ...]:
        """The command with its valid arguments."""
        return self.ok(command, *(good[name] for name in COMMANDS[command].arguments))

    def entry(self, rd: int, ipa: int, level: int = 3) -> tuple[int, int, int, int]:
        """(walk level, state, descriptor, RIPAS) of RTT_READ_ENTRY."""
        x = self.ok(Rmi.RTT_READ_ENTRY, rd, ipa, level)
        return x[1], x[2], x[3], x[4]

    def realm_of_pages(self, recs: int = 1, **fields: Any) -> tuple[int, list[int]]:
        """An ACTIVE Realm with a page of RAM, an EMPTY one, one of RAM without memory, and one that was taken away."""
        rd = self.realm(**fields)
        self.tables(rd, 0)
        self.tables(rd, HALF)
        self.data(rd, MAPPED, b"what the Host measured")
        self.ok(Rmi.RTT_INIT_RIPAS, rd, MISSING, MISSING + PAGE)
        self.data(rd, LOST)
        self.ok(Rmi.DATA_DESTROY, rd, LOST)
        made = [self.rec(rd, index) for index in range(recs)]
        self.ok(Rmi.REALM_ACTIVATE, rd)
        return rd, made

    def runs(self, rec: int, *events: Any, **entry: Any) -> RecExit:
        """REC_ENTER that must succeed; the exit."""
        x0, out = self.enter(rec, list(events), **entry)
        assert x0 == SUCCESS
        return out

    def asks(self, rec: int, *registers: int) -> list[int]:
        """What the Realm reads in x0.. after an SMC that returns to it."""
        return self.rsi(rec, *registers)

    def touched(self, rec: int, ipa: int, *, instruction: bool = False, write: bool = False) -> tuple[str, RecExit]:
        """What comes of a Realm's access: "works", "SEA" (taken by the Realm), or "exit"."""
        out = self.runs(rec, Access(ipa=ipa, instruction=instruction, write=write, register=1))
        if out.exit_reason == ExitReason.SYNC:
            return "exit", out
        assert self.guest.view is not None
        taken = self.guest.view.system_register(SystemRegister.ESR_EL1) >> 26
        return ("SEA" if self.guest.pcs[-1] == 0x200 and taken in (0x25, 0x21) else "works"), out


def sync(esr: int, ipa: int = 0, far: int = 0) -> Exception_:
    """A synchronous exception as hardware reports it."""
    return Exception_(ExceptionKind.SYNC, esr, far, ipa >> 8)
