"""Counts of commands, services and exits: outside the state and its digest."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmi import status_name as rmi_status_name


class Tally:
    """Calls per command and X0, services per name and status, and REC exits per reason."""

    def __init__(self) -> None:
        self.rmi: dict[str, dict[int, int]] = {}
        self.rsi: dict[tuple[str, str], int] = {}
        self.exits: dict[ExitReason, int] = {}
        self.status_name: Callable[[int], str] = rmi_status_name
        """How the edition that is spoken names a status."""

    def service(self, name: str, status: str) -> None:
        """Count one RSI or PSCI call that ended with `status`."""
        self.rsi[name, status] = self.rsi.get((name, status), 0) + 1

    def exit(self, reason: ExitReason) -> None:
        """Count one REC exit."""
        self.exits[reason] = self.exits.get(reason, 0) + 1

    def commands(self) -> dict[tuple[str, str], int]:
        """Calls per (command, status): RMI, RSI, PSCI, and exits as ("REC_EXIT", reason)."""
        totals: dict[tuple[str, str], int] = {}
        for name, answers in self.rmi.items():
            for x0, count in answers.items():
                key = name, self.status_name(x0)
                totals[key] = totals.get(key, 0) + count
        totals.update(self.rsi)
        totals.update({("REC_EXIT", reason.name): count for reason, count in self.exits.items()})
        return totals
