"""Firmware versions over time: how many machines that are up run which version of each component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.chaos.history import Line
from orchestrator.report.gather.bounded import Histogram, Steps


class Versions:
    """Machines by component and version over time, and the activations and boots that changed it."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Steps]] = {}
        self.pauses = Histogram()
        self.activated = 0
        self.booted = 0
        self.refused: dict[tuple[str, str], int] = {}
        self._running: dict[str, dict[str, str]] = {}

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "machine.booted":
                self._runs(line, what["versions"])
            case "machine.lost" | "machine.rebooting":
                self._runs(line, {})
            case "firmware.activated":
                self._runs(line, {**self._running.get(line.source, {}), what["component"]: what["version"]})
                self.activated += 1
                self.pauses.add(what["pause_ns"])
            case "firmware.booted":
                self.booted += 1
            case "firmware.refused":
                key = (what["step"], what["status"])
                self.refused[key] = self.refused.get(key, 0) + 1

    def _runs(self, line: Line, versions: Mapping[str, str]) -> None:
        before = self._running.get(line.source, {})
        for component in sorted({*before, *versions}):
            old, new = before.get(component, ""), versions.get(component, "")
            if old != new:
                steps = self.machines.setdefault(component, {})
                if old:
                    steps[old].add(line.at_ns, -1)
                if new:
                    steps.setdefault(new, Steps()).add(line.at_ns, 1)
        self._running[line.source] = dict(versions)

    def changing(self) -> list[str]:
        """Components that more than one version of was seen; the others stayed as they were."""
        return [component for component in sorted(self.machines) if len(self.machines[component]) > 1]


KINDS: Final = (
    "machine.booted",
    "machine.lost",
    "machine.rebooting",
    "firmware.activated",
    "firmware.booted",
    "firmware.refused",
)
