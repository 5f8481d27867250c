"""The file: head, colours, style, sections, script. Nothing is fetched, and a policy in it forbids that."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import palette
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Markup, el, join, section
from orchestrator.report.page.sections.assumptions import assumptions
from orchestrator.report.page.sections.attestation import attestation
from orchestrator.report.page.sections.availability import availability, downtime
from orchestrator.report.page.sections.checkers import checkers
from orchestrator.report.page.sections.faults import faults, operators
from orchestrator.report.page.sections.firmware import firmware, rollouts
from orchestrator.report.page.sections.migrations import migrations
from orchestrator.report.page.sections.overview import overview
from orchestrator.report.page.sections.provenance import provenance
from orchestrator.report.page.sections.trust import trust
from orchestrator.report.page.timeline import timeline

HERE: Final = Path(__file__).parent


def _timeline(gathered: Gathering, facts: ReportFacts) -> Markup:
    lead = "Machines are coloured by the RMM they run; a line under one says what the control plane believed of it."
    return section("timeline", "Time line", timeline(gathered), lead=lead)


SECTIONS: Final[tuple[tuple[str, str, Callable[[Gathering, ReportFacts], Markup | None]], ...]] = (
    ("timeline", "Time line", _timeline),
    ("checkers", "Checkers", checkers),
    ("availability", "Availability", availability),
    ("downtime", "Downtime", downtime),
    ("attestation", "Attestation", attestation),
    ("firmware", "Firmware", firmware),
    ("rollouts", "Rollouts", rollouts),
    ("trust", "TCB recovery", trust),
    ("migrations", "Migrations", migrations),
    ("faults", "Faults", faults),
    ("operators", "Operators", operators),
    ("assumptions", "Assumed timing", assumptions),
    ("provenance", "Provenance", provenance),
)
"""Sections in order: anchor, name in the menu, and who makes it. One that has nothing to tell is left out."""


def document(gathered: Gathering, facts: ReportFacts) -> str:
    """The whole page; the same bytes for the same run."""
    made = [
        (anchor, name, content) for anchor, name, make in SECTIONS if (content := make(gathered, facts)) is not None
    ]
    menu = [el("a", name, href=f"#{anchor}") for anchor, name, _ in made]
    script = Markup((HERE / "timeline.js").read_text(encoding="utf-8"))
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy(script)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="generator", content=f"realmfleet {facts.ending.versions.get('realmfleet', '')}"),
        el("title", f"{facts.ending.name}, seed {facts.ending.seed} · Realmfleet"),
        el("style", Markup(palette.css() + (HERE / "style.css").read_text(encoding="utf-8"))),
    )
    body = el(
        "body",
        el("a", "Skip to the report", href="#report", class_="skip"),
        el("div", overview(gathered, facts), class_="top"),
        el("nav", el("div", menu), aria_label="Sections"),
        el("main", [content for _, _, content in made], id="report"),
        el(
            "footer",
            "Machines are simulated; what is modelled, and how far it can be trusted, stands under Assumed timing.",
        ),
        el("script", script),
    )
    return join(Markup("<!doctype html>\n"), el("html", head, body, lang="en"), Markup("\n"))


def policy(script: str) -> str:
    """What a browser may do with this page: run this script and no other, and fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fixed = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return f"{fixed}; script-src 'sha256-{digest}'"
