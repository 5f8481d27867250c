"""Wanted Realm-time: how much was served, how much was not, and why.

The same definition as `orchestrator.report.availability`, which computes it afterwards from whole intervals; here it is
folded as the trace comes in, so that it has a value at every instant. A test holds the two to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally
from orchestrator.report.availability import Cause

_CAUSES: Final = (
    (("activation", "lfa"), Cause.ACTIVATION),
    (("migration", "export"), Cause.MIGRATION),
    (("lease",), Cause.LEASE),
)


def cause_of(why: str) -> Cause:
    """The cause of a gap in service that began with a Realm standing still for `why`: the first word that fits."""
    return next((cause for words, cause in _CAUSES if any(word in why for word in words)), Cause.RESTART)


class _Wish(Struct):
    """A Realm: whether it is wanted, how many copies serve, and why it did not serve last."""

    wanted: bool = False
    stopped: bool = False
    serving: int = 0
    cause: Cause = Cause.BRING_UP


class Service:
    """Integrals over time of the number of Realms that serve, and of those that do not by cause."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._wishes: dict[str, _Wish] = {}
        self._now_ns = 0
        self._serving = 0
        self._unserved = dict.fromkeys(Cause, 0)
        self._owed_ns = 0
        self._when_whole: list[Callable[[int], None]] = []

    def handlers(self) -> Handlers:
        return {"realm.wanted": self._wanted, "realm.state": self._changed}

    @property
    def whole(self) -> bool:
        """Whether every wanted Realm serves."""
        return not any(self._unserved.values())

    def when_whole(self, then: Callable[[int], None]) -> None:
        """Call `then` with the instant at which every wanted Realm serves again; at once if all do."""
        if self.whole:
            then(self._now_ns)
        else:
            self._when_whole.append(then)

    def advance(self, at_ns: int) -> None:
        """Let time pass to `at_ns`.

        A live run shows an instant before all records up to it are settled: what is told of the time already shown
        counts from there on, because counters never fall.
        """
        passed_ns = max(at_ns - self._now_ns, 0)
        self._now_ns += passed_ns
        for cause, count in self._unserved.items():
            if count:
                self._tally.add("realm_unavailable_seconds_total", count * passed_ns, cause)
        served_ns = self._serving * passed_ns
        paid_ns = min(self._owed_ns, served_ns)
        self._owed_ns -= paid_ns
        if served_ns > paid_ns:
            self._tally.add("realm_serving_seconds_total", served_ns - paid_ns)

    def began(self, realm: str, at_ns: int) -> None:
        """A copy of the Realm begins to serve."""
        self.advance(at_ns)
        wish = self._wishes.setdefault(realm, _Wish())
        self._count(wish, -1)
        wish.serving += 1
        self._count(wish, 1)
        self._look_whole()

    def ended(self, realm: str, at_ns: int, cause: Cause) -> None:
        """A copy of the Realm serves no longer."""
        self.advance(at_ns)
        wish = self._wishes[realm]
        self._count(wish, -1)
        wish.serving -= 1
        wish.cause = cause
        self._count(wish, 1)
        self._look_whole()

    def paused(self, realm: str, pause_ns: int) -> None:
        """All that served of the Realm stood still for an activation of `pause_ns` that ends now.

        The time was counted as served; what is owed is taken off time still to come, because counters never fall.
        """
        wish = self._wishes[realm]
        if wish.wanted and not wish.stopped:
            self._owed_ns += pause_ns
            self._tally.add("realm_unavailable_seconds_total", pause_ns, Cause.ACTIVATION)

    def serving(self, realm: str) -> int:
        """How many copies of the Realm serve."""
        wish = self._wishes.get(realm)
        return 0 if wish is None else wish.serving

    def _wanted(self, line: Line) -> None:
        self.advance(line.at_ns)
        wish = self._wishes.setdefault(line.what["realm"], _Wish())
        self._count(wish, -1)
        wish.wanted = True
        self._count(wish, 1)

    def _changed(self, line: Line) -> None:
        """Stopped for good by an operator: from here on nobody misses it."""
        wish = self._wishes.get(line.what["realm"])
        if line.what["state"] in ("stopping", "stopped") and wish is not None and wish.wanted:
            self.advance(line.at_ns)
            self._count(wish, -1)
            wish.stopped = True
            self._look_whole()

    def _count(self, wish: _Wish, by: int) -> None:
        if not wish.wanted or wish.stopped:
            return
        if wish.serving:
            self._serving += by
        else:
            self._unserved[wish.cause] += by
            self._tally.set("unserved_realms", self._unserved[wish.cause], wish.cause)

    def _look_whole(self) -> None:
        if self._when_whole and self.whole:
            waiting, self._when_whole = self._when_whole, []
            for then in waiting:
                then(self._now_ns)
