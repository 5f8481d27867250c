"""A trace as checkers and reports read it: lines in total order, and when each Realm executed where.

Judgements work on recorded lines only, never on live objects, so that a stored run can be judged again by anyone.
`read` takes what `realmfleet inspect --trace --json` prints (or the trace entries themselves); `lives` folds the
machines' own records into intervals, half open: [from_ns, until_ns).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from orchestrator.engine.ports import TraceEntry
from orchestrator.engine.trace import encode_line


class Line(Struct, frozen=True):
    """One line of the trace as `orchestrator.engine.trace` writes it: `kind` is the record's tag, `what` its fields."""

    at_ns: int
    kind: str
    number: int
    priority: int
    source: str
    what: dict[str, Any]

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.at_ns, self.priority, self.source, self.number)

    @property
    def incarnation(self) -> tuple[str, int]:
        """The (realm, incarnation) that the record is about."""
        return (self.what["realm"], self.what["incarnation"])


class Life(Struct):
    """A stretch in which one incarnation of a Realm executed on one machine without a stop.

    `until_ns` is None while it lasts. `began` and `ended` are the lines that say so; `serving_from_ns` is when it began
    to do its work, None if it never did in this stretch.
    """

    realm: str
    incarnation: int
    machine: str
    from_ns: int
    began: Line
    serving_from_ns: int | None = None
    until_ns: int | None = None
    ended: Line | None = None
    cause: str = ""
    """Why it ended: the `why` of the still Realm, or machine-lost, machine-frozen, rebooted."""

    def lasts_at(self, at_ns: int) -> bool:
        return self.from_ns <= at_ns and (self.until_ns is None or at_ns < self.until_ns)

    def serves_within(self, from_ns: int, until_ns: int) -> bool:
        """Whether it serves at some instant of [from_ns, until_ns]."""
        if self.serving_from_ns is None or self.serving_from_ns > until_ns:
            return False
        return self.until_ns is None or (self.until_ns > from_ns and self.until_ns > self.serving_from_ns)


Readable: TypeAlias = bytes | str | Mapping[str, Any] | TraceEntry | Line
"""A line of JSON, the mapping it decodes to, or an entry of the engine."""


def read(lines: Iterable[Readable]) -> list[Line]:
    """Lines in total order. Raises msgspec.DecodeError or ValidationError for what is not a line of a trace."""
    return sorted((_line(line) for line in lines), key=lambda line: line.key)


def _line(line: Readable) -> Line:
    if isinstance(line, Line):
        return line
    if isinstance(line, TraceEntry):
        return _DECODER.decode(encode_line(line).line)
    if isinstance(line, bytes | str):
        return _DECODER.decode(line)
    return msgspec.convert(line, Line)


_DECODER = msgspec.json.Decoder(Line)


def lives(lines: Sequence[Line]) -> list[Life]:
    """Every stretch of execution, by beginning.

    A Realm executes from `realm.live` until `realm.still` or its destruction, or until its machine freezes, is lost or
    boots; a thaw continues what the freeze interrupted, as a stretch of its own.
    """
    fold = _Lives()
    for line in lines:
        handler = _HANDLERS.get(line.kind)
        if handler is not None:
            handler(fold, line)
    return fold.all


class _Lives:
    """Fold state: open stretches and what a freeze interrupted, by machine and (realm, incarnation)."""

    def __init__(self) -> None:
        self.all: list[Life] = []
        self.open: dict[str, dict[tuple[str, int], Life]] = {}
        self.frozen: dict[str, dict[tuple[str, int], bool]] = {}

    def begin(self, line: Line, name: tuple[str, int], serving: bool) -> None:
        here = self.open.setdefault(line.source, {})
        life = here.get(name)
        if life is None:
            life = Life(name[0], name[1], line.source, line.at_ns, line)
            here[name] = life
            self.all.append(life)
        if serving and life.serving_from_ns is None:
            life.serving_from_ns = line.at_ns

    def end(self, line: Line, name: tuple[str, int], cause: str) -> None:
        life = self.open.get(line.source, {}).pop(name, None)
        if life is not None:
            life.until_ns, life.ended, life.cause = line.at_ns, line, cause

    def end_all(self, line: Line, cause: str) -> None:
        for name in list(self.open.get(line.source, {})):
            self.end(line, name, cause)
        self.frozen.pop(line.source, None)

    def live(self, line: Line) -> None:
        self.begin(line, line.incarnation, line.what["serving"])

    def still(self, line: Line) -> None:
        self.end(line, line.incarnation, line.what["why"])
        self.frozen.get(line.source, {}).pop(line.incarnation, None)

    def destroyed(self, line: Line) -> None:
        self.end(line, line.incarnation, "destroyed")
        self.frozen.get(line.source, {}).pop(line.incarnation, None)

    def lost(self, line: Line) -> None:
        self.end_all(line, "machine-lost")

    def booted(self, line: Line) -> None:
        self.end_all(line, "rebooted")

    def freeze(self, line: Line) -> None:
        interrupted = {name: life.serving_from_ns is not None for name, life in self.open.get(line.source, {}).items()}
        self.end_all(line, "machine-frozen")
        self.frozen[line.source] = interrupted

    def thaw(self, line: Line) -> None:
        for name, serving in self.frozen.pop(line.source, {}).items():
            self.begin(line, name, serving)


_HANDLERS = {
    "realm.live": _Lives.live,
    "realm.still": _Lives.still,
    "realm.destroyed": _Lives.destroyed,
    "machine.lost": _Lives.lost,
    "machine.booted": _Lives.booted,
    "machine.frozen": _Lives.freeze,
    "machine.thawed": _Lives.thaw,
}
