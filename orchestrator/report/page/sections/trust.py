"""TCB recovery: what was revoked, and how long Realms went without trust."""

from __future__ import annotations

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import charts, words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, el, section, table


def trust(gathered: Gathering, facts: ReportFacts) -> Markup | None:
    """The section; nothing if no firmware was revoked."""
    found = gathered.trust
    if not found.revocations.count:
        return None
    rows: list[list[Child]] = [
        [
            words.clock(one.at_ns),
            _what(one.component, one.version, one.signer),
            ", ".join(one.images),
            one.machines,
            one.realms,
        ]
        for one in found.revocations.kept
    ]
    mean = words.duration(found.regained.total_ns // found.regained.events) if found.regained.events else "never"
    pairs = (
        ("Realms that lost trust", f"{found.lost:,}"),
        ("Regained it", f"{found.regained.events:,}, after {mean} on average"),
        ("The last after", words.duration(found.regained.longest_ns) if found.regained.events else "never"),
        ("Gone before", f"{found.ended:,}"),
        ("Without trust at the end", f"{found.without.value:,}"),
        ("Together without trust", f"{found.untrusted_ns / 3.6e12:,.3f} Realm-hours"),
        ("Secrets withheld", f"{sum(gathered.verdicts.withheld.values()):,}"),
    )
    label = f"Realms without trust over time; {found.lost} lost it, {found.regained.events} regained it."
    picture = charts.stacked([("var(--bad)", found.without.points())], gathered.end_ns, label, 150)
    heads = ("at", "revoked", "images", "machines that ran it", "Realms there")
    return section(
        "trust",
        "TCB recovery",
        table(heads, rows, numbers=(3, 4), caption="Revocations"),
        el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_="facts"),
        el("h3", "Realms without trust"),
        picture,
        lead="From its revocation on the verifier refuses the firmware, and nobody may rely on a Realm that runs on it "
        "until fresh evidence passes over firmware that is good.",
    )


def _what(component: str, version: str, signer: str) -> str:
    return f"{component} {version}" if component else f"all that {signer} signed"
