"""`realmfleet explain RUN OBJECT`: what happened to a Realm, machine, session, rollout or fault, and why.

Nothing is remembered for this: the answer is every record that names the object, in order, with the reasons that the
decisions themselves kept (counts of refusals and a few samples).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from orchestrator.engine.instant import format_instant
from orchestrator.errors import UserMistake


class Event(Struct, frozen=True):
    """One trace record that names the object; `what` holds its fields as they stand in the trace."""

    at_ns: int
    source: str
    kind: str
    what: dict[str, Any]


def explain(lines: Iterable[bytes], name: str) -> list[Event]:
    """Every record that `name` made or that names it; a name that never occurs is the user's mistake."""
    events: list[Event] = []
    known: set[str] = set()
    for line in lines:
        record = json.loads(line)
        names = set(_names(record["what"])) | {record["source"]}
        known |= names
        if name in names:
            events.append(Event(record["at_ns"], record["source"], record["kind"], record["what"]))
    if not events:
        close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "names are those of the cluster file and the trace"
        raise UserMistake(f"nothing in this run is called {name}", hint)
    return events


def _names(value: Any) -> Iterator[str]:
    """Short strings inside a record: names of Realms, machines, sessions, faults; keys of maps count too."""
    if isinstance(value, str):
        if 0 < len(value) <= 64:
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            if isinstance(item, dict):
                yield from (inner for inner in item if isinstance(inner, str))
            yield from _names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def sentence(event: Event) -> str:
    """One line for people: instant, who said it, kind, and the fields that carry something."""
    told = "  ".join(f"{key}={_short(value)}" for key, value in event.what.items() if value not in ("", [], {}, None))
    return f"{format_instant(event.at_ns)}  {event.source:<14} {event.kind:<22} {told}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text if len(text) <= 120 else text[:117] + "..."
