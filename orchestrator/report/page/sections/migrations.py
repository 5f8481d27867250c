"""Migrations (modelled): one part per session, with rounds, bytes, dirty rate, downtime, verdicts and reason."""

from __future__ import annotations

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.gather.sessions import Session
from orchestrator.report.page import charts, words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, details, el, section, table

OUTCOMES = {"moved": "good", "resumed": "warn", "open": "info", "lost": "bad"}


def migrations(gathered: Gathering, facts: ReportFacts) -> Markup | None:
    """The section; nothing if no move was ever asked for."""
    found = gathered.sessions
    if not found.count and not found.declined:
        return None
    told = found.told()
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(found.outcomes.items()))
    lead = (
        "No Arm ABI for Realm migration is public: protocol, costs and these numbers are modelled. Page contents that "
        "exist were really sealed and opened (AES-256-GCM). Downtime runs from the pause at the source to where the "
        "Realm runs again."
    )
    left = found.count - len(told)
    more = (
        el(
            "p",
            f"{left:,} more sessions moved their Realm with a shorter downtime and are not told here.",
            class_="note",
        )
        if left
        else None
    )
    figures = el(
        "p",
        f"{words.plural(found.count, 'session')}: {counts or 'none has ended'}; {words.size(found.sent_bytes)} sent.",
    )
    return section(
        "migrations",
        "Migrations",
        figures,
        _declined(gathered),
        [_session(one, open_=len(told) == 1) for one in told],
        more,
        lead=lead,
        badge=el("span", "modelled", class_="modelled"),
    )


def _session(one: Session, *, open_: bool) -> Markup:
    downtime = "no downtime" if one.downtime_ns is None else f"downtime {words.duration(one.downtime_ns)}"
    took = "not ended" if one.ended_ns is None else f"took {words.duration(one.ended_ns - one.opened_ns)}"
    summary = [
        el("b", one.session),
        el("span", f"{one.realm}: {one.source} → {one.target}"),
        chip(one.outcome, OUTCOMES.get(one.outcome, "bad")),
        el("span", f"{downtime}, {took}"),
    ]
    pairs = [
        ("Asked for by", one.why),
        ("Opened at", words.clock(one.opened_ns)),
        ("Rounds while it ran", str(one.round_count) if one.round_count else "none: stopped, then copied"),
        ("Sent", words.size(one.sent_bytes)),
        ("Dirty rate", f"{words.size(one.dirty_bytes_per_s)}/s" if one.round_count else "not measured"),
        ("Paused because", one.paused_for or "stop-copy"),
        ("Crossed during the pause", words.size(one.rest_bytes) if one.round_count else "everything"),
        ("Ends", ", ".join(f"{role} {state}" for role, state in sorted(one.states.items())) or "none heard of"),
    ]
    if one.abort:
        pairs.append(("Aborted because", one.abort))
    facts = el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_="facts")
    verdicts = [el("li", el("time", words.clock(at_ns)), f"{who}: {what}") for at_ns, who, what in one.verdicts]
    return details(
        summary,
        facts,
        _rounds(one),
        el("ul", verdicts, class_="plain") if verdicts else None,
        open_=open_,
        id_=f"session-{one.session}",
    )


def _rounds(one: Session) -> Child:
    if not one.rounds:
        return None
    most = max(found.sent_bytes for found in one.rounds)
    rows: list[list[Child]] = [
        [
            found.number,
            words.clock(found.at_ns),
            [charts.meter(found.sent_bytes, most, "info"), words.size(found.sent_bytes)],
            words.duration(found.lasts_ns),
            words.size(found.dirty_bytes),
            f"{found.throttle_ppm / 10_000:.0f} %" if found.throttle_ppm else "no",
        ]
        for found in one.rounds
    ]
    heads = ("round", "ended", "sent", "lasted", "dirty at its end", "vCPUs slowed")
    left = one.round_count - len(one.rounds)
    more = el("p", f"and {left} more rounds", class_="note") if left else None
    return [table(heads, rows, numbers=(0, 3, 4, 5), caption=f"Rounds of {one.session}"), more]


def _declined(gathered: Gathering) -> Child:
    declined = gathered.sessions.declined
    if not declined:
        return None
    rows: list[list[Child]] = [
        [el("code", rule), why, count]
        for (rule, why), count in sorted(declined.items(), key=lambda item: (-item[1], item[0]))[:20]
    ]
    return [
        el("h3", "Asked for and not begun"),
        table(("rule", "why", "times"), rows, numbers=(2,), caption="Declined moves"),
    ]
