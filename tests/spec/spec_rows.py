"""Rows of the specification tests: commands, their failure conditions, and which condition wins over which."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from spec_door import Door

from cca_machine.abi.rmi import COMMANDS, Rmi

Arguments = dict[str, int]
Prepare = Callable[[Door], Arguments]
Break = Callable[[Door, Arguments], None]


class Condition(NamedTuple):
    """One failure condition: what makes it true, and X0."""

    x0: int
    make: Break


class Command(NamedTuple):
    """A command: a call that succeeds, what makes it fail, in the order in which the model looks."""

    fid: Rmi
    prepare: Prepare
    conditions: dict[str, Condition]
    free: tuple[frozenset[str], ...] = ()
    """Sets of conditions among which no order is defined, because they cannot hold together."""

    def call(self, door: Door, args: Arguments) -> tuple[int, ...]:
        """Make the call with `args` in the order of the command's registers."""
        return door.call(self.fid, *(args[name] for name in COMMANDS[self.fid].arguments))


def put(name: str, value: int) -> Break:
    """The argument `name` is `value`."""

    def change(_: Door, args: Arguments) -> None:
        args[name] = value

    return change


def add(name: str, value: int) -> Break:
    """The argument `name` is off by `value`."""

    def change(_: Door, args: Arguments) -> None:
        args[name] += value

    return change


def fresh(name: str, *, delegated: bool) -> Break:
    """The argument `name` is another granule, NS or DELEGATED."""

    def change(door: Door, args: Arguments) -> None:
        args[name] = door.delegated() if delegated else door.granules()

    return change
