"""Availability per Realm class, and how long the downtimes were by what caused them."""

from __future__ import annotations

from typing import Final

from orchestrator.report.availability import Cause
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import charts, words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, el, section, table
from orchestrator.report.summary import Spread

CAUSES: Final[dict[Cause, tuple[str, str]]] = {
    Cause.ACTIVATION: ("info", "all PEs stood still for a live firmware activation"),
    Cause.MIGRATION: ("move", "it was paused to move to another machine (modelled)"),
    Cause.LEASE: ("warn", "its host heard nothing from the control plane and paused it"),
    Cause.FREEZE: ("ice", "its machine froze"),
    Cause.MACHINE_LOST: ("bad", "power, or the RMM, was gone"),
    Cause.REBOOT: ("chaos", "it was stopped for a reboot into new firmware"),
    Cause.RESTART: ("quiet", "it was stopped to be built anew"),
    Cause.BRING_UP: ("quiet", "from being wanted to serving for the first time"),
}
"""Tone and meaning of each cause, in the order in which they are drawn."""


def availability(gathered: Gathering, facts: ReportFacts) -> Markup:
    """One row per class of Realms."""
    rows: list[list[Child]] = []
    for name in sorted(gathered.service.classes):
        own = gathered.service.classes[name]
        share = words.percent(own.served_ns, own.wanted_ns)
        tone = "good" if own.served_ns * 1000 >= own.wanted_ns * 999 else "warn"
        worst = f"{own.worst}, {words.duration(own.worst_ns)}" if own.worst else "none"
        rows.append(
            [
                el("b", name),
                own.realms,
                own.serving,
                [charts.meter(own.served_ns, own.wanted_ns, tone), share],
                words.duration(own.wanted_ns),
                words.duration(own.missed_ns),
                own.gaps,
                worst,
            ]
        )
    lead = (
        "Share of wanted Realm-time that was served. A Realm is wanted from when it is first asked for until an "
        "operator stops it; the time it takes to come up counts as missed, gaps count from when it served."
    )
    heads = ("class", "Realms", "serving at the end", "availability", "wanted", "missed", "gaps", "missed most")
    content = table(heads, rows, numbers=(1, 2, 4, 5, 6), caption="Availability by Realm class") if rows else _none()
    unplaced = gathered.unplaced
    waits = None
    if unplaced.count:
        shown = [
            el("li", el("time", words.clock(at_ns)), f"{realm}: {_refusals(refused)}")
            for at_ns, realm, refused in unplaced.kept
        ]
        waits = [
            el("h3", f"No machine could take a Realm {words.plural(unplaced.count, 'time')}"),
            el("ul", shown, class_="plain"),
        ]
    return section("availability", "Availability", content, waits, lead=lead)


def _refusals(refused: dict[str, int]) -> str:
    return (
        ", ".join(f"{words.plural(count, 'machine')} by {rule}" for rule, count in sorted(refused.items()))
        or "no machine"
    )


def downtime(gathered: Gathering, facts: ReportFacts) -> Markup:
    """Distributions of downtimes by cause, and the longest ones by name."""
    found = gathered.service.downtime
    drawn = [(str(cause), tone, found[cause]) for cause, (tone, _) in CAUSES.items() if cause in found]
    spreads = {**facts.summary.downtime_by_cause, "bring-up": facts.summary.bring_up}
    rows: list[list[Child]] = [
        _row(str(cause), told, spreads[str(cause)]) for cause, (_, told) in CAUSES.items() if cause in found
    ]
    heads = ("cause", "meaning", "events", "median", "99 in 100", "longest", "together")
    lead = "How long Realms stood still, by what stopped them. Bars count events by length; the axis is logarithmic."
    if not drawn:
        return section("downtime", "Downtime", _none(), lead=lead)
    return section(
        "downtime",
        "Downtime",
        charts.distributions(drawn, "Distribution of downtimes by cause; the table below holds its figures."),
        table(heads, rows, numbers=(2, 3, 4, 5, 6), caption="Downtime by cause"),
        _longest(facts),
        lead=lead,
    )


def _row(cause: str, told: str, spread: Spread) -> list[Child]:
    times = [
        words.duration(int(value * 1e6)) for value in (spread.median_ms, spread.p99_ms, spread.max_ms, spread.total_ms)
    ]
    return [el("b", cause), told, spread.events, *times]


def _longest(facts: ReportFacts) -> Child:
    longest = facts.summary.downtime_longest[:10]
    if not longest:
        return None
    rows: list[list[Child]] = [
        [
            el("b", gap.realm),
            words.clock(int(gap.at_s * 1e9)),
            words.duration(int(gap.duration_ms * 1e6)),
            gap.cause,
            gap.machine,
            "lasts to the end of the run" if gap.open else "",
        ]
        for gap in longest
    ]
    heads = ("Realm", "from", "for", "cause", "it ran on", "")
    return [el("h3", "The longest"), table(heads, rows, numbers=(2,), caption="The longest downtimes")]


def _none() -> Markup:
    return el("p", "No Realm was wanted in this run.", class_="empty")
