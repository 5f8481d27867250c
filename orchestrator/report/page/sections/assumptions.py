"""The modelled durations that the run used, each with its source and how far it can be trusted."""

from __future__ import annotations

from collections import Counter
from typing import Final

from cca_machine.costs import CALL_COSTS, CALL_NAMES, COSTS, Confidence, Cost, reference_timing
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page import words
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Child, Markup, chip, details, el, section, table

TONES: Final = {
    Confidence.MEASURED: "good",
    Confidence.PUBLISHED: "good",
    Confidence.ANALOGUE: "info",
    Confidence.DERIVED: "info",
    Confidence.ASSUMED: "warn",
}

FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "rmi": ("realm.built",),
    "host": ("realm.built", "machine.booted"),
    "rsi": ("realm.evidence",),
    "guest": ("realm.live",),
    "boot": ("machine.booted",),
    "pod": ("pod.step", "pod.refused"),
    "lfa": ("firmware.activated", "firmware.refused", "firmware.booted"),
    "crypto": ("migration.started",),
    "migration": ("migration.started",),
}
"""Records that show that costs of a family were charged, by the first word of their names."""


def assumptions(gathered: Gathering, facts: ReportFacts) -> Markup:
    """Costs that were charged, then the rest folded away, then what the cluster file set of the services around."""
    timing = facts.cluster.timing
    values = reference_timing(timing.scale, timing.override)
    used = [cost for cost in COSTS if charged(cost, gathered)]
    rest = [cost for cost in COSTS if cost not in used]
    trust = Counter(cost.confidence for cost in used if cost.name not in timing.override)
    counted = ", ".join(f"{trust[level]} {level}" for level in Confidence if trust[level])
    lead = (
        "No timing of CCA on RME silicon is public. Read results as bands (timing.scale at 30 %, 100 %, 300 %), "
        "not as predictions."
    )
    told = f"This run used {len(used)} modelled durations ({counted or 'all overridden'})"
    told += f", scaled to {timing.scale / 10_000:g} %" if timing.scale != 1_000_000 else ""
    told += f", {len(timing.override)} of them set by the cluster file." if timing.override else "."
    return section(
        "assumptions",
        "Assumed timing",
        el("p", told),
        details(
            [el("b", "The durations that were used"), el("span", "with source and confidence")],
            _table(used, values, facts, "Modelled durations that were used"),
        ),
        details(f"{len(rest)} that this run did not need", _table(rest, values, facts, "Modelled durations not used"))
        if rest
        else None,
        el("h3", "Set by the cluster file, or its default"),
        _around(facts),
        lead=lead,
    )


def charged(cost: Cost, gathered: Gathering) -> bool:
    """Whether the trace shows that this cost was charged: by its calls where they were counted, else by its family.

    A family that nobody has told the signs of counts as charged: an assumption shown needlessly does less harm than one
    that is hidden.
    """
    calls = [CALL_NAMES[fid] for fid, name in CALL_COSTS.items() if name == cost.name]
    family = cost.name.partition(".")[0]
    if family == "rmi" and any(gathered.calls[call] for call in calls):
        return True
    if family == "rmi" and calls and gathered.calls:
        return cost.name in ("rmi.null", "rmi.rec-enter") or _undone(cost.name, gathered)
    return family not in FAMILIES or any(gathered.kinds[kind] for kind in FAMILIES[family])


def _undone(name: str, gathered: Gathering) -> bool:
    """Calls of tearing down are not counted in a record; a destroyed Realm took them."""
    return name.endswith(("-destroy", "-undelegate")) and bool(gathered.kinds["realm.destroyed"])


def _table(costs: list[Cost], values: dict[str, int], facts: ReportFacts, caption: str) -> Markup:
    rows: list[list[Child]] = []
    for cost in costs:
        own = cost.name in facts.cluster.timing.override
        trust = chip("set by the file", "") if own else chip(cost.confidence.value, TONES[cost.confidence])
        rows.append(
            [el("code", cost.name), exact(values[cost.name]), f"per {cost.per}", trust, "" if own else cost.source]
        )
    return table(("name", "takes", "", "confidence", "source"), rows, numbers=(1,), caption=caption)


def exact(value_ns: int) -> str:
    """A duration without rounding where it is short."""
    return f"{value_ns:,} ns" if value_ns < 1_000_000 else words.duration(value_ns)


def _around(facts: ReportFacts) -> Markup:
    control, verifier, network = facts.cluster.control, facts.cluster.attestation, facts.cluster.network
    pairs = (
        ("Beat", words.duration(control.beat)),
        ("Heartbeat", words.duration(control.heartbeat)),
        ("Suspect after", words.duration(control.suspect_after)),
        ("Lease", words.duration(control.lease) if control.leases else "turned off"),
        ("Lease margin", words.duration(control.lease_margin)),
        ("Verifier", f"{words.plural(verifier.servers, 'worker')}, {words.duration(verifier.service)} a token"),
        ("Way to the verifier and back", words.duration(verifier.latency)),
        ("Links in a rack", _link(network.same_rack.latency, network.same_rack.bandwidth)),
        ("Links between racks", _link(network.between_racks.latency, network.between_racks.bandwidth)),
        ("Links to the control plane", _link(network.to_control.latency, network.to_control.bandwidth)),
    )
    return el("dl", [el("div", el("dt", name), el("dd", value)) for name, value in pairs], class_="facts")


def _link(latency_ns: int, bits_per_s: int) -> str:
    return f"{words.duration(latency_ns)} one way, {bits_per_s / 1e9:g} Gbit/s"
