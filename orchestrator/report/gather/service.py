"""Availability and downtime by Realm class, with every gap told on as it closes.

The definition is that of `orchestrator.report.availability`, which a test holds this to: a Realm is wanted from the
first `realm.wanted` until an operator stops it or the run ends; a gap is wanted time in which no copy served.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.availability import Cause, Gap, cause_of
from orchestrator.report.gather.bounded import Histogram, Steps

Heard = Callable[[Gap], None]
"""Who wants every gap, by its end."""


class Wish(Struct):
    """A Realm that is or was wanted: its class, since when, and since when nothing serves (None while one does)."""

    kind: str
    wanted_ns: int
    missing_ns: int | None
    cause: Cause = Cause.BRING_UP
    machine: str = ""
    serving: int = 0
    stopped: bool = False


class ClassService(Struct):
    """A class of Realms: what was wanted and served of it, in Realms and ns, and the worst single Realm."""

    kind: str
    realms: int = 0
    serving: int = 0
    wanted_ns: int = 0
    missed_ns: int = 0
    gaps: int = 0
    worst: str = ""
    worst_ns: int = 0

    @property
    def served_ns(self) -> int:
        return self.wanted_ns - self.missed_ns


class Service:
    """Listens to `Presence`; `close` ends the run."""

    def __init__(self, *heard: Heard) -> None:
        self._heard = heard
        self._wishes: dict[str, Wish] = {}
        self._missed: dict[str, int] = {}
        self.classes: dict[str, ClassService] = {}
        self.downtime: dict[Cause, Histogram] = {}
        self.serving = Steps()
        self.wanted = Steps()

    # -- records -----------------------------------------------------------------------------------------------------

    def wants(self, line: Line) -> None:
        """`realm.wanted`: a Realm that is new, or another incarnation of one that is not."""
        realm, kind = line.what["realm"], line.what["kind"]
        if realm in self._wishes:
            return
        self._wishes[realm] = Wish(kind, line.at_ns, line.at_ns)
        self.wanted.add(line.at_ns, 1)
        self.classes.setdefault(kind, ClassService(kind)).realms += 1

    def changed(self, line: Line) -> None:
        """`realm.state`: an operator stops it for good, and from here on nobody misses it."""
        wish = self._wishes.get(line.what["realm"])
        if line.what["state"] in ("stopping", "stopped") and wish is not None and not wish.stopped:
            self._settle(line.what["realm"], wish, line.at_ns, over=False)
            wish.stopped = True
            self.wanted.add(line.at_ns, -1)
            if wish.serving:
                self.serving.add(line.at_ns, -1)

    # -- what Presence tells -----------------------------------------------------------------------------------------

    def executes(self, at_ns: int, realm: str, machine: str) -> None:
        """Nothing that counts: it does no work yet."""

    def serves(self, at_ns: int, realm: str, machine: str) -> None:
        wish = self._wishes.get(realm)
        if wish is None:
            return
        wish.serving += 1
        if wish.serving > 1 or wish.stopped:
            return
        self.serving.add(at_ns, 1)
        if wish.missing_ns is not None and at_ns > wish.missing_ns:
            self._gap(realm, wish, wish.missing_ns, at_ns)
        wish.missing_ns = None

    def ends(self, at_ns: int, realm: str, machine: str, served: bool, why: str) -> None:
        wish = self._wishes.get(realm)
        if wish is None or not served:
            return
        wish.serving -= 1
        if wish.serving or wish.stopped:
            return
        self.serving.add(at_ns, -1)
        wish.missing_ns, wish.cause, wish.machine = at_ns, cause_of(why), machine

    def pauses(self, at_ns: int, realm: str, machine: str, pause_ns: int) -> None:
        wish = self._wishes.get(realm)
        if wish is None or wish.stopped or wish.serving != 1:
            return
        self._tell(wish.kind, Gap(realm, Cause.ACTIVATION, at_ns - pause_ns, at_ns, machine))

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self, end_ns: int) -> None:
        """The run ends: whoever is still wanted was wanted until now, and what is missing stays open."""
        for realm, wish in self._wishes.items():
            if not wish.stopped:
                self._settle(realm, wish, end_ns, over=True)

    def _settle(self, realm: str, wish: Wish, until_ns: int, *, over: bool) -> None:
        own = self.classes[wish.kind]
        own.wanted_ns += until_ns - wish.wanted_ns
        if wish.missing_ns is None:
            own.serving += over
        elif until_ns > wish.missing_ns:
            self._gap(realm, wish, wish.missing_ns, until_ns, over=over)
        missed_ns = self._missed.pop(realm, 0)
        if missed_ns > own.worst_ns:
            own.worst, own.worst_ns = realm, missed_ns

    def _gap(self, realm: str, wish: Wish, from_ns: int, until_ns: int, *, over: bool = False) -> None:
        self._tell(wish.kind, Gap(realm, wish.cause, from_ns, until_ns, wish.machine, over))

    def _tell(self, kind: str, gap: Gap) -> None:
        own = self.classes[kind]
        own.missed_ns += gap.duration_ns
        self._missed[gap.realm] = self._missed.get(gap.realm, 0) + gap.duration_ns
        own.gaps += gap.cause is not Cause.BRING_UP
        self.downtime.setdefault(gap.cause, Histogram()).add(gap.duration_ns)
        for heard in self._heard:
            heard(gap)
