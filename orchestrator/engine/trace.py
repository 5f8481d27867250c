"""The trace: every record of a run in total order, one canonical JSON line each, and the digest over all lines.

A line is JSON with sorted keys, no spaces, and bytes as base64:

    {"at_ns":…,"kind":…,"number":…,"priority":…,"source":…,"what":{…}}

`kind` is the tag of the record and `what` its fields. The digest is SHA-256 over all lines, each ended by a newline,
so `realmfleet inspect RUN --trace --json | sha256sum` computes it again. Lines are settled strictly in total order: a
record is held back until nothing that comes before it can still be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.ports import TraceEntry

_ENCODER = msgspec.json.Encoder(order="sorted")


class TraceLine(Struct, frozen=True):
    """A settled record: its entry, its kind, and its bytes (without the newline)."""

    entry: TraceEntry
    kind: str
    line: bytes


class TraceSink(Protocol):
    """Where settled lines go: the run's file, metrics, a test."""

    def write(self, lines: Sequence[TraceLine]) -> None:
        """Take the next lines, in total order over all calls."""
        ...


class MemorySink:
    """Keeps all lines, for short runs and tests."""

    def __init__(self) -> None:
        self.lines: list[TraceLine] = []

    def write(self, lines: Sequence[TraceLine]) -> None:
        """Append the lines."""
        self.lines.extend(lines)


def kind_of(what: Any) -> str:
    """Tag of a trace record; raises `TypeError` if it is not a tagged msgspec record."""
    tag = getattr(getattr(what, "__struct_config__", None), "tag", None)
    if not isinstance(tag, str):
        raise TypeError(f"a trace record is a tagged msgspec Struct, not {type(what).__name__}")
    return tag


def encode_line(entry: TraceEntry) -> TraceLine:
    """The canonical line of one entry."""
    kind = kind_of(entry.what)
    line = _ENCODER.encode(
        {
            "at_ns": entry.at_ns,
            "kind": kind,
            "number": entry.number,
            "priority": int(entry.priority),
            "source": entry.source,
            "what": msgspec.structs.asdict(entry.what),
        }
    )
    return TraceLine(entry, kind, line)


class Trace:
    """Collects entries from all sides and settles them in order into its sinks and its digest."""

    def __init__(self, *sinks: TraceSink) -> None:
        self._sinks = sinks
        self._held: list[TraceEntry] = []
        self._settled_ns = 0
        self._last: tuple[int, int, str, int] = (-1, 0, "", 0)
        self._digest = sha256()
        self.count = 0
        """Lines settled so far."""

    def attach(self, sink: TraceSink) -> None:
        """Give all further lines to `sink` too; for whoever watches a run that has not begun yet."""
        self._sinks = (*self._sinks, sink)

    @property
    def digest(self) -> str:
        """SHA-256 over the lines settled so far, in hexadecimal."""
        return self._digest.hexdigest()

    def admit(self, entries: Sequence[TraceEntry]) -> None:
        """Take entries in any order; raises `OrderBroken` for one that lies before what is already settled."""
        for entry in entries:
            if entry.at_ns < self._settled_ns:
                raise OrderBroken(entry.source, f"traced {kind_of(entry.what)} in the settled past", entry.at_ns)
        self._held.extend(entries)

    def settle(self, before_ns: int) -> None:
        """Write, in total order, every held entry that lies before `before_ns`; nothing may come before it any more."""
        self._settled_ns = max(self._settled_ns, before_ns)
        ripe = [entry for entry in self._held if entry.at_ns < before_ns]
        if ripe:
            self._held = [entry for entry in self._held if entry.at_ns >= before_ns]
            self._write(ripe)

    def close(self) -> str:
        """Settle everything that is held and return the digest of the whole trace."""
        ripe, self._held = self._held, []
        self._write(ripe)
        return self.digest

    def _write(self, entries: list[TraceEntry]) -> None:
        lines = []
        for entry in sorted(entries, key=lambda entry: entry.key):
            if entry.key <= self._last:
                raise OrderBroken(entry.source, f"used trace number {entry.number} twice or too late", entry.at_ns)
            self._last = entry.key
            settled = encode_line(entry)
            self._digest.update(settled.line)
            self._digest.update(b"\n")
            lines.append(settled)
        self.count += len(lines)
        for sink in self._sinks:
            sink.write(lines)
