"""Life of machines: what the control plane believes of them, and what is true."""

from __future__ import annotations

from cca_machine.commands import FaultKind
from orchestrator.chaos.history import Line
from orchestrator.metrics.fleet_facts import FleetFacts
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally
from orchestrator.store import MachineState

S = MachineState
_SILENT = frozenset({S.SUSPECT, S.DOWN})
"""States in which a verdict over a platform token moves nothing (`orchestrator.fleet.inventory`)."""


class Machines:
    """Believed states by rack, boots and losses, cordons."""

    def __init__(self, tally: Tally, facts: FleetFacts) -> None:
        self._tally = tally
        self._racks = {name: place.rack for name, place in facts.machines.items()}
        self._states = dict.fromkeys(facts.machines, S.EXPECTED)
        self._distrusted: set[str] = set()
        self._cordons: dict[str, set[str]] = {}
        self._lost: dict[str, str] = {}
        for rack in sorted(set(self._racks.values())):
            for state in S:
                tally.set("machines", 0, rack, state)
        for name, place in facts.machines.items():
            tally.set("machine_info", 1, name, place.rack, place.profile)
            tally.set("machine_up", 0, name)
            tally.add("machines", 1, place.rack, S.EXPECTED)

    def handlers(self) -> Handlers:
        return {
            "machine.admitted": self._admitted,
            "machine.distrusted": self._refused,
            "machine.suspect": self._suspect,
            "machine.down": self._down,
            "machine.back": self._back,
            "machine.cordoned": self._cordoned,
            "machine.uncordoned": self._uncordoned,
            "machine.booted": self._booted,
            "machine.lost": self._power_or_rmm_gone,
            "machine.frozen": self._frozen,
            "machine.thawed": self._thawed,
        }

    # -- belief --------------------------------------------------------------------------------------------------------

    def _move(self, machine: str, state: MachineState) -> None:
        was = self._states.get(machine)
        if was is not None:
            self._tally.add("machines", -1, self._racks[machine], was)
            self._tally.add("machines", 1, self._racks[machine], state)
            self._states[machine] = state

    def _admitted(self, line: Line) -> None:
        machine = line.what["machine"]
        self._distrusted.discard(machine)
        if self._states.get(machine) not in _SILENT:
            self._move(machine, S.ADMITTED)

    def _refused(self, line: Line) -> None:
        machine = line.what["machine"]
        self._distrusted.add(machine)
        if self._states.get(machine) not in _SILENT:
            self._move(machine, S.REFUSED)

    def _suspect(self, line: Line) -> None:
        self._tally.add("machine_suspicions_total")
        self._move(line.what["machine"], S.SUSPECT)

    def _down(self, line: Line) -> None:
        self._move(line.what["machine"], S.DOWN)

    def _back(self, line: Line) -> None:
        """After a boot its new platform token is appraised first; otherwise it is what it was before its silence."""
        machine = line.what["machine"]
        self._tally.observe("machine_silence_seconds", line.what["silent_ns"])
        if line.what["rebooted"]:
            self._distrusted.discard(machine)
            self._move(machine, S.APPRAISING)
        else:
            self._move(machine, S.REFUSED if machine in self._distrusted else S.ADMITTED)

    def _cordoned(self, line: Line) -> None:
        self._cordons.setdefault(line.what["machine"], set()).add(line.what["by"])
        self._count_cordons()

    def _uncordoned(self, line: Line) -> None:
        self._cordons.get(line.what["machine"], set()).discard(line.what["by"])
        self._count_cordons()

    def _count_cordons(self) -> None:
        self._tally.set("machines_cordoned", sum(1 for by in self._cordons.values() if by))

    # -- truth ---------------------------------------------------------------------------------------------------------

    def _booted(self, line: Line) -> None:
        self._tally.add("machine_boots_total", 1, self._lost.pop(line.source, "first"))
        self._tally.set("machine_up", 1, line.source)

    def _power_or_rmm_gone(self, line: Line) -> None:
        reason = FaultKind(line.what["why"])
        self._lost[line.source] = reason
        self._tally.add("machine_losses_total", 1, reason)
        self._tally.set("machine_up", 0, line.source)

    def _frozen(self, line: Line) -> None:
        self._tally.set("machine_up", 0, line.source)

    def _thawed(self, line: Line) -> None:
        self._tally.set("machine_up", 1, line.source)
