"""What the verifier said of Realms and platforms: by reason, by trigger, over time, claim by claim."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.gather.bounded import Histogram, Some

BINS: Final = 90
"""Bars of the picture over time."""


class Refusal(Struct, frozen=True):
    """One piece of evidence that was refused, or one secret that was withheld for it."""

    at_ns: int
    who: str
    where: str
    reason: str
    detail: str


class Verdicts:
    """Counts of verdicts; of refusals the first few in full."""

    def __init__(self, end_ns: int) -> None:
        self._end_ns = max(end_ns, 1)
        self.passed = 0
        self.by_reason: Counter[str] = Counter()
        self.by_trigger: Counter[tuple[str, bool]] = Counter()
        self.tiers: Counter[tuple[str, str]] = Counter()
        self.over_time: list[list[int]] = [[0, 0] for _ in range(BINS)]
        self.refusals: Some[Refusal] = Some(20)
        self.took = Histogram()
        self.waited = Histogram()
        self.platforms_passed = 0
        self.platforms_refused: Counter[str] = Counter()
        self.secrets = 0
        self.withheld: Counter[str] = Counter()

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "realm.verdict":
                self._verdict(line)
            case "machine.admitted":
                self.platforms_passed += what["vouched"]
            case "machine.distrusted":
                self.platforms_refused[what["reason"]] += 1
                self.refusals.add(Refusal(line.at_ns, what["machine"], "platform", what["reason"], what["why"]))
            case "secret.released":
                self.secrets += 1
            case "secret.withheld":
                self.withheld[what["reason"]] += 1

    def _verdict(self, line: Line) -> None:
        what = line.what
        passed = what["passed"]
        self.by_trigger[what["why"], passed] += 1
        self.over_time[min(line.at_ns * BINS // self._end_ns, BINS - 1)][not passed] += 1
        self.took.add(what["replied_ns"] - what["arrived_ns"])
        self.waited.add(what["started_ns"] - what["arrived_ns"])
        for claim, tier in what["tiers"].items():
            self.tiers[claim, tier] += 1
        if passed:
            self.passed += 1
            return
        self.by_reason[what["reason"]] += 1
        self.refusals.add(Refusal(line.at_ns, what["realm"], what["machine"], what["reason"], what["detail"]))

    @property
    def refused(self) -> int:
        """Refused evidence of Realms."""
        return sum(self.by_reason.values())


KINDS: Final = ("realm.verdict", "machine.admitted", "machine.distrusted", "secret.released", "secret.withheld")
