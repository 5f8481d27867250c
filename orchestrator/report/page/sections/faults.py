"""Faults that were injected, what operators asked for, and what machines refused."""

from __future__ import annotations

from orchestrator.chaos.catalogue import CATALOGUE
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, el, section, table

LISTED = 40


def faults(gathered: Gathering, facts: ReportFacts) -> Markup | None:
    """Each fault with what it does; nothing if there was none."""
    found = gathered.happenings.lanes["faults"]
    skipped = gathered.happenings.skipped
    if not found.count and not skipped.count:
        return None
    rows: list[list[Child]] = []
    for bar in found.kept[:LISTED]:
        until = "not healed" if bar.until_ns is None else words.duration(bar.until_ns - bar.from_ns)
        row = CATALOGUE.get(bar.name)
        rows.append(
            [
                words.clock(bar.from_ns),
                el("code", bar.name),
                bar.title.removeprefix(f"{bar.name} strikes "),
                until,
                row.does if row else "",
            ]
        )
    left = found.count - len(rows)
    more = el("p", f"and {left:,} more", class_="note") if left else None
    lost = sum(gathered.lost_messages.values())
    messages = el("p", f"Links lost {words.plural(lost, 'message')}.", class_="note") if lost else None
    passed = [
        el("li", el("time", words.clock(at_ns)), f"{kind} struck nobody: {why}") for at_ns, kind, why in skipped.kept
    ]
    return section(
        "faults",
        "Faults",
        table(("at", "kind", "struck", "for", "what it does"), rows, numbers=(3,), caption="Faults") if rows else None,
        el("ul", passed, class_="plain") if passed else None,
        more,
        messages,
        lead="Chaos tells the control plane nothing: it notices by missed answers, after its own delay.",
    )


def operators(gathered: Gathering, facts: ReportFacts) -> Markup | None:
    """What operators asked of a live fleet, and orders that machines refused; nothing if neither was."""
    asked, refused = gathered.happenings.asked, gathered.refused
    parts: list[Child] = []
    if asked.count:
        rows: list[list[Child]] = [
            [
                words.clock(one.at_ns),
                el("code", one.asked),
                chip("done", "good") if one.accepted else chip("refused", "warn"),
                one.told,
            ]
            for one in asked.kept
        ]
        parts.append(table(("at", "asked", "", "what came of it"), rows, caption="What operators asked for"))
        if asked.left_out:
            parts.append(el("p", f"and {asked.left_out:,} more", class_="note"))
    if refused:
        rows = [
            [el("code", command), el("code", code), count]
            for (command, code), count in sorted(refused.items())[:LISTED]
        ]
        parts += [
            el("h3", "Orders that machines refused"),
            table(("order", "code", "times"), rows, numbers=(2,), caption="Refused orders"),
        ]
    if not parts:
        return None
    return section(
        "operators",
        "Operators and orders",
        parts,
        lead="Inputs from outside are journaled before they take effect; a replay reads them again.",
    )
