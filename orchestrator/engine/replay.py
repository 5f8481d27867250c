"""Comparing two traces: the first record at which they part, and where in it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.engine.instant import format_instant


class Difference(Struct, frozen=True):
    """The first record that is not the same: its place (from 0), instant, source and kind, and the fields that differ.

    `left` and `right` are the two lines; None means that this trace has ended. Instant, source and kind are those of
    the earlier of the two records, for that is where the runs parted.
    """

    place: int
    at_ns: int
    source: str
    kind: str
    fields: tuple[str, ...]
    left: bytes | None
    right: bytes | None

    def sentence(self) -> str:
        """The difference in words, with both lines."""
        where = f"record {self.place}, {self.kind} of {self.source} at {format_instant(self.at_ns)} ({self.at_ns} ns)"
        what = f"differs in {', '.join(self.fields)}" if self.fields else "is missing from one of them"
        return f"{where} {what}\n- {_text(self.left)}\n+ {_text(self.right)}"


def first_difference(left: Iterable[bytes], right: Iterable[bytes]) -> Difference | None:
    """The first difference of two traces given as canonical lines, or None if they are equal."""
    for place, (one, other) in enumerate(zip_longest(left, right)):
        if one == other:
            continue
        records = [msgspec.json.decode(line) for line in (one, other) if line is not None]
        first = min(records, key=lambda record: (record["at_ns"], record["priority"], record["source"]))
        fields = tuple(_parted(records[0], records[1], "")) if len(records) == 2 else ()
        return Difference(place, first["at_ns"], first["source"], first["kind"], fields, one, other)
    return None


def _parted(one: Any, other: Any, path: str) -> list[str]:
    """Dotted paths of what differs between two decoded records."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [
            found for key in keys for found in _parted(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if one == other else [path]


def _text(line: bytes | None) -> str:
    return "(the trace has ended)" if line is None else line.decode()
