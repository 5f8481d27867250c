"""The head of the page: what run this is, whether it is good, and the figures that people ask for first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Markup, chip, el

TONES: Final = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.UNKNOWN: "warn"}


def overview(gathered: Gathering, facts: ReportFacts) -> Markup:
    """Name, verdict, figures."""
    ending = facts.ending
    lasted = words.duration(ending.end_ns)
    stopped = ", interrupted" if ending.interrupted else ""
    eyebrow = el(
        "p", _mark(), f"Realmfleet run · seed {ending.seed} · {lasted} of virtual time{stopped}", class_="eyebrow"
    )
    tiles = [
        el("div", el("dt", name), el("dd", value, el("small", note) if note else None, class_=tone or None))
        for name, value, note, tone in _tiles(gathered, facts)
    ]
    return el(
        "header",
        eyebrow,
        el("h1", ending.name, _verdict(facts.verdicts)),
        el("p", facts.cluster.description, class_="about") if facts.cluster.description else None,
        el("dl", tiles, class_="tiles"),
    )


def _verdict(verdicts: object) -> Markup:
    found: list[Verdict] = list(verdicts)  # type: ignore[call-overload]
    failed = sum(verdict.outcome is Outcome.FAIL for verdict in found)
    unknown = sum(verdict.outcome is Outcome.UNKNOWN for verdict in found)
    if failed:
        return chip(f"{words.plural(failed, 'checker')} failed", "bad")
    if unknown:
        return chip(f"{words.plural(unknown, 'checker')} could not tell", "warn")
    return chip(f"all {len(found)} checkers pass", "good")


def _tiles(gathered: Gathering, facts: ReportFacts) -> Iterator[tuple[str, str, str, str]]:
    """(name, value, note, tone)."""
    summary = facts.summary
    kinds = len(gathered.service.classes)
    yield "Machines", f"{summary.machines:,}", words.plural(len(facts.cluster.racks), "rack"), ""
    missing = summary.realms_wanted - summary.realms_running
    yield (
        "Realms serving",
        f"{summary.realms_running:,}",
        f"of {summary.realms_wanted:,} ever wanted, {words.plural(kinds, 'class').replace('classs', 'classes')}",
        "" if missing else "good",
    )
    availability = summary.availability
    share = f"{availability.ppm // 100 / 100:.2f} %" if availability.ppm is not None else "–"
    yield "Availability", share, "of wanted Realm-time", ""
    downtime = summary.downtime
    yield (
        "Longest downtime",
        words.duration(int(downtime.max_ms * 1e6)) if downtime.events else "none",
        words.plural(downtime.events, "event"),
        "",
    )
    refused = summary.attestations.refused + summary.platform_attestations.refused
    passed = summary.attestations.passed + summary.platform_attestations.passed
    yield "Attestations", f"{passed:,}", f"passed, {refused:,} refused", "warn" if refused else ""
    lost = f"moved, {summary.migrations_failed:,} not"
    yield "Migrations", f"{summary.migrations:,}", lost, "warn" if summary.migrations_failed else ""
    refused_firmware = f", {summary.activations_refused} refused" if summary.activations_refused else ""
    yield (
        "Live activations",
        f"{summary.activations:,}",
        f"{words.plural(len(summary.rollouts), 'rollout')}{refused_firmware}",
        "",
    )
    yield (
        "Faults",
        f"{summary.faults:,}",
        f"{words.plural(summary.machines_lost, 'machine')} lost, {summary.realm_restarts:,} Realms restarted",
        "",
    )


def _mark() -> Markup:
    """The mark of the live page: a machine with three Realms."""
    return el(
        "svg",
        el("rect", x=1, y=1, width=30, height=30, rx=9, fill="none", stroke="currentColor", stroke_opacity=".35"),
        el("circle", cx=10, cy=11, r=4, fill="var(--info)"),
        el("circle", cx=22, cy=11, r=4, fill="var(--good)"),
        el("circle", cx=16, cy=22, r=4, fill="var(--move)"),
        viewBox="0 0 32 32",
        class_="mark",
        aria_hidden="true",
    )
