"""Confidential pods: how long each step of their walk took, which ones started, and where the others were stopped."""

from __future__ import annotations

from cca_machine.pod import PodStep
from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally


class Pods:
    """Steps are timed from the end of the one before, the first from placement: all of them add up to the start."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._since_ns: dict[tuple[str, int], int] = {}

    def handlers(self) -> Handlers:
        return {"realm.placed": self._placed, "pod.step": self._stepped, "pod.refused": self._refused}

    def _placed(self, line: Line) -> None:
        realm, incarnation = line.incarnation
        self._since_ns.pop((realm, incarnation - 1), None)
        self._since_ns[line.incarnation] = line.at_ns

    def _stepped(self, line: Line) -> None:
        step, since_ns = line.what["step"], self._since_ns.get(line.incarnation)
        if since_ns is not None:
            self._tally.observe("pod_start_seconds", line.at_ns - since_ns, step)
            self._since_ns[line.incarnation] = line.at_ns
        if step == PodStep.WORKLOAD:
            self._tally.add("pod_starts_total")
            self._since_ns.pop(line.incarnation, None)

    def _refused(self, line: Line) -> None:
        self._tally.add("pod_refusals_total", 1, line.what["step"])
