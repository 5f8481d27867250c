"""From trace lines to metrics: a pure fold, sampled at instants of virtual time.

    collect(lines, facts, end_ns)      a finished trace, sampled every 15 virtual seconds, or as `sample_every` says
    Collector                          the same, line by line

What a sample at instant t shows is the effect of every record up to and including t. The result depends on trace and
facts alone: not on how the trace was cut into pieces, on the clock, or on the number of actors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from orchestrator.chaos.history import Line, Readable, read
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.engine.instant import S
from orchestrator.metrics.fleet_facts import FleetFacts
from orchestrator.metrics.folds.bring_up import BringUp
from orchestrator.metrics.folds.chaos import Chaos
from orchestrator.metrics.folds.copies import Copies
from orchestrator.metrics.folds.evidence import Evidence
from orchestrator.metrics.folds.firmware import Firmware
from orchestrator.metrics.folds.handler import Fold
from orchestrator.metrics.folds.links import Links
from orchestrator.metrics.folds.machines import Machines
from orchestrator.metrics.folds.migration import Migrations
from orchestrator.metrics.folds.operator import Operator
from orchestrator.metrics.folds.placement import Placement
from orchestrator.metrics.folds.pods import Pods
from orchestrator.metrics.folds.service import Service
from orchestrator.metrics.samples import Samples
from orchestrator.metrics.tally import Tally

EVERY_NS = 15 * S
"""Distance of samples in virtual time: what a Prometheus usually scrapes at."""

MOST_SAMPLES = 1_440
"""Instants of a run at which it is sampled, at most: in a day, one a minute."""


def sample_every(lasts_ns: int) -> int:
    """Distance of samples of a run that lasts so long: whole multiples of `EVERY_NS`, few enough for a long run."""
    return max(-(-lasts_ns // (MOST_SAMPLES * EVERY_NS)), 1) * EVERY_NS


class Collector:
    """All folds over one tally. Lines come in total order; `advance` says how far time has come besides."""

    def __init__(self, facts: FleetFacts) -> None:
        self.tally = Tally(len(facts.machines))
        self._service = Service(self.tally)
        folds: tuple[Fold, ...] = (
            Machines(self.tally, facts),
            self._service,
            Copies(self.tally, facts, self._service),
            BringUp(self.tally, facts),
            Evidence(self.tally),
            Pods(self.tally),
            Placement(self.tally),
            Migrations(self.tally),
            Firmware(self.tally),
            Chaos(self.tally, self._service),
            Links(self.tally),
            Operator(self.tally),
        )
        self._handlers: dict[str, list[Callable[[Line], None]]] = {}
        for fold in folds:
            for kind, handler in fold.handlers().items():
                self._handlers.setdefault(kind, []).append(handler)
        self.tally.set("run_info", 1, facts.run_id, facts.cluster, str(facts.seed), facts.clock)

    def fold(self, line: Line) -> None:
        """Take the next line of the trace."""
        self.tally.add("trace_records_total", 1, line.kind)
        for handler in self._handlers.get(line.kind, ()):
            handler(line)

    def advance(self, at_ns: int) -> None:
        """Let virtual time pass to `at_ns`."""
        self._service.advance(at_ns)
        self.tally.set("sim_time_seconds", at_ns)

    def judge(self, verdicts: Iterable[Verdict]) -> None:
        """Take what the checkers said at the end of the run."""
        for verdict in verdicts:
            for outcome in Outcome:
                self.tally.set("checker_verdict", int(outcome is verdict.outcome), verdict.name, outcome)


class Carried:
    """Messages delivered by virtual time, noted by the run while it goes on; the trace knows only the lost ones.

    A sample takes the count at the first boundary at or after its instant, so that it does not matter how often the run
    notes in between, as long as it notes there.
    """

    def __init__(self, every_ns: int = EVERY_NS) -> None:
        self._every_ns = every_ns
        self._counts = [0]
        self._latest = 0

    @property
    def next_ns(self) -> int:
        """Instant from which the next note is wanted: the run should stop at the first boundary from there on."""
        return len(self._counts) * self._every_ns

    def note(self, now_ns: int, delivered: int) -> None:
        """Everything before `now_ns` has happened, and so many messages were delivered in it."""
        self._latest = delivered
        while self.next_ns <= now_ns:
            self._counts.append(delivered)

    def at(self, at_ns: int) -> int:
        """The count for a sample at `at_ns`; after the last regular sample, the last count of all."""
        place = -(-at_ns // self._every_ns)
        return self._counts[place] if place < len(self._counts) else self._latest


def collect(
    lines: Iterable[Readable],
    facts: FleetFacts,
    end_ns: int,
    *,
    every_ns: int = EVERY_NS,
    verdicts: Sequence[Verdict] = (),
    carried: Carried | None = None,
) -> Samples:
    """Sample a whole trace that ended at `end_ns`: every `every_ns` from 0 on, and at the end.

    Raises:
        ValueError: samples would be less than a second apart.
    """
    if every_ns < S:
        raise ValueError(f"samples {every_ns} ns apart are too many: at least a second")
    collector, samples = Collector(facts), Samples()
    trace, place = read(lines), 0
    for at_ns in instants(end_ns, every_ns):
        while place < len(trace) and trace[place].at_ns <= at_ns:
            collector.fold(trace[place])
            place += 1
        collector.advance(at_ns)
        if carried is not None:
            collector.tally.set("messages_delivered_total", carried.at(at_ns))
        if at_ns == end_ns:
            collector.judge(verdicts)
        samples.take(at_ns, collector.tally)
    return samples


def instants(end_ns: int, every_ns: int) -> list[int]:
    """Where to sample: multiples of `every_ns` and the end, which is left out when it is the same millisecond."""
    regular = list(range(0, end_ns + 1, every_ns))
    if end_ns - regular[-1] >= S // 1000:
        return [*regular, end_ns]
    return [*regular[:-1], end_ns]
