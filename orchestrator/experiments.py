"""Chaos experiments from the command line: read the file and its fleet, run every seed, keep every run directory."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from orchestrator import rundir
from orchestrator.api import RUNS, Run, RunOptions, RunResult
from orchestrator.chaos.experiment import ExperimentResult, draws, run_seeds
from orchestrator.cluster.diagnostics import render
from orchestrator.cluster.experiment import Experiment, PlanRefused, staged
from orchestrator.cluster.load import Loaded, load_experiment, load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.errors import UserMistake


def run_experiment(
    file: Path, text: bytes, seeds: list[int] | None, *, fleet: str, actors: int | None, out: Path | None
) -> ExperimentResult:
    """Run an experiment over `seeds` (None: its own, or the fleet's); run directories are `out/seed-N`."""
    loaded = load_experiment(text, str(file))
    experiment = _good(loaded)
    source, cluster = _fleet(file, experiment)
    if seeds is None:
        seeds = [experiment.seed if experiment.seed is not None else cluster.seed]
    _rehearse(loaded, experiment, cluster, seeds)
    parent = out or rundir.choose(RUNS, experiment.name)
    if parent.exists():
        raise UserMistake(f"{parent} exists already", "name another directory with --out")

    def runner(cluster: Cluster, seed: int) -> RunResult:
        options = RunOptions(seed=seed, fleet=fleet, actors=actors, out=parent / f"seed-{seed}", file=str(file))
        with Run(cluster, source, options, repeat=repeat(seed)) as run:
            run.run_until(cluster.duration)
            result = run.finish()
        failed = ", ".join(verdict.name for verdict in result.verdicts if verdict.outcome != "pass")
        print(f"seed {seed}: {failed or 'all checkers pass'} ({result.wall_s:.1f} s)", file=sys.stderr, flush=True)
        return result

    def repeat(seed: int) -> str:
        return shlex.join(["realmfleet", "chaos", "run", str(file), "--seeds", str(seed)])

    return run_seeds(experiment, cluster, seeds, runner, repeat)


def _good(loaded: Loaded[Experiment]) -> Experiment:
    if loaded.value is None:
        raise UserMistake(f"{loaded.source.name} is not an experiment that can be run\n{loaded.render()}")
    return loaded.value


def _fleet(file: Path, experiment: Experiment) -> tuple[str, Cluster]:
    """Text and record of the cluster file that the experiment names, relative to its own folder."""
    path = file.parent / experiment.fleet
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(f"{file}: fleet {experiment.fleet} cannot be read: {error}", "name a cluster file") from None
    loaded = load_text(text, str(path))
    if loaded.value is None:
        raise UserMistake(f"{file}: the fleet it names cannot be run\n{loaded.render()}")
    return text, loaded.value


def _rehearse(loaded: Loaded[Experiment], experiment: Experiment, cluster: Cluster, seeds: list[int]) -> None:
    """Stage every seed before the first one runs, so that a plan that does not fit is refused whole."""
    for seed in seeds:
        try:
            staged(experiment.model_copy(update={"seed": seed}), cluster, draws(seed))
        except PlanRefused as refused:
            problems = render(loaded.source.problems(refused.findings))
            raise UserMistake(f"seed {seed} does not fit the fleet\n{problems}") from None
