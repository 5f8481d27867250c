"""Tokens, verdicts over them, and what the key broker did with the verdicts."""

from __future__ import annotations

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.labels import SUCCESS
from orchestrator.metrics.tally import Tally

_TRIGGERS = (
    ("bring-up", "bring-up"),
    ("migration", "migration"),
    ("firmware", "firmware"),
    ("machine back", "machine-back"),
)
"""Beginnings of the `why` of a verdict, the first that fits counts."""


class Evidence:
    """Attestation from the token that leaves a Realm to the secret that comes back."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def handlers(self) -> Handlers:
        return {
            "realm.evidence": self._token,
            "realm.verdict": self._verdict,
            "machine.admitted": self._platform_good,
            "machine.distrusted": self._platform_bad,
            "secret.released": self._released,
            "secret.withheld": self._withheld,
        }

    def _token(self, line: Line) -> None:
        self._tally.add("tokens_total")
        self._tally.add("token_bytes_total", line.what["size_bytes"])

    def _verdict(self, line: Line) -> None:
        what = line.what
        trigger = next((name for word, name in _TRIGGERS if what["why"].startswith(word)), what["why"])
        self._tally.add("attestations_total", 1, SUCCESS if what["passed"] else what["reason"], trigger)
        for name, tier in what["tiers"].items():
            half, _, claim = name.partition("/")
            self._tally.add("attestation_claims_total", 1, half, claim, tier)
        arrived_ns, started_ns, done_ns, replied_ns = (
            what[f"{instant}_ns"] for instant in ("arrived", "started", "done", "replied")
        )
        for stage, duration_ns in (
            ("queue", started_ns - arrived_ns),
            ("verify", done_ns - started_ns),
            ("reply", replied_ns - done_ns),
            ("total", replied_ns - arrived_ns),
        ):
            self._tally.observe("attestation_duration_seconds", duration_ns, stage)

    def _platform_good(self, line: Line) -> None:
        if line.what["vouched"]:
            self._tally.add("platform_attestations_total", 1, SUCCESS)

    def _platform_bad(self, line: Line) -> None:
        self._tally.add("platform_attestations_total", 1, line.what["reason"])

    def _released(self, line: Line) -> None:
        self._tally.add("key_releases_total", 1, SUCCESS)

    def _withheld(self, line: Line) -> None:
        self._tally.add("key_releases_total", 1, line.what["reason"])
