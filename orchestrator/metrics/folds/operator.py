"""What operators asked of a live run, and whether it took effect."""

from __future__ import annotations

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally


class Operator:
    """Inputs by what was asked and by result: accepted, or the rule that refused them."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def handlers(self) -> Handlers:
        return {"operator.accepted": self._accepted, "operator.refused": self._refused}

    def _accepted(self, line: Line) -> None:
        self._tally.add("operator_inputs_total", 1, line.what["asked"], "accepted")

    def _refused(self, line: Line) -> None:
        self._tally.add("operator_inputs_total", 1, line.what["asked"], line.what["rule"])
