"""How the runs of a sweep are carried out: as Ray tasks, or as processes of this host.

Results come in any order; the table is made from all of them. A Ray task may run on another host, so it sends its run
directory home as one parcel of bytes; a process of this host writes into its place at once.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from node.errors import RayUnavailable
from orchestrator import rundir
from orchestrator.api import Run, RunOptions
from orchestrator.cluster.load import load_text
from orchestrator.errors import UserMistake
from orchestrator.fleet.tasks import ray_tasks


class Job(Struct, frozen=True):
    """One run to be made: the text of its cluster file, its seed, and its run directory."""

    text: str
    seed: int
    out: str


RunAll: TypeAlias = Callable[[Sequence[Job]], Iterator[tuple[int, dict[str, Any]]]]
"""Runs all jobs and gives, as each is done, its place in the list and what `realmfleet run --json` would print."""


def run_here(job: Job) -> dict[str, Any]:
    """One run in this process; a directory that a killed run left is replaced."""
    return _run(job, Path(job.out))


def _run(job: Job, out: Path) -> dict[str, Any]:
    loaded = load_text(job.text, job.out)
    assert loaded.value is not None, loaded.render()
    file = str(Path(job.out) / rundir.CLUSTER)
    options = RunOptions(seed=job.seed, fleet="local", out=out, replace=True, file=file)
    with Run(loaded.value, job.text, options) as run:
        run.run_until(run.until_ns)
        return run.finish().as_json()


def run_away(job: Job) -> tuple[dict[str, Any], bytes]:
    """One run on any host: its result, and its run directory as a tar file."""
    with tempfile.TemporaryDirectory(prefix="realmfleet-sweep-") as scratch:
        run_dir = Path(scratch) / "run"
        result = {**_run(job, run_dir), "run_dir": job.out}
        manifest = rundir.read_manifest(run_dir)
        rundir.write_manifest(run_dir, {**manifest, "result": result})
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            tar.add(run_dir, arcname=".")
        return result, packed.getvalue()


def unpack_run(packed: bytes, out: Path) -> None:
    """Put a run directory that came from another host into its place; what a killed run left there goes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        tar.extractall(out, filter="data")


def processes(side_by_side: int) -> RunAll:
    """Runs as processes of this host; one at a time, they need none but this."""

    def run_all(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
        if side_by_side == 1:
            yield from ((place, run_here(job)) for place, job in enumerate(jobs))
        if side_by_side == 1 or not jobs:
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(side_by_side, len(jobs)), mp_context=context) as pool:
            waiting = {pool.submit(run_here, job): place for place, job in enumerate(jobs)}
            try:
                for future in as_completed(waiting):
                    yield waiting[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return run_all


def tasks(address: str | None, side_by_side: int | None, log_path: Path) -> RunAll:
    """Runs as Ray tasks, on a Ray started here (`address` None) or on a cluster; one per core unless told.

    Raises `UserMistake`, when the runs are asked for, if Ray cannot be had.
    """

    def run_all(jobs: Sequence[Job]) -> Iterator[tuple[int, dict[str, Any]]]:
        if not jobs:
            return
        try:
            with ray_tasks(address, log_path) as carry_out:
                for place, (result, packed) in carry_out(run_away, jobs, side_by_side):
                    unpack_run(packed, Path(jobs[place].out))
                    yield place, result
        except RayUnavailable as error:
            raise UserMistake(str(error), "start Ray or choose --fleet local") from error

    return run_all


def cores() -> int:
    """How many runs fit side by side on this host."""
    return os.cpu_count() or 1
