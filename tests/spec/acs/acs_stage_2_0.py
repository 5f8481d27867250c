"""What the scenarios about planes start from: a machine of RMI 2.0, a granule in every state, a paravisor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acs_stage import ABOVE_PA, HALF, LOST, MAPPED, MISSING
from spec_door import OUTSIDE, PAGE
from spec_door_2_0 import INPUT, SUCCESS, Door2

from cca_machine.abi.guest import GuestEvent, Smc
from cca_machine.abi.rmi2 import COMMANDS_2_0, RecExit2, Rmi2
from cca_machine.abi.rsi2 import PlaneEnter, PlaneExit, Rsi2
from cca_machine.hardware.gpt import World
from cca_machine.rmm.permissions import Label

RUN, CODE, DATA, CALL = 0x5000, 0x6000, 0x7000, 0x8000
"""P0's own run page; pages that P1 may execute, write, and make host calls from."""
OF_P1, OF_BOTH = 1, 2
"""Overlay indices: what P1 may do with its pages."""


class Stage2(Door2):
    """A Door with one granule of each state, of a Realm of their own."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.new = self.realm(num_aux_planes=1, flags1=1)
        tables = self.tables(self.new, 0)
        self.tables(self.new, 0, tree=1)
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
        self.single = self.realm()
        self.tables(self.single, 0)

    def bad(self, good_state: str) -> Iterator[int]:
        """Addresses that no command takes where it wants a granule of `good_state`."""
        yield from (self.states[good_state] + 0x800, OUTSIDE, ABOVE_PA)
        yield from (address for state, address in self.states.items() if state != good_state)

    def refuses(self, command: Rmi2, good: dict[str, int], x0: int = INPUT, **wrong: int) -> None:
        """The command with `wrong` arguments over `good` ones answers `x0` and changes nothing."""
        args = {**good, **wrong}
        before = self.digest()
        answer = self.call(command, *(args[name] for name in COMMANDS_2_0[command].arguments))[0]
        assert answer == x0, (command.name, {name: hex(value) for name, value in wrong.items()}, hex(answer))
        assert self.digest() == before, (command.name, wrong)

    def refuses_every(self, command: Rmi2, good: dict[str, int], name: str, good_state: str) -> None:
        """Every bad address as argument `name` is ERROR_INPUT."""
        for address in self.bad(good_state):
            self.refuses(command, good, **{name: address})

    def succeeds(self, command: Rmi2, good: dict[str, int]) -> tuple[int, ...]:
        """The command with its valid arguments."""
        return self.ok(command, *(good[name] for name in COMMANDS_2_0[command].arguments))


class Paravisor:
    """An ACTIVE Realm with P0 and auxiliary planes over one tree; P1 may use the pages that P0 let it have."""

    def __init__(self, aux: int = 1) -> None:
        self.door = Door2()
        self.rd = self.door.realm(num_aux_planes=aux, flags1=2)
        self.door.tables(self.rd, 0)
        self.door.tables(self.rd, HALF)
        self.pages = {ipa: self.door.data(self.rd, ipa, b"\0") for ipa in (MAPPED, RUN, CODE, DATA, CALL, LOST)}
        self.door.ok(Rmi2.RTT_INIT_RIPAS, self.rd, MISSING, MISSING + PAGE)
        self.door.ok(Rmi2.RTT_DATA_UNMAP, self.rd, LOST, LOST + PAGE, 0, 0)
        self.rec = self.door.rec(self.rd)
        self.door.ok(Rmi2.REALM_ACTIVATE, self.rd)
        self.permit(1, OF_P1, Label.RO_X, CODE)
        self.permit(1, OF_BOTH, Label.RW, DATA, CALL)

    def permit(self, plane: int, index: int, label: Label, *pages: int) -> None:
        """P0 gives an index of a plane a label, and pages that index; the Host does what P0 asks for."""
        assert self.door.rsi(self.rec, Rsi2.MEM_SET_PERM_VALUE, plane, index, label)[0] == SUCCESS
        for page in pages:
            self.assign(index, page)

    def assign(self, index: int, page: int) -> None:
        """P0 gives a page an overlay index."""
        self.door.enter(self.rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, page, page + PAGE, index, 0))])
        self.door.ok(Rmi2.RTT_SET_S2AP, self.rd, self.rec, page, page + PAGE)
        assert self.door.enter(self.rec)[0] == SUCCESS
        assert self.door.guest.gprs[0][:2] == [SUCCESS, page + PAGE]

    def entering(self, plane: int = 1, flags: int = 0, **entry: Any) -> list[GuestEvent]:
        """Events with which P0 enters a plane."""
        page = PlaneEnter(flags=flags, pc=CODE, pstate=0x3C5, **entry).encode()
        self.door.hardware.memory.write(World.REALM, self.pages[RUN], page)
        return [Smc((Rsi2.PLANE_ENTER, plane, RUN))]

    def runs(self, *events: GuestEvent, plane: int = 1, flags: int = 0, **entry: Any) -> RecExit2:
        """P0 enters a plane, which does `events`; the exit to the Host."""
        x0, out = self.door.enter(self.rec, [*self.entering(plane, flags, **entry), *events])
        assert x0 == SUCCESS
        return out

    def stopped(self) -> PlaneExit:
        """What P0 finds in its run page; it must be P0 that runs."""
        assert self.door.rmm.state.recs[self.rec].active_plane == 0
        return PlaneExit.decode(self.door.hardware.memory.read(World.REALM, self.pages[RUN] + 0x800, 0x800))

    def active(self) -> int:
        """The plane that would run next."""
        return self.door.rmm.state.recs[self.rec].active_plane
