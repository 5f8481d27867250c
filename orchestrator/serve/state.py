"""The picture that the page holds: the whole fleet once, then what changed, made once for all who watch.

Changes are found by comparing two snapshots in the server's thread. Few are kept: who falls behind gets the whole
picture again, so that a slow reader costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from orchestrator.serve.views import Snapshot

KEPT = 128
"""Changes that a reader may be behind."""

_ENCODER = msgspec.json.Encoder()


class Picture:
    """The last snapshot with the truth beside it, and the changes that led to it."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the last picture."""
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}
        self._head: dict[str, Any] = {}
        self._changes: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._whole: tuple[int, bytes] = (-1, b"")

    def take(self, shot: Snapshot, truth: Mapping[str, str], executes: Mapping[str, Mapping[str, bool]]) -> None:
        """Move on to a snapshot; `truth` says of machines what they are, `executes` of Realms where they run."""
        rows = _rows(shot, truth, executes)
        changed = {sort: _changed(self._rows.get(sort, {}), now) for sort, now in rows.items()}
        gone = {sort: sorted(before.keys() - rows[sort].keys()) for sort, before in self._rows.items()}
        self._rows = rows
        self._head = {"now_ns": shot.now_ns, "pace": msgspec.to_builtins(shot.pace), "lines": shot.lines}
        self.number += 1
        change = {
            **self._head,
            "number": self.number,
            **{sort: found for sort, found in changed.items() if found},
            "gone": {sort: names for sort, names in gone.items() if names},
        }
        self._changes.append((self.number, _ENCODER.encode(change)))

    def since(self, number: int) -> tuple[list[bytes], bool]:
        """Changes after picture `number`, or the whole picture (True) when these are not kept any more."""
        if number == self.number:
            return [], False
        if number and self._changes and self._changes[0][0] <= number + 1:
            return [change for place, change in self._changes if place > number], False
        return [self.whole()], True

    def whole(self) -> bytes:
        """Everything, encoded once per picture."""
        if self._whole[0] != self.number:
            rows = {sort: list(named.values()) for sort, named in self._rows.items()}
            self._whole = (self.number, _ENCODER.encode({**self._head, "number": self.number, **rows}))
        return self._whole[1]


def _rows(
    shot: Snapshot, truth: Mapping[str, str], executes: Mapping[str, Mapping[str, bool]]
) -> dict[str, dict[str, dict[str, Any]]]:
    rows = {
        sort: {row.name: msgspec.structs.asdict(row) for row in found}
        for sort, found in (
            ("machines", shot.machines),
            ("realms", shot.realms),
            ("rollouts", shot.rollouts),
            ("faults", shot.faults),
            ("sessions", shot.sessions),
        )
    }
    for name, row in rows["machines"].items():
        row["truth"] = truth.get(name, "up")
    for name, row in rows["realms"].items():
        row["executes"] = dict(executes.get(name, {}))
    return rows


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return [row for name, row in now.items() if before.get(name) != row]
