"""The checkers: what each judges, what it found, and the few records that show it."""

from __future__ import annotations

from orchestrator.chaos.checkers import CHECKERS
from orchestrator.chaos.verdict import Outcome
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, el, section, table
from orchestrator.report.page.sections.overview import TONES
from orchestrator.report.sentences import say


def checkers(gathered: Gathering, facts: ReportFacts) -> Markup:
    """One row per checker."""
    rows: list[list[Child]] = []
    for verdict in facts.verdicts:
        evidence = None
        if verdict.evidence and verdict.outcome is not Outcome.PASS:
            lines = [
                el(
                    "li",
                    el("time", words.clock(line.at_ns)),
                    f"{line.source}: {say(line.kind, line.source, line.what)}",
                )
                for line in verdict.evidence
            ]
            evidence = el("ul", lines, class_="plain")
        rows.append(
            [
                chip(verdict.outcome.value, TONES[verdict.outcome]),
                el("code", verdict.name),
                [verdict.detail, evidence],
                _judges(verdict.name),
            ]
        )
    lead = (
        "Each judges the recorded trace alone, so that a stored run can be judged again. What never arose passes; the "
        "sentence counts how often it was judged."
    )
    return section(
        "checkers",
        "Checkers",
        table(("verdict", "checker", "what was found", "judges that"), rows, caption="Verdicts of the checkers"),
        lead=lead,
    )


def _judges(name: str) -> str:
    checker = CHECKERS.get(name)
    return " ".join(((checker.__doc__ if checker else "") or "").strip().split("\n\n")[0].split())
