"""Where the run comes from and how anyone makes it again."""

from __future__ import annotations

from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.page.markup import Markup, el, section

REAL = (
    "Real: every token, image and verdict was signed and verified, and every bundle sealed and opened, by "
    "pyca/cryptography. Keys come from the seed and are no secret."
)


def provenance(gathered: Gathering, facts: ReportFacts) -> Markup:
    """Seed, versions, digests, the command."""
    ending = facts.ending
    script = [("Extended by a script", ", ".join(ending.extensions))] if ending.extensions else []
    pairs = (
        ("Again by", el("code", ending.repeat)),
        *script,
        ("Seed", str(ending.seed)),
        ("Trace digest (SHA-256)", el("code", ending.trace_digest)),
        ("Trace records", f"{ending.records:,}"),
        ("Cluster file (SHA-256)", el("code", ending.cluster_sha256)),
        ("Cryptography", REAL),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(ending.versions.items()))),
        ("Checked by", el("code", "realmfleet inspect RUN --trace --json | sha256sum")),
    )
    lead = "The same file and seed give the same trace digest on any number of actors."
    return section(
        "provenance",
        "Provenance",
        el("dl", [[el("dt", name), el("dd", value)] for name, value in pairs], class_="facts wide"),
        lead=lead,
    )
