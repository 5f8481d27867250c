"""Faults: which were injected, which hold, and how long the fleet took to be whole again."""

from __future__ import annotations

from collections import Counter
from functools import partial

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.folds.service import Service
from orchestrator.metrics.tally import Tally


class Chaos:
    """Faults in force by kind, and by kind and machine; two faults of a kind may hold a machine at once."""

    def __init__(self, tally: Tally, service: Service) -> None:
        self._tally = tally
        self._service = service
        self._holds: Counter[tuple[str, str]] = Counter()

    def handlers(self) -> Handlers:
        return {"fault.injected": self._injected, "fault.healed": self._healed, "fault.skipped": self._skipped}

    def _injected(self, line: Line) -> None:
        kind = line.what["kind"]
        self._tally.add("faults_injected_total", 1, kind)
        self._tally.add("faults_active", 1, kind)
        self._hold(line, 1)

    def _healed(self, line: Line) -> None:
        kind = line.what["kind"]
        self._tally.add("faults_active", -1, kind)
        self._hold(line, -1)
        self._service.advance(line.at_ns)
        self._service.when_whole(partial(self._recovered, kind, line.at_ns))

    def _skipped(self, line: Line) -> None:
        self._tally.add("faults_skipped_total", 1, line.what["kind"])

    def _hold(self, line: Line, by: int) -> None:
        """Both ends of a link fault are held by it; the control plane is no machine."""
        kind = line.what["kind"]
        for machine in sorted({*line.what["targets"], *line.what["peers"]} - {"control"}):
            self._holds[kind, machine] += by
            self._tally.set("machine_fault_active", int(self._holds[kind, machine] > 0), kind, machine)

    def _recovered(self, kind: str, healed_ns: int, at_ns: int) -> None:
        self._tally.observe("fault_recovery_seconds", at_ns - healed_ns, kind)
