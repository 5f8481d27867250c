"""How far a replayed trace agrees with what was recorded."""

from __future__ import annotations

from typing import Any

import msgspec


class CommandReport(msgspec.Struct):
    """Agreement on one command: `first` holds the first disagreement with both answers."""

    calls: int = 0
    agreements: int = 0
    first: dict[str, Any] | None = None


class TraceReport(msgspec.Struct):
    """Agreement on a trace, by command name; END compares every granule's final state."""

    commands: dict[str, CommandReport] = {}

    @property
    def agrees(self) -> bool:
        """Whether nothing differed."""
        return all(report.calls == report.agreements for report in self.commands.values())

    def add(self, other: TraceReport) -> None:
        """Count the calls of another trace too; the first disagreement of each command is kept."""
        for name, more in other.commands.items():
            mine = self.commands.setdefault(name, CommandReport())
            mine.calls += more.calls
            mine.agreements += more.agreements
            mine.first = mine.first if mine.first is not None else more.first
