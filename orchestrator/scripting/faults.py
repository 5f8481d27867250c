"""Faults from a script: a `with` block that heals what it did, and storms of one's own made of such faults.

    with fleet.fault("machine.freeze", machine="r1-std-01"):
        fleet.advance("20s")

    def brownout(fleet, rack):                      # a fault of one's own: a generator of faults
        for machine in fleet.machines.where(rack=rack):
            yield Fault("network.delay", between=(machine, "control"), delay="300ms")

    with fleet.fault(brownout, rack="r1"):
        fleet.advance("1min")

Every fault is an operator's input, so a run with faults of one's own replays without the code that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from orchestrator import inputs as i
from orchestrator.errors import UserMistake
from orchestrator.scripting.errors import ActRefused, FleetError
from orchestrator.scripting.handles import MachineHandle, RealmHandle

if TYPE_CHECKING:
    from orchestrator.scripting.fleet import Fleet

UNTIL_HEALED = "8760h"
"""How long a fault of a `with` block would last if nobody healed it: longer than any run."""

End: TypeAlias = "str | MachineHandle | RealmHandle"
"""One end of links: `control`, `machine:NAME`, `rack:NAME`, `realm:NAME`, or a handle."""


class Fault:
    """A fault as the cluster file writes it, without its instant; nothing happens until a fleet is told.

    Machine faults name one of `machine`, `rack`, `realm` or `count` (so many, drawn from the seed), link faults stand
    `between` two ends. What is wrong with it is said by the fleet, in the words of the cluster file.
    """

    def __init__(
        self,
        kind: str,
        *,
        machine: str | MachineHandle | None = None,
        rack: str | None = None,
        realm: str | RealmHandle | None = None,
        count: int | None = None,
        between: tuple[End, End] | None = None,
        one_way: bool | None = None,
        loss: str | None = None,
        delay: str | None = None,
        lasts: str = UNTIL_HEALED,
    ) -> None:
        select = {"machine": _name(machine), "rack": rack, "realm": _name(realm), "count": count}
        chosen = {key: value for key, value in select.items() if value is not None}
        deed = {
            "fault": kind,
            "for": lasts,
            "select": chosen or None,
            "between": None if between is None else [side(end) for end in between],
            "one_way": one_way,
            "loss": loss,
            "delay": delay,
        }
        self.deed: dict[str, Any] = {key: value for key, value in deed.items() if value is not None}

    def __repr__(self) -> str:
        told = ", ".join(f"{key}: {value}" for key, value in self.deed.items() if key not in ("fault", "for"))
        return f"{self.deed['fault']} ({told})"


Storm: TypeAlias = Callable[..., Iterable[Fault]]
"""A fault of one's own: given the fleet and arguments, the faults it is made of; all strike at the same boundary."""


class FaultScope:
    """Faults that strike when a `with` block is entered and are healed when it is left, whatever happens in it."""

    def __init__(self, fleet: Fleet, faults: Iterable[Fault]) -> None:
        self._fleet = fleet
        self._faults = tuple(faults)
        self.names: tuple[str, ...] = ()
        """Names by which the trace knows them, like fault-3."""

    def __enter__(self) -> FaultScope:
        if not self._faults:
            raise FleetError("there is no fault to inject", "a fault of one's own yields at least one Fault")
        answers = self._fleet.ask_all([i.InjectFault(fault.deed) for fault in self._faults])
        self.names = tuple(answer.subjects[0] for answer in answers if not answer.rule)
        refused = [answer for answer in answers if answer.rule]
        idle = [name for name in self.names if name not in self._in_force()]
        if refused or idle:
            self.heal()
            if refused:
                raise ActRefused(refused[0].rule, refused[0].what, refused[0].hint)
            raise ActRefused(
                "conflict", f"{idle[0]} strikes nobody now", "its selector means no machine, or it is there"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._fleet.finished:
            self.heal()

    def heal(self) -> None:
        """Undo what still holds; takes a beat if anything does."""
        held = [name for name in self.names if name in self._in_force()]
        if held:
            self._fleet.ask_all([i.HealFault(name) for name in held])

    def _in_force(self) -> set[str]:
        return {fault.deed.name for fault in self._fleet.run.assembly.storm.in_force}


def side(end: End) -> Any:
    """One end of a link fault as the cluster file writes it. Raises `UserMistake` for a text that names none."""
    if isinstance(end, MachineHandle):
        return {"machine": end.name}
    if isinstance(end, RealmHandle):
        return {"realm": end.name}
    if end == "control":
        return end
    key, colon, name = end.partition(":")
    if not colon or key not in ("machine", "rack", "realm"):
        raise UserMistake(f"{end} names no end of a link", "control, machine:NAME, rack:NAME or realm:NAME")
    return {key: name}


def _name(one: str | MachineHandle | RealmHandle | None) -> str | None:
    return one if one is None or isinstance(one, str) else one.name
