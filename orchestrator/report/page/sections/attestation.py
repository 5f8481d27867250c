"""Verdicts of the verifier: counts by reason and trigger, over time, the trust vector, how long they took."""

from __future__ import annotations

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import charts, words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, details, el, section, table

TIERS = (("affirming", "good"), ("warning", "warn"), ("contraindicated", "bad"), ("none", "quiet"))


def attestation(gathered: Gathering, facts: ReportFacts) -> Markup:
    """The section."""
    found = gathered.verdicts
    lead = (
        "Every token was signed by its simulated platform and RMM and verified for real: signatures, binding of "
        "Realm to platform, freshness, reference values, policy."
    )
    if not found.passed and not found.refused and not found.platforms_passed and not found.platforms_refused:
        return section("attestation", "Attestation", el("p", "Nothing was attested.", class_="empty"), lead=lead)
    picture = charts.bars(
        found.over_time,
        ("good", "bad"),
        gathered.end_ns,
        f"Verdicts over Realms over time: {found.passed} passed, {found.refused} refused.",
    )
    legend = charts.legend([("var(--good)", "passed"), ("var(--bad)", "refused")])
    return section(
        "attestation",
        "Attestation",
        _figures(gathered),
        el("h3", "Verdicts over Realms"),
        picture,
        legend,
        el("div", el("div", _triggers(gathered)), el("div", _reasons(gathered)), class_="two"),
        _claims(gathered),
        _refusals(gathered),
        lead=lead,
    )


def _figures(gathered: Gathering) -> Markup:
    found = gathered.verdicts
    withheld = sum(found.withheld.values())
    pairs = (
        ("Realms", f"{found.passed:,} passed, {found.refused:,} refused"),
        ("Platforms", f"{found.platforms_passed:,} passed, {sum(found.platforms_refused.values()):,} refused"),
        ("Secrets", f"{found.secrets:,} released, {withheld:,} withheld"),
        ("Verifier, from arrival to reply", _times(found.took.events, found.took.total_ns, found.took.longest_ns)),
        ("Waited in its queue", _times(found.waited.events, found.waited.total_ns, found.waited.longest_ns)),
    )
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_="facts")


def _times(events: int, total_ns: int, longest_ns: int) -> str:
    return f"{words.duration(total_ns // events)} on average, {words.duration(longest_ns)} at most" if events else "–"


def _triggers(gathered: Gathering) -> Child:
    by = gathered.verdicts.by_trigger
    rows: list[list[Child]] = [[el("b", why), by[why, True], by[why, False]] for why in sorted({why for why, _ in by})]
    if not rows:
        return None
    return [
        el("h3", "By what asked for it"),
        table(("asked for by", "passed", "refused"), rows, numbers=(1, 2), caption="Verdicts by trigger"),
    ]


def _reasons(gathered: Gathering) -> Child:
    found = gathered.verdicts
    rows: list[list[Child]] = [[chip("passed", "good"), "Realm", found.passed]]
    rows += [[chip(reason, "bad"), "Realm", count] for reason, count in sorted(found.by_reason.items())]
    rows += [[chip("passed", "good"), "platform", found.platforms_passed]]
    rows += [[chip(reason, "bad"), "platform", count] for reason, count in sorted(found.platforms_refused.items())]
    rows += [[chip(f"withheld: {reason}", "warn"), "secret", count] for reason, count in sorted(found.withheld.items())]
    return [
        el("h3", "By what came out"),
        table(("verdict", "over a", "times"), rows, numbers=(2,), caption="Verdicts by reason"),
    ]


def _claims(gathered: Gathering) -> Child:
    """Folded away while every claim is affirmed."""
    tiers = gathered.verdicts.tiers
    claims = sorted({claim for claim, _ in tiers})
    if not claims:
        return None
    known = [tier for tier, _ in TIERS if any(tiers[claim, tier] for claim in claims)]
    known += sorted({tier for _, tier in tiers} - {tier for tier, _ in TIERS})
    rows: list[list[Child]] = [[el("code", claim), *(tiers[claim, tier] or "–" for tier in known)] for claim in claims]
    heads = ("claim of the trust vector", *known)
    whole = known == ["affirming"]
    told = f"{words.plural(len(claims), 'claim')}, {'all affirming' if whole else 'not all affirming'}"
    claim_table = table(heads, rows, numbers=range(1, len(heads)), caption="Verdicts claim by claim")
    return details([el("b", "Claim by claim"), el("span", told)], claim_table, open_=not whole)


def _refusals(gathered: Gathering) -> Child:
    refusals = gathered.verdicts.refusals
    if not refusals.count:
        return None
    rows: list[list[Child]] = [
        [words.clock(one.at_ns), el("b", one.who), one.where, chip(one.reason, "bad"), one.detail]
        for one in refusals.kept
    ]
    more = el("p", f"and {refusals.left_out:,} more in the trace", class_="note") if refusals.left_out else None
    heads = ("at", "who", "where", "reason", "in words")
    return [el("h3", "Refused"), table(heads, rows, caption="Refused evidence"), more]
