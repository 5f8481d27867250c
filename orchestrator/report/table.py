"""Summaries and verdicts as tables for people: coloured on a terminal, the same words in plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.chaos.experiment import ExperimentResult, SeedResult
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.report.summary import Attestations, Pods, RolloutSummary, Spread, Summary

PLAIN_WIDTH = 120
"""Columns where the output is no terminal, so that piped text does not depend on the caller's window."""

STYLES = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.UNKNOWN: "yellow"}


class ShownRun(Protocol):
    """What the table of a run shows; `orchestrator.api.RunResult` is one."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def trace_digest(self) -> str: ...
    @property
    def virtual_ns(self) -> int: ...
    @property
    def wall_s(self) -> float: ...
    @property
    def summary(self) -> Summary: ...
    @property
    def verdicts(self) -> Sequence[Verdict]: ...
    @property
    def run_dir(self) -> str: ...


def console() -> Console:
    """Standard output: rich on a terminal, fixed width elsewhere."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def show_run(result: ShownRun, out: Console | None = None) -> None:
    """Print the summary of a run, the verdicts of its checkers, and where it lies."""
    out = out or console()
    title = f"{result.name}, seed {result.seed}: {result.virtual_ns / 1e9:g} virtual s in {result.wall_s:.1f} s"
    out.print(Text(title, style="bold"), soft_wrap=True)
    facts = Table(box=box.SIMPLE_HEAD, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in rows(result.summary):
        facts.add_row(name, value)
    out.print(facts)
    out.print(_verdict_table((verdict.name, verdict.outcome, verdict.detail) for verdict in result.verdicts))
    out.print(f"trace digest  {result.trace_digest}", soft_wrap=True)
    out.print(f"run           {result.run_dir}", soft_wrap=True)


def rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """The summary as pairs of words, in the order in which people ask."""
    yield "machines", str(summary.machines)
    yield "Realms serving at the end", f"{summary.realms_running} of {summary.realms_wanted} wanted"
    availability = summary.availability
    share = f"{availability.percent}% of wanted Realm-time" if availability.ppm is not None else "nothing was wanted"
    yield "availability", share
    yield "bring-up", _spread(summary.bring_up)
    yield "downtime per event", _spread(summary.downtime)
    for cause, spread in summary.downtime_by_cause.items():
        yield f"  by {cause}", _spread(spread)
    yield "attestations", f"{_verdicts(summary.attestations)}; platforms: {_verdicts(summary.platform_attestations)}"
    yield "secrets released", str(summary.secrets_released)
    if summary.pods.started or summary.pods.stopped:
        yield "pods", _pods(summary.pods)
    yield "migrations", f"{summary.migrations} moved, {summary.migrations_failed} not"
    activations = f"{summary.activations}, {summary.activations_refused} refused"
    yield "firmware activations", f"{activations}; pause {_spread(summary.activation_pause)}"
    for rollout in summary.rollouts:
        yield f"  {rollout.rollout}", _rollout(rollout)
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary.faults_by_kind.items())
    yield "faults", f"{summary.faults}{f' ({kinds})' if kinds else ''}"
    yield "Realms restarted", str(summary.realm_restarts)
    yield "requests served", f"{summary.requests_served} counted"


def show_experiment(result: ExperimentResult, out: Console | None = None) -> None:
    """Print one line per seed, and for each that did not pass what was found and the command that repeats it."""
    out = out or console()
    out.print(Text(f"{result.name}: {result.title}", style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("faults", justify="right", no_wrap=True)
    table.add_column("found", overflow="fold")
    for seed in result.seeds:
        table.add_row(str(seed.seed), _word(seed.outcome), str(seed.faults), _found(seed))
    out.print(table)
    for seed in result.seeds:
        if seed.outcome is not Outcome.PASS:
            bad = [finding for finding in seed.findings if finding.outcome is not Outcome.PASS]
            out.print(_verdict_table((f"{found.kind} {found.name}", found.outcome, found.detail) for found in bad))
            out.print(f"repeat seed {seed.seed}: {seed.repeat}", soft_wrap=True)
    counts = [sum(seed.outcome is outcome for seed in result.seeds) for outcome in Outcome]
    told = ", ".join(f"{count} {outcome.value}" for count, outcome in zip(counts, Outcome, strict=True) if count)
    out.print(Text("verdict: ").append_text(_word(result.outcome)).append(f" ({told})"))


def _found(seed: SeedResult) -> str:
    bad = [finding.name for finding in seed.findings if finding.outcome is not Outcome.PASS]
    return ", ".join(dict.fromkeys(bad)) or f"{len(seed.findings)} answers, all good"


def _verdict_table(verdicts: Iterable[tuple[str, Outcome, str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("checker", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold")
    for name, outcome, detail in verdicts:
        table.add_row(name, _word(outcome), Text(detail))
    return table


def _word(outcome: Outcome) -> Text:
    return Text(outcome.value, style=STYLES[outcome])


def _verdicts(attestations: Attestations) -> str:
    return f"{attestations.passed} passed, {attestations.refused} refused"


def _spread(spread: Spread) -> str:
    if not spread.events:
        return "none"
    median, p99, largest = (duration(value) for value in (spread.median_ms, spread.p99_ms, spread.max_ms))
    events = f"{spread.events} event{'s' if spread.events > 1 else ''}"
    return f"{events}: median {median}, p99 {p99}, max {largest}"


def _pods(pods: Pods) -> str:
    steps = ", ".join(f"{count} at {step}" for step, count in pods.stopped_by_step.items())
    return f"{pods.started} started, {pods.stopped} stopped{f' ({steps})' if steps else ''}"


def _rollout(rollout: RolloutSummary) -> str:
    took = f" in {duration(rollout.duration_s * 1000)}" if rollout.duration_s is not None else ""
    told = f"{rollout.release}: {rollout.state}{took}, {rollout.waves} waves, {rollout.done} done"
    failed = f", {rollout.failed} failed" if rollout.failed else ""
    return told + failed + (f" ({rollout.why})" if rollout.why else "")


def duration(value_ms: float) -> str:
    """Milliseconds below a second, seconds above, with three figures where the number has fewer before the point."""
    value, unit = (value_ms, "ms") if value_ms < 1000 else (value_ms / 1000, "s")
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"
