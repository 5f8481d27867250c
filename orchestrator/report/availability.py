"""When wanted Realms served and when they did not: integer arithmetic over the trace, one event per gap.

A Realm is wanted from the first `realm.wanted` until an operator stops it or the run ends. A gap is a stretch of wanted
time in which no copy served; its cause is what ended the copy before, or `bring-up` when there was none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Life, Line, lives


class Cause(StrEnum):
    """Why a wanted Realm did not serve."""

    BRING_UP = "bring-up"
    """From being wanted to serving for the first time."""
    MIGRATION = "migration"
    ACTIVATION = "activation"
    """All PEs stood still for a live firmware activation."""
    LEASE = "lease"
    """Its host heard nothing from the control plane and paused it."""
    MACHINE_LOST = "machine-lost"
    """Power, or the RMM, was gone."""
    FREEZE = "freeze"
    REBOOT = "reboot"
    """It was stopped for a reboot into new firmware, and started again on a machine that could take it."""
    RESTART = "restart"
    """It was stopped to be built anew, for example after refused evidence."""


_CAUSES: Final = (
    ("activation", Cause.ACTIVATION),
    ("lfa", Cause.ACTIVATION),
    ("migration", Cause.MIGRATION),
    ("export", Cause.MIGRATION),
    ("lease", Cause.LEASE),
    ("machine-lost", Cause.MACHINE_LOST),
    ("rebooted", Cause.MACHINE_LOST),
    ("frozen", Cause.FREEZE),
    ("reboot", Cause.REBOOT),
)
"""Words in the `why` of a still Realm, the first that fits counts; anything else is a restart."""


class Gap(Struct, frozen=True):
    """A stretch of wanted time without service; `open` when the run ended in it. Instants in virtual ns."""

    realm: str
    cause: Cause
    from_ns: int
    until_ns: int
    machine: str
    """Where the copy before ran; empty for a bring-up."""
    open: bool = False

    @property
    def duration_ns(self) -> int:
        return self.until_ns - self.from_ns


class Service(Struct, frozen=True):
    """What wanted Realms got: wanted and served Realm-time in ns, and every gap by beginning."""

    wanted_ns: int
    served_ns: int
    gaps: tuple[Gap, ...]
    serving_at_end: tuple[str, ...]


class _Span(Struct, frozen=True):
    """A stretch of service: half open, with the cause of its end."""

    from_ns: int
    until_ns: int
    machine: str
    cause: Cause


def service(lines: Sequence[Line], end_ns: int) -> Service:
    """Account for all wanted Realms of a trace that ends at `end_ns`."""
    wanted = wanted_times(lines, end_ns)
    spans = _spans(lines, end_ns)
    gaps: list[Gap] = []
    total_ns = served_ns = 0
    for realm, (from_ns, until_ns) in wanted.items():
        own = spans.get(realm, [])
        missing = list(_gaps(realm, own, from_ns, until_ns, end_ns))
        gaps += missing
        total_ns += until_ns - from_ns
        served_ns += until_ns - from_ns - sum(gap.duration_ns for gap in missing)
    serving = [realm for realm in sorted(wanted) if any(span.until_ns > end_ns for span in spans.get(realm, []))]
    gaps.sort(key=lambda gap: (gap.from_ns, gap.realm))
    return Service(total_ns, served_ns, tuple(gaps), tuple(serving))


def wanted_times(lines: Sequence[Line], end_ns: int) -> dict[str, tuple[int, int]]:
    """Wanted time of every Realm: [first wanted, stopped for good or end of the run)."""
    times: dict[str, tuple[int, int]] = {}
    for line in lines:
        if line.kind == "realm.wanted":
            times.setdefault(line.what["realm"], (line.at_ns, end_ns))
        elif line.kind == "realm.state" and line.what["state"] in ("stopping", "stopped"):
            realm = line.what["realm"]
            if realm in times:
                times[realm] = (times[realm][0], min(times[realm][1], line.at_ns))
    return times


def _spans(lines: Sequence[Line], end_ns: int) -> dict[str, list[_Span]]:
    """Stretches of service by Realm, by beginning; one that lasts ends just after the run. Activations cut them."""
    pauses = _pauses(lines)
    spans: dict[str, list[_Span]] = {}
    for life in lives(lines):
        if life.serving_from_ns is not None:
            own = spans.setdefault(life.realm, [])
            own += _cut(_span(life, end_ns), pauses.get(life.machine, ()))
    for own in spans.values():
        own.sort(key=lambda span: (span.from_ns, span.until_ns))
    return spans


def _span(life: Life, end_ns: int) -> _Span:
    until_ns = end_ns + 1 if life.until_ns is None or life.until_ns > end_ns else life.until_ns
    return _Span(life.serving_from_ns or 0, until_ns, life.machine, cause_of(life.cause))


def cause_of(why: str) -> Cause:
    """The cause of a gap that began when a copy stood still for `why`."""
    return next((cause for word, cause in _CAUSES if word in why), Cause.RESTART)


def _pauses(lines: Sequence[Line]) -> dict[str, list[tuple[int, int]]]:
    """Activations by machine as [begin, end): the record stands where the PEs go on."""
    pauses: dict[str, list[tuple[int, int]]] = {}
    for line in lines:
        if line.kind == "firmware.activated":
            pauses.setdefault(line.source, []).append((line.at_ns - line.what["pause_ns"], line.at_ns))
    return pauses


def _cut(span: _Span, pauses: Iterable[tuple[int, int]]) -> list[_Span]:
    """The span without the pauses that lie inside it; one that touches its edge was recorded as its edge."""
    parts, from_ns = [], span.from_ns
    for begin_ns, end_ns in pauses:
        if from_ns < begin_ns < end_ns < span.until_ns:
            parts.append(_Span(from_ns, begin_ns, span.machine, Cause.ACTIVATION))
            from_ns = end_ns
    return [*parts, _Span(from_ns, span.until_ns, span.machine, span.cause)]


def _gaps(realm: str, spans: Sequence[_Span], from_ns: int, until_ns: int, end_ns: int) -> Iterable[Gap]:
    """What the spans leave of [from_ns, until_ns); overlapping spans count once."""
    reached_ns, cause, machine = from_ns, Cause.BRING_UP, ""
    for span in spans:
        if span.from_ns >= until_ns:
            break
        if span.from_ns > reached_ns:
            yield Gap(realm, cause, reached_ns, span.from_ns, machine)
        if span.until_ns >= reached_ns:
            reached_ns, cause, machine = span.until_ns, span.cause, span.machine
    if reached_ns < until_ns:
        yield Gap(realm, cause, reached_ns, until_ns, machine, open=until_ns == end_ns)
