"""Messages that links lost."""

from __future__ import annotations

from cca_machine.commands import CONTROL
from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally


class Links:
    """Losses by which way the message went; the record's source is `link:` and the sender."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def handlers(self) -> Handlers:
        return {"message.lost": self._lost}

    def _lost(self, line: Line) -> None:
        self._tally.add("messages_lost_total", 1, leg(line.source.removeprefix("link:"), line.what["target"]))


def leg(source: str, target: str) -> str:
    """Which way a message from `source` to `target` went."""
    if source == CONTROL:
        return "from-control"
    return "to-control" if target == CONTROL else "between-machines"
