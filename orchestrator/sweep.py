"""`realmfleet sweep FILE --set path=v1,v2 --seeds 1..20`: many runs in parallel, one table, and a paired comparison.

Each run is a run directory like any other, in a folder named after the digest of its variant's file. A sweep that was
interrupted is continued by giving the same command again: runs that have finished under the same file and seed are
read, not repeated. `orchestrator.sweep_runs` carries them out, as Ray tasks or as processes of this host.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator import rundir
from orchestrator.cluster import document
from orchestrator.cluster.load import load_text
from orchestrator.errors import ExitCode, UserMistake
from orchestrator.report.intervals import Estimate, estimate, paired
from orchestrator.sweep_runs import Job, RunAll

MOST_RUNS = 100_000
TABLE, SUMMARY = "runs.csv", "sweep.json"


class Variant(Struct, frozen=True):
    """One file to run: what was set in it, by path, and its text (JSON, which is YAML)."""

    settings: tuple[tuple[str, str], ...]
    text: str

    @property
    def name(self) -> str:
        """The settings in words."""
        return " ".join(f"{path}={value}" for path, value in self.settings) or "as it is"

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class SweptRun(Struct, frozen=True):
    """One finished run of a sweep: its variant's place, its seed, and the JSON that `realmfleet run` would print."""

    variant: int
    seed: int
    result: dict[str, Any]


class VariantSummary(Struct, frozen=True):
    """What the seeds of a variant came to, and, for all but the first, by how much it differs from the first."""

    name: str
    runs: int
    checkers_failed: int
    figures: dict[str, Estimate]
    against_first: dict[str, Estimate]


class Sweep(Struct, frozen=True):
    """A whole sweep; `exit_code` is the worst of its runs."""

    name: str
    out: str
    runs: int
    reused: int
    variants: tuple[VariantSummary, ...]
    exit_code: int


FIGURES: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "availability_ppm": lambda result: result["availability"]["ppm"],
    "realms_running": lambda result: result["realms_running"],
    "downtime_events": lambda result: result["downtime"]["events"],
    "downtime_p99_ms": lambda result: result["downtime"]["p99_ms"],
    "downtime_total_ms": lambda result: result["downtime"]["total_ms"],
    "bring_up_median_ms": lambda result: result["bring_up"]["median_ms"],
    "bring_up_p99_ms": lambda result: result["bring_up"]["p99_ms"],
    "attestations_passed": lambda result: result["attestations"]["passed"],
    "attestations_refused": lambda result: result["attestations"]["refused"],
    "realm_restarts": lambda result: result["realm_restarts"],
    "migrations": lambda result: result["migrations"],
    "machines_lost": lambda result: result["machines_lost"],
    "requests_served": lambda result: result["requests_served"],
}
"""Columns of the table; None where a run has no such figure."""


# -- variants ---------------------------------------------------------------------------------------------------------


def variants(text: str, name: str, settings: Sequence[str]) -> list[Variant]:
    """Every combination of the settings ("path=v1,v2") over a file; raises `UserMistake` when one cannot run."""
    axes = [_axis(setting) for setting in settings]
    found = []
    for chosen in itertools.product(*axes):
        data = _tree(text, name)
        for path, value in chosen:
            put(data, path, document.resolve_plain(value))
        variant = Variant(tuple(chosen), text if not chosen else json.dumps(data, indent=1) + "\n")
        loaded = load_text(variant.text, name)
        if loaded.value is None:
            told = "\n".join(f"{problem.path}: {problem.message}" for problem in loaded.problems)
            raise UserMistake(f"{name} with {variant.name} cannot be run\n{told}", "change --set, or the file")
        found.append(variant)
    return found


def _axis(setting: str) -> list[tuple[str, str]]:
    path, equals, values = setting.partition("=")
    listed = [value.strip() for value in values.split(",")]
    if not equals or not path.strip() or "" in listed:
        raise UserMistake(f"--set {setting} names no path with values", "like --set control.lease=10s,30s")
    if len(set(listed)) != len(listed):
        raise UserMistake(f"--set {setting} names a value twice", "name each once")
    return [(path.strip(), value) for value in listed]


def _tree(text: str, name: str) -> Any:
    try:
        return document.plain(document.compose(text).root)
    except document.DocumentRefused as refused:
        raise UserMistake(f"{name}: {refused}", "`realmfleet validate` tells more") from refused


def put(data: Any, path: str, value: Any) -> None:
    """Put a value where a dotted path leads; mappings on the way are made, places of lists must exist."""
    parts, node = path.split("."), data
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        key: Any = part
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise UserMistake(f"{path}: there is no entry {part}", f"entries are 0 to {len(node) - 1}")
            key = int(part)
        elif not isinstance(node, dict):
            raise UserMistake(f"{path}: {'.'.join(parts[:number])} holds no keys", "name a path of the file")
        if last:
            node[key] = value
        else:
            node = node[key] if isinstance(node, list) else node.setdefault(key, {})


