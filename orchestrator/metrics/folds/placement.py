"""The scheduler: attempts, refusals by filter, and who waits for what."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally
from orchestrator.scheduler.filters import FILTERS
from orchestrator.store import RealmState

_ORDER = {name: place for place, (name, _) in enumerate(FILTERS)}


class Placement:
    """Realms that wait for a machine, each under the filter that refuses most machines; ties go to the earlier."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._waiting: dict[str, str] = {}
        self._since: dict[str, int] = {}

    def handlers(self) -> Handlers:
        return {
            "realm.wanted": self._wanted,
            "realm.placed": self._placed,
            "realm.unplaced": self._unplaced,
            "realm.state": self._changed,
        }

    def _wanted(self, line: Line) -> None:
        self._since[line.what["realm"]] = line.at_ns
        self._wait(line.what["realm"], "new")

    def _placed(self, line: Line) -> None:
        self._count(line, "placed")
        realm = line.what["realm"]
        self._settle(realm)
        since_ns = self._since.pop(realm, None)
        if since_ns is not None:
            self._tally.observe("scheduling_wait_seconds", line.at_ns - since_ns)

    def _unplaced(self, line: Line) -> None:
        self._count(line, "unplaced")
        self._wait(line.what["realm"], _strongest(line.what["refused"]))

    def _changed(self, line: Line) -> None:
        if line.what["state"] != RealmState.WANTED:
            self._settle(line.what["realm"])

    def _count(self, line: Line, result: str) -> None:
        self._tally.add("scheduling_attempts_total", 1, result)
        for name, count in line.what["refused"].items():
            self._tally.add("scheduling_rejections_total", count, name)

    def _wait(self, realm: str, reason: str) -> None:
        self._settle(realm)
        self._waiting[realm] = reason
        self._tally.add("scheduling_pending_realms", 1, reason)

    def _settle(self, realm: str) -> None:
        reason = self._waiting.pop(realm, None)
        if reason is not None:
            self._tally.add("scheduling_pending_realms", -1, reason)


def _strongest(refused: Mapping[str, int]) -> str:
    """The filter that refused most machines; `new` when none did."""
    return min(refused, key=lambda name: (-refused[name], _ORDER.get(name, len(_ORDER)), name), default="new")
