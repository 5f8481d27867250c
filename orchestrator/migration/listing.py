"""What a run's trace says about each migration (modelled): rounds, bytes, dirty rate, downtime and outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.chaos.history import Line

S = 1_000_000_000


def migrations(trace: Iterable[Line]) -> list[dict[str, Any]]:
    """One row per session that was started, in order; `downtime_ns` is None while the Realm stands still."""
    rows: dict[str, dict[str, Any]] = {}
    moving: dict[tuple[str, int], dict[str, Any]] = {}
    for line in trace:
        what = line.what
        if line.kind == "migration.started":
            row = {key: what[key] for key in ("session", "realm", "incarnation", "source", "target", "why")}
            row |= {"opened_ns": line.at_ns, "rounds": 0, "dirty_bytes_per_s": 0, "paused_for": "", "sent_bytes": 0}
            row |= {"still_ns": None, "downtime_ns": None, "took_ns": None, "outcome": "open"}
            rows[what["session"]] = moving[what["realm"], what["incarnation"]] = row
        elif line.kind == "migration.paused":
            rows[what["session"]] |= {
                "rounds": what["rounds"], "dirty_bytes_per_s": what["dirty_bytes_per_s"], "paused_for": what["why"],
            }  # fmt: skip
        elif line.kind in ("realm.still", "realm.live"):
            _downtime(moving.get((what["realm"], what["incarnation"])), line)
        elif line.kind == "migration.finished" and what["session"] in rows:
            row = rows[what["session"]]
            row |= {"outcome": what["outcome"], "sent_bytes": what["sent_bytes"]}
            row["took_ns"] = line.at_ns - row["opened_ns"]
            if moving.get((what["realm"], what["incarnation"])) is row:
                del moving[what["realm"], what["incarnation"]]
    return list(rows.values())


def _downtime(row: dict[str, Any] | None, line: Line) -> None:
    """From the first instant at which the Realm stands still to the next at which it runs, wherever that is."""
    if row is None or row["downtime_ns"] is not None:
        return
    if line.kind == "realm.still":
        row["still_ns"] = row["still_ns"] or line.at_ns
    elif row["still_ns"] is not None:
        row["downtime_ns"] = line.at_ns - row["still_ns"]