# -- running ----------------------------------------------------------------------------------------------------------


def sweep(
    name: str, chosen: Sequence[Variant], seeds: Sequence[int], out: Path, run_all: RunAll, say: Callable[[str], None]
) -> Sweep:
    """Run every variant under every seed by `run_all`, and write table and summary to `out`."""
    wanted = [(number, seed) for number in range(len(chosen)) for seed in seeds]
    if len(wanted) > MOST_RUNS:
        raise UserMistake(f"{len(wanted)} runs are more than {MOST_RUNS}", "fewer values or seeds")
    before = {pair: _finished(chosen[pair[0]], pair[1], out) for pair in wanted}
    done = {pair: found for pair, found in before.items() if found is not None}
    reused = len(done)
    say(f"{len(wanted)} runs, {reused} of them finished before")
    todo = [pair for pair in wanted if pair not in done]
    jobs = [Job(chosen[number].text, seed, str(_place(chosen[number], seed, out))) for number, seed in todo]
    for number, (place, result) in enumerate(run_all(jobs), reused + 1):
        pair = todo[place]
        done[pair] = result
        say(f"{number}/{len(wanted)}  seed {pair[1]}  {chosen[pair[0]].name}  ({result['wall_s']:.1f} s)")
    runs = [SweptRun(number, seed, done[number, seed]) for number, seed in wanted]
    told = summary(name, chosen, runs, out, reused)
    write_table(out / TABLE, chosen, runs)
    (out / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    return told


def _place(variant: Variant, seed: int, out: Path) -> Path:
    return out / variant.digest[:12] / f"seed-{seed}"


def _finished(variant: Variant, seed: int, out: Path) -> dict[str, Any] | None:
    """The result of a run that has finished under the same file and seed, or None."""
    path = _place(variant, seed, out)
    if not (path / rundir.MANIFEST).is_file():
        return None
    manifest = rundir.read_manifest(path)
    same = manifest.get("cluster_sha256") == variant.digest and manifest.get("seed") == seed
    if not same or manifest.get("status") != "finished":
        return None
    result: dict[str, Any] = manifest["result"]
    return result


# -- telling ----------------------------------------------------------------------------------------------------------


def summary(name: str, chosen: Sequence[Variant], runs: Sequence[SweptRun], out: Path, reused: int) -> Sweep:
    """Means and intervals per variant; every variant but the first is compared with the first, seed by seed."""
    first = {figure: _column(runs, 0, figure) for figure in FIGURES}
    told = []
    for number, variant in enumerate(chosen):
        own = {figure: _column(runs, number, figure) for figure in FIGURES}
        against = {
            figure: paired(first[figure], values)
            for figure, values in own.items()
            if number and first[figure].keys() & values.keys()
        }
        mine = [run for run in runs if run.variant == number]
        told.append(
            VariantSummary(
                name=variant.name,
                runs=len(mine),
                checkers_failed=sum("fail" in run.result["checkers"].values() for run in mine),
                figures={figure: estimate(list(values.values())) for figure, values in own.items() if values},
                against_first=against,
            )
        )
    outcomes = {outcome for run in runs for outcome in run.result["checkers"].values()}
    code = ExitCode.NO if "fail" in outcomes else ExitCode.INCONCLUSIVE if "unknown" in outcomes else ExitCode.GOOD
    return Sweep(name, str(out), len(runs), reused, tuple(told), int(code))


def _column(runs: Sequence[SweptRun], variant: int, figure: str) -> dict[int, float]:
    """One figure of one variant, by seed."""
    found = {run.seed: FIGURES[figure](run.result) for run in runs if run.variant == variant}
    return {seed: value for seed, value in found.items() if value is not None}


def write_table(path: Path, chosen: Sequence[Variant], runs: Sequence[SweptRun]) -> None:
    """One row a run: what was set, seed, digest, failed checkers, wall seconds, and every figure."""
    paths = [setting for setting, _ in chosen[0].settings]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*paths, "seed", "trace_digest", "checkers_failed", "wall_s", *FIGURES])
        for run in runs:
            failed = sorted(name for name, outcome in run.result["checkers"].items() if outcome == "fail")
            row = [run.seed, run.result["trace_digest"], " ".join(failed), run.result["wall_s"]]
            values = [value for _, value in chosen[run.variant].settings]
            writer.writerow([*values, *row, *(figure(run.result) for figure in FIGURES.values())])
