"""The settled trace, folded for readers: last verdict and placement of each Realm, what happened to whom, the truth.

It belongs to the server's thread, which feeds it lines that the engine has settled; the engine knows nothing of it. The
truth is what machines themselves traced (up, frozen, lost; which copies execute where), beside the control plane's
belief.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.engine.trace import TraceLine

KEPT = 60
"""Lines remembered per object."""
KEPT_DECISIONS = 1000
"""Decisions of the fleet's key broker that the API can show; all of them are in the trace."""

_KEYS = ("realm", "machine", "source", "target", "session", "rollout", "fault", "to")
_LISTS = ("targets", "peers", "subjects", "machines", "absent")


class Told(Struct, frozen=True):
    """One line of the trace as the API shows it; `place` is its place in the trace, from 0."""

    place: int
    at_ns: int
    source: str
    kind: str
    what: Any


class Chronicle:
    """What readers ask of the trace, without reading it again."""

    def __init__(self, machines: Iterable[str]) -> None:
        self.read = 0
        """Lines folded so far."""
        self.verdicts: dict[str, Told] = {}
        """Last verdict on each Realm's evidence."""
        self.placements: dict[str, Told] = {}
        """Last placement of each Realm, or last failure to find one."""
        self.moves: dict[str, Told] = {}
        """Last migration of each Realm that ended with it on its target."""
        self.appraisals: dict[str, Told] = {}
        """Last word of the verifier on each machine's platform."""
        self.truth: dict[str, str] = dict.fromkeys(machines, "up")
        self.executes: dict[str, dict[str, bool]] = {}
        """Machines on which a copy of the Realm executes, and whether it serves there."""
        self.decisions: deque[Told] = deque(maxlen=KEPT_DECISIONS)
        """Secrets released and withheld by the fleet's own broker, oldest first."""
        self._about: dict[str, deque[Told]] = {}

    def take(self, lines: Sequence[TraceLine]) -> None:
        """Fold the next settled lines."""
        for line in lines:
            told = Told(self.read, line.entry.at_ns, line.entry.source, line.kind, line.entry.what)
            self.read += 1
            for name in dict.fromkeys(_names(told)):
                self._about.setdefault(name, deque(maxlen=KEPT)).append(told)
            fold = _FOLDS.get(told.kind)
            if fold is not None:
                fold(self, told)

    def about(self, name: str) -> list[Told]:
        """The last lines that name an object, newest first."""
        return list(reversed(self._about.get(name, ())))

    def _verdict(self, told: Told) -> None:
        self.verdicts[told.what.realm] = told

    def _placement(self, told: Told) -> None:
        self.placements[told.what.realm] = told

    def _decided(self, told: Told) -> None:
        self.decisions.append(told)

    def _moved(self, told: Told) -> None:
        if told.what.outcome == "moved":
            self.moves[told.what.realm] = told

    def _appraised(self, told: Told) -> None:
        self.appraisals[told.what.machine] = told

    def _lost(self, told: Told) -> None:
        self.truth[told.source] = "lost"
        self._halt(told)

    def _frozen(self, told: Told) -> None:
        self.truth[told.source] = "frozen"

    def _up(self, told: Told) -> None:
        self.truth[told.source] = "up"

    def _booted(self, told: Told) -> None:
        self.truth[told.source] = "up"
        self._halt(told)

    def _halt(self, told: Told) -> None:
        for here in self.executes.values():
            here.pop(told.source, None)

    def _live(self, told: Told) -> None:
        self.executes.setdefault(told.what.realm, {})[told.source] = told.what.serving

    def _still(self, told: Told) -> None:
        self.executes.get(told.what.realm, {}).pop(told.source, None)


_FOLDS: dict[str, Callable[[Chronicle, Told], None]] = {
    "realm.verdict": Chronicle._verdict,
    "realm.placed": Chronicle._placement,
    "realm.unplaced": Chronicle._placement,
    "secret.released": Chronicle._decided,
    "secret.withheld": Chronicle._decided,
    "migration.finished": Chronicle._moved,
    "machine.admitted": Chronicle._appraised,
    "machine.distrusted": Chronicle._appraised,
    "machine.lost": Chronicle._lost,
    "machine.booted": Chronicle._booted,
    "machine.frozen": Chronicle._frozen,
    "machine.thawed": Chronicle._up,
    "realm.live": Chronicle._live,
    "realm.still": Chronicle._still,
    "realm.destroyed": Chronicle._still,
}


def _names(told: Told) -> Iterator[str]:
    """Objects that a line is about: who made it, and whom its fields name."""
    yield told.source
    for key in _KEYS:
        value = getattr(told.what, key, "")
        if isinstance(value, str) and value:
            yield value
    for key in _LISTS:
        value = getattr(told.what, key, ())
        if isinstance(value, tuple):
            yield from value


def plain(told: Told | None) -> dict[str, Any] | None:
    """A line as plain data; None stays None."""
    return None if told is None else {**msgspec.structs.asdict(told), "what": msgspec.to_builtins(told.what)}
