"""An experiment over seeds: stage the faults of each seed, run, judge, and say pass, fail or unknown.

What a run is, is the caller's business: a `Runner` takes a staged cluster and a seed and gives back summary and
verdicts of the trace. Nothing here starts a fleet, so an experiment is judged the same over a stored run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from orchestrator.chaos.checkers import CHECKERS
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.cluster.experiment import Draw, Expect, Experiment, PropertyProbe, staged
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.streams import Stream, run_seed
from orchestrator.errors import ExitCode

EXIT_CODES = {Outcome.PASS: ExitCode.GOOD, Outcome.FAIL: ExitCode.NO, Outcome.UNKNOWN: ExitCode.INCONCLUSIVE}


class JudgedRun(Protocol):
    """What an experiment needs of a finished run; `orchestrator.api.RunResult` is one."""

    @property
    def summary(self) -> Struct:
        """The numbers of the run, which state probes name by path."""
        ...

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Every checker's verdict over the trace."""
        ...

    @property
    def trace_digest(self) -> str: ...

    @property
    def run_dir(self) -> str: ...


class Runner(Protocol):
    """Runs a cluster whose faults are those of one seed."""

    def __call__(self, cluster: Cluster, seed: int) -> JudgedRun: ...


class Finding(Struct, frozen=True):
    """One question and its answer; `kind` is checker, probe or recovery."""

    kind: str
    name: str
    outcome: Outcome
    detail: str


class SeedResult(Struct, frozen=True):
    """What one seed came to; `repeat` is the command that does it again."""

    seed: int
    outcome: Outcome
    findings: tuple[Finding, ...]
    faults: int
    trace_digest: str
    run_dir: str
    repeat: str


class ExperimentResult(Struct, frozen=True):
    """What an experiment came to over all its seeds: fail if any failed, else unknown if any is, else pass."""

    name: str
    title: str
    outcome: Outcome
    seeds: tuple[SeedResult, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 pass, 1 fail, 4 unknown."""
        return EXIT_CODES[self.outcome]

    def as_json(self) -> dict[str, Any]:
        """One JSON object, as `realmfleet chaos run --json` prints it."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return {"kind": "experiment", "schema_version": 1, **body, "exit_code": int(self.exit_code)}


def run_seeds(
    experiment: Experiment, cluster: Cluster, seeds: Iterable[int], runner: Runner, repeat: Callable[[int], str]
) -> ExperimentResult:
    """Run and judge every seed, in the given order.

    Raises:
        PlanRefused: the faults of a seed do not fit the fleet or exceed the blast radius; that seed was not run.
    """
    results = [run_seed_of(experiment, cluster, seed, runner, repeat(seed)) for seed in seeds]
    outcome = worst_of(result.outcome for result in results)
    return ExperimentResult(experiment.name, experiment.hypothesis.title, outcome, tuple(results))


def run_seed_of(experiment: Experiment, cluster: Cluster, seed: int, runner: Runner, repeat: str) -> SeedResult:
    """Stage, run and judge one seed; raises as `run_seeds` does."""
    made = staged(experiment.model_copy(update={"seed": seed}), cluster, draws(seed))
    run = runner(made, seed)
    findings = tuple(judge_run(experiment, run))
    outcome = worst_of(finding.outcome for finding in findings)
    return SeedResult(seed, outcome, findings, len(made.faults), run.trace_digest, run.run_dir, repeat)


def draws(seed: int) -> Draw:
    """The named streams that an experiment's method is expanded with; the same seed draws the same."""
    secret, streams = run_seed(seed), dict[str, Stream]()

    def draw(name: str, bound: int) -> int:
        return streams.setdefault(name, Stream.named(secret, name)).below(bound)

    return draw


def worst_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Fail before unknown before pass."""
    seen = set(outcomes)
    return next((outcome for outcome in (Outcome.FAIL, Outcome.UNKNOWN) if outcome in seen), Outcome.PASS)


def judge_run(experiment: Experiment, run: JudgedRun) -> Iterator[Finding]:
    """Checkers, then the probes of the hypothesis, then what must hold after the recovery."""
    verdicts = {verdict.name: verdict for verdict in run.verdicts}
    state: dict[str, Any] = msgspec.to_builtins(run.summary)
    for name in experiment.checkers or CHECKERS:
        yield _checked("checker", name, name, verdicts)
    for probe in experiment.hypothesis.probes:
        if isinstance(probe, PropertyProbe):
            yield _checked("probe", probe.name, probe.checker, verdicts)
        else:
            outcome, detail = expected(state, probe.path, probe.expect)
            yield Finding("probe", probe.name, outcome, detail)
    for condition in experiment.recovery.must:
        outcome, detail = expected(state, condition.path, condition.expect)
        yield Finding("recovery", condition.path, outcome, detail)


def _checked(kind: str, name: str, checker: str, verdicts: dict[str, Verdict]) -> Finding:
    verdict = verdicts.get(checker)
    if verdict is None:
        return Finding(kind, name, Outcome.UNKNOWN, f"there is no checker {checker}{_near(checker, CHECKERS)}")
    return Finding(kind, name, verdict.outcome, verdict.detail)


def expected(state: dict[str, Any], path: str, expect: Expect) -> tuple[Outcome, str]:
    """Whether the number at `path` (keys with points between) is as expected; unknown when there is no number there."""
    value: Any = state
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            near = _near(key, value if isinstance(value, dict) else {})
            return Outcome.UNKNOWN, f"the summary has no {path}{near}"
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Outcome.UNKNOWN, f"{path} is {value!r}, not a number"
    wants = {"equal to": expect.equals, "at least": expect.min, "at most": expect.max}
    told = " and ".join(f"{word} {bound}" for word, bound in wants.items() if bound is not None)
    good = (
        (expect.equals is None or value == expect.equals)
        and (expect.min is None or value >= expect.min)
        and (expect.max is None or value <= expect.max)
    )
    return (Outcome.PASS if good else Outcome.FAIL), f"{path} is {value}, expected {told}"


def _near(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
