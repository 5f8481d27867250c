"""From the trace of a run to the rows of its tables; the columns are told in `orchestrator.scripting.columns`.

Pure: rows depend on the trace, and on where the run ended, alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from orchestrator.chaos.history import Line
from orchestrator.report.availability import Cause, Gap, service, wanted_times

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
PPM = 1_000_000

Row = dict[str, Any]


def events(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every record of the trace, in total order."""
    for line in lines:
        yield {
            "at_s": _s(line.at_ns),
            "at_ns": line.at_ns,
            "source": line.source,
            "kind": line.kind,
            "realm": line.what.get("realm"),
            "machine": line.what.get("machine") or (None if line.source == "control" else line.source),
            "what": json.dumps(line.what, separators=(",", ":"), sort_keys=True),
        }


def realms(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every Realm that was ever wanted, in the order in which they were."""
    wanted, by_realm = wanted_times(lines, end_ns), _by_realm(service(lines, end_ns).gaps)
    kinds = {line.what["realm"]: line.what["kind"] for line in reversed(lines) if line.kind == "realm.wanted"}
    ran_on = {line.what["realm"]: line.source for line in lines if line.kind == "realm.live"}
    restarts = Counter(line.what["realm"] for line in lines if line.kind == "realm.restart")
    judged = Counter((line.what["realm"], line.what["passed"]) for line in lines if line.kind == "realm.verdict")
    for realm, (from_ns, until_ns) in wanted.items():
        gaps = by_realm.get(realm, [])
        bring_up = next((gap for gap in gaps if gap.cause is Cause.BRING_UP), None)
        serving_ns = from_ns if bring_up is None else None if bring_up.until_ns >= until_ns else bring_up.until_ns
        served_ns = until_ns - from_ns - sum(gap.duration_ns for gap in gaps)
        outages = [gap for gap in gaps if gap.cause is not Cause.BRING_UP]
        yield {
            "realm": realm,
            "kind": kinds[realm],
            "machine": ran_on.get(realm),
            "wanted_s": _s(from_ns),
            "serving_s": None if serving_ns is None else _s(serving_ns),
            "bring_up_s": None if serving_ns is None else _s(serving_ns - from_ns),
            "until_s": _s(until_ns),
            "served_s": _s(served_ns),
            "availability_ppm": served_ns * PPM // (until_ns - from_ns) if until_ns > from_ns else None,
            "outages": len(outages),
            "downtime_s": _s(sum(gap.duration_ns for gap in outages)),
            "restarts": restarts[realm],
            "attestations": judged[realm, True],
            "refusals": judged[realm, False],
            "serving": until_ns == end_ns and served_ns > 0 and not any(gap.open for gap in gaps),
        }


def outages(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every stretch in which a wanted Realm did not serve, by beginning."""
    for gap in service(lines, end_ns).gaps:
        yield {
            "realm": gap.realm,
            "cause": gap.cause.value,
            "from_s": _s(gap.from_ns),
            "until_s": _s(gap.until_ns),
            "duration_ms": _ms(gap.duration_ns),
            "machine": gap.machine or None,
            "open": gap.open,
        }


def migrations(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every migration session, by opening."""
    ended = {line.what["session"]: line for line in lines if line.kind == "migration.finished"}
    rounds = Counter(line.what["session"] for line in lines if line.kind == "migration.round")
    by_realm = _by_realm(service(lines, end_ns).gaps)
    for line in lines:
        if line.kind != "migration.started":
            continue
        what, end = line.what, ended.get(line.what["session"])
        until_ns = end_ns if end is None else end.at_ns
        pauses = [
            gap.duration_ns
            for gap in by_realm.get(what["realm"], [])
            if gap.cause is Cause.MIGRATION and line.at_ns <= gap.from_ns <= until_ns and not gap.open
        ]
        yield {
            "session": what["session"],
            "realm": what["realm"],
            "source": what["source"],
            "target": what["target"],
            "why": what["why"],
            "opened_s": _s(line.at_ns),
            "finished_s": None if end is None else _s(end.at_ns),
            "duration_s": None if end is None else _s(end.at_ns - line.at_ns),
            "downtime_ms": _ms(sum(pauses)) if pauses else None,
            "sent_bytes": 0 if end is None else end.what["sent_bytes"],
            "rounds": rounds[what["session"]],
            "outcome": None if end is None else end.what["outcome"],
        }


def attestations(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every verdict over a Realm's evidence, by record."""
    for line in lines:
        if line.kind != "realm.verdict":
            continue
        what = line.what
        yield {
            "at_s": _s(what["replied_ns"]),
            **{key: what[key] for key in ("realm", "incarnation", "machine", "passed", "why", "reason", "detail")},
            "wait_ms": _ms(what["started_ns"] - what["arrived_ns"]),
            "service_ms": _ms(what["done_ns"] - what["started_ns"]),
            "total_ms": _ms(what["replied_ns"] - what["arrived_ns"]),
            "rim": what["rim"],
        }


def activations(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every firmware image that began to run, live or by a boot, and every refusal."""
    for line in lines:
        what = line.what
        shared = {"at_s": _s(line.at_ns), "machine": line.source, "component": what.get("component")}
        if line.kind == "firmware.activated":
            pause = _ms(what["pause_ns"])
            yield {**shared, "version": what["version"], "method": "live", "pause_ms": pause, "status": "success"}
        elif line.kind == "firmware.booted":
            yield {**shared, "version": what["version"], "method": "boot", "pause_ms": None, "status": "success"}
        elif line.kind == "firmware.refused":
            yield {**shared, "version": None, "method": "live", "pause_ms": None, "status": what["status"]}


def faults(lines: Sequence[Line], end_ns: int) -> Iterator[Row]:
    """Every fault that struck, by beginning."""
    healed = {line.what["fault"]: line.at_ns for line in lines if line.kind == "fault.healed"}
    for line in lines:
        if line.kind == "fault.injected":
            until_ns = healed.get(line.what["fault"])
            yield {
                "fault": line.what["fault"],
                "kind": line.what["kind"],
                "from_s": _s(line.at_ns),
                "until_s": None if until_ns is None else _s(until_ns),
                "targets": ",".join(line.what["targets"]),
                "peers": ",".join(line.what["peers"]),
            }


ROWS: Final[dict[str, Callable[[Sequence[Line], int], Iterator[Row]]]] = {
    "events": events,
    "realms": realms,
    "outages": outages,
    "migrations": migrations,
    "attestations": attestations,
    "activations": activations,
    "faults": faults,
}
"""Rows of each table of `columns.TABLES`, from a trace that ended at `end_ns`."""


def _by_realm(gaps: Iterable[Gap]) -> dict[str, list[Gap]]:
    found: dict[str, list[Gap]] = {}
    for gap in gaps:
        found.setdefault(gap.realm, []).append(gap)
    return found


def _s(at_ns: int) -> float:
    return at_ns / NS_PER_S


def _ms(duration_ns: int) -> float:
    return duration_ns / NS_PER_MS
