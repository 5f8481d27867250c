"""Which copies of which Realm execute and serve where: the machines' own records, told on to those who listen.

A copy executes from `realm.live` until `realm.still` or its destruction, or until its machine freezes, is lost or
boots; a thaw continues what the freeze interrupted. The definition is that of `orchestrator.chaos.history.lives`, which
gives finished intervals; this tells each change when it comes, and keeps only what is open.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

from orchestrator.chaos.history import Line

Name: TypeAlias = tuple[str, int]
"""(realm, incarnation)."""


class Listener(Protocol):
    """Who wants to know of each change of a Realm's copies, in the order of the trace."""

    def executes(self, at_ns: int, realm: str, machine: str) -> None:
        """A copy begins to execute there."""
        ...

    def serves(self, at_ns: int, realm: str, machine: str) -> None:
        """A copy that executes there begins to do its work."""
        ...

    def ends(self, at_ns: int, realm: str, machine: str, served: bool, why: str) -> None:
        """A copy no longer executes there; `served` says whether it did its work until now."""
        ...

    def pauses(self, at_ns: int, realm: str, machine: str, pause_ns: int) -> None:
        """All PEs there stood still for an activation until now, with a copy that serves on them."""
        ...


class Presence:
    """Folds the trace into the open copies of each machine: (realm, incarnation) and since when it serves, if it does.

    The records it takes are `KINDS`.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._open: dict[str, dict[Name, int | None]] = {}
        self._frozen: dict[str, dict[Name, bool]] = {}

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        match line.kind:
            case "realm.live":
                self._begin(line, line.incarnation, line.what["serving"])
            case "realm.still":
                self._end(line, line.incarnation, line.what["why"])
                self._frozen.get(line.source, {}).pop(line.incarnation, None)
            case "realm.destroyed":
                self._end(line, line.incarnation, "destroyed")
                self._frozen.get(line.source, {}).pop(line.incarnation, None)
            case "machine.lost":
                self._end_all(line, "machine-lost")
            case "machine.booted":
                self._end_all(line, "rebooted")
            case "machine.frozen":
                open_here = self._open.get(line.source, {})
                interrupted = {name: since is not None for name, since in open_here.items()}
                self._end_all(line, "machine-frozen")
                self._frozen[line.source] = interrupted
            case "machine.thawed":
                for name, serving in self._frozen.pop(line.source, {}).items():
                    self._begin(line, name, serving)
            case "firmware.activated":
                self._paused(line)

    def _begin(self, line: Line, name: Name, serving: bool) -> None:
        here = self._open.setdefault(line.source, {})
        if name not in here:
            here[name] = None
            for listener in self._listeners:
                listener.executes(line.at_ns, name[0], line.source)
        if serving and here[name] is None:
            here[name] = line.at_ns
            for listener in self._listeners:
                listener.serves(line.at_ns, name[0], line.source)

    def _end(self, line: Line, name: Name, why: str) -> None:
        here = self._open.get(line.source, {})
        if name in here:
            served = here.pop(name) is not None
            for listener in self._listeners:
                listener.ends(line.at_ns, name[0], line.source, served, why)

    def _end_all(self, line: Line, why: str) -> None:
        for name in list(self._open.get(line.source, {})):
            self._end(line, name, why)
        self._frozen.pop(line.source, None)

    def _paused(self, line: Line) -> None:
        """A pause that touches the edge of a stretch of service was recorded as its edge."""
        pause_ns = line.what["pause_ns"]
        for name, since in self._open.get(line.source, {}).items():
            if since is not None and since < line.at_ns - pause_ns < line.at_ns:
                for listener in self._listeners:
                    listener.pauses(line.at_ns, name[0], line.source, pause_ns)


KINDS: Final = (
    "realm.live",
    "realm.still",
    "realm.destroyed",
    "machine.lost",
    "machine.booted",
    "machine.frozen",
    "machine.thawed",
    "firmware.activated",
)
