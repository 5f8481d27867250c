"""Rows of the specification tests of RMI 2.0: what is broken in a call that would succeed, and what it answers then."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from spec_door import OUTSIDE, PAGE
from spec_door_2_0 import BLOCKED, GLOBAL, INPUT, Door2, desc

from cca_machine.abi.rmi2 import COMMANDS_2_0, RealmParams2, Rmi2
from cca_machine.hardware.gpt import World

Arguments = dict[str, int]
Break = Callable[[Door2, Arguments], None]
BLOCK, HALF, WIDTH = 512 * PAGE, 1 << 39, 1 << 40
LIST = 2 | 1 << 2
"""Flags of a map or unmap command: a list of one descriptor."""


class Condition(NamedTuple):
    """One failure condition: X0, and what makes it true."""

    x0: int
    make: Break


class Row(NamedTuple):
    """A command: a call that succeeds, and what makes it fail."""

    fid: Rmi2
    prepare: Callable[[Door2], Arguments]
    conditions: dict[str, Condition]
    free: tuple[frozenset[str], ...] = ()
    """Sets of conditions that cannot be brought about together, or of which one is a case of the other."""
    answers: int = 0

    def call(self, door: Door2, args: Arguments) -> tuple[int, ...]:
        """Make the call with `args` in the order of the command's registers."""
        return door.call(self.fid, *(args[name] for name in COMMANDS_2_0[self.fid].arguments))


def conditions(**given: tuple[int, Break]) -> dict[str, Condition]:
    """Conditions by id."""
    return {name: Condition(*one) for name, one in given.items()}


def put(name: str, value: int) -> Break:
    """The argument `name` is `value`."""

    def change(_: Door2, args: Arguments) -> None:
        args[name] = value

    return change


def add(name: str, value: int) -> Break:
    """The argument `name` is off by `value`."""

    def change(_: Door2, args: Arguments) -> None:
        args[name] += value

    return change


def several(**values: int) -> Break:
    """Some arguments are what is given here."""
    return lambda _, args: args.update(values)


def fresh(name: str, *, delegated: bool) -> Break:
    """The argument `name` is another granule, NS or DELEGATED."""

    def change(door: Door2, args: Arguments) -> None:
        args[name] = door.delegated() if delegated else door.granules()

    return change


def taken(name: str) -> Break:
    """Another world has the granule of an argument."""
    return lambda door, args: door.take_away(args[name])


def group(name: str, *, delegated: bool, suffix: str = "state") -> dict[str, Condition]:
    """The three conditions of a granule argument; in the third it is `delegated` but should not, or not but should."""
    return {
        f"{name}_align": Condition(INPUT, add(name, 8)),
        f"{name}_bound": Condition(INPUT, put(name, OUTSIDE)),
        f"{name}_{suffix}": Condition(INPUT, fresh(name, delegated=delegated)),
    }


def not_activated(door: Door2, args: Arguments) -> None:
    """As if the RMM were not activated: no command leads back there."""
    door.rmm.state.active = False


def contexts_taken(door: Door2, args: Arguments) -> None:
    """Operations that wait for memory have every context."""
    page = door.host_page()
    while door.call(Rmi2.REC_CREATE, 0, door.delegated(), page)[0] != BLOCKED:
        pass


def activated(door: Door2, args: Arguments) -> None:
    """The Realm of `rd` is ACTIVE."""
    door.ok(Rmi2.REALM_ACTIVATE, args["rd"])


def terminated(door: Door2, args: Arguments) -> None:
    """The Realm of `rd` is a ZOMBIE."""
    door.ok(Rmi2.REALM_TERMINATE, args["rd"])


def running(name: str) -> Break:
    """The REC of an argument runs on another PE."""

    def change(door: Door2, args: Arguments) -> None:
        door.rmm.state.recs[args[name]].running = True

    return change


def held(door: Door2, args: Arguments) -> None:
    """A stateful operation holds the entry."""
    pages = door.delegated(1)
    door.hardware.pes[0].irq_after = 1
    base = args.get("base", args.get("ipa", 0))
    x = door.call(Rmi2.RTT_DATA_MAP, args["rd"], base, base + PAGE, 1, desc(pages))
    door.hardware.pes[0].irq_after = -1
    assert x[0] == 0x00D


def realm_params(**changes: object) -> Break:
    """Fields of the parameters are others."""

    def change(door: Door2, args: Arguments) -> None:
        params = RealmParams2.decode(door.hardware.memory.read(World.NS, args["params_ptr"], PAGE))
        door.write(args["params_ptr"], msgspec.structs.replace(params, **changes).encode())

    return change


def realm_with_tables(door: Door2, ipa: int = 0, to: int = 3) -> int:
    """A NEW Realm with tables around `ipa`."""
    rd = door.realm()
    door.tables(rd, ipa, to)
    return rd


GATE = conditions(rmm_state=(GLOBAL, not_activated))
HANDLES = conditions(handles=(BLOCKED, contexts_taken))
RD = group("rd", delegated=True)
REC_GROUP = group("rec", delegated=True, suffix="gran_state")
