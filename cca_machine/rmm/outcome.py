"""What a service for a Realm comes to."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cca_machine.rmm.view import RunningRec


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What follows a service: registers from x0 up, and whether the REC exits.

    With `abort_level` nothing was done: the exit is a data abort at the buffer (named by x`buffer`), and the call is
    repeated. With `moved` another plane runs now, and the PC of the caller waits for its return.
    """

    registers: tuple[int, ...] = ()
    leaves: bool = False
    abort_level: int | None = None
    buffer: int = 1
    moved: bool = False


Service = Callable[[RunningRec], Outcome]

FORWARDED = Outcome(leaves=True)
"""The Host answers: the Realm's registers stay as they are until it does."""


def back(x0: int, x1: int = 0, x2: int = 0, x3: int = 0) -> Outcome:
    """Return to the Realm; results that a service does not have are zero, x4 and up are preserved."""
    return Outcome((x0, x1, x2, x3))


def notify(x0: int, x1: int = 0, x2: int = 0, x3: int = 0) -> Outcome:
    """Exit to the Host with the Realm's results already in place."""
    return Outcome((x0, x1, x2, x3), leaves=True)
