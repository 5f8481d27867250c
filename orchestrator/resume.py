"""`realmfleet resume RUN`: a run whose head was killed goes on to the end it would have had.

A run is a function of cluster file, seed and journaled inputs, so nothing of the dead head's memory is needed: the run
is carried out again from its start, compared record by record with what the killed one left in its file, and appended
to where that ends. What the last few beats had not yet committed is made again; nothing is lost but time.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator import inputs, rundir
from orchestrator.api import Run, RunOptions, RunResult, Watching
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.errors import NondeterminismFound, StoreUnreadable
from orchestrator.engine.journal import ExternalInput
from orchestrator.engine.run_store import RunReader
from orchestrator.errors import UserMistake
from orchestrator.extensions import Extensions
from orchestrator.replay import cluster_of


class Left(Struct, frozen=True):
    """What a killed run left behind: how far it had come, and all that its continuation needs."""

    cluster: Cluster
    text: str
    seed: int
    file: str
    until_ns: int
    inputs: list[ExternalInput]
    records: int
    boundary_ns: int
    """Last boundary in its file, in virtual ns; everything later is made anew."""


def read_left(run_dir: Path) -> Left:
    """Read and check a killed run; what stands against going on is told as the user's mistake."""
    manifest = rundir.read_manifest(run_dir)
    _refuse(run_dir, manifest)
    text = _text(run_dir, manifest)
    cluster = cluster_of(run_dir)
    try:
        with RunReader(run_dir / rundir.DATABASE) as reader:
            reader.check()
            entries = reader.inputs(inputs.decode)
            records = sum(1 for _ in reader.trace())
            boundary_ns = max((boundary for boundary, _ in reader.beats()), default=0)
    except StoreUnreadable as error:
        raise UserMistake(str(error), f"it cannot go on; run it anew: {manifest.get('repeat', '')}") from error
    asked_ns = max((entry.at_ns for entry in entries), default=0)
    until_ns = max(int(manifest["until_ns"]), asked_ns, boundary_ns)
    return Left(cluster, text, int(manifest["seed"]), str(manifest["file"]), until_ns, entries, records, boundary_ns)


def _refuse(run_dir: Path, manifest: dict[str, Any]) -> None:
    status, repeat = manifest.get("status"), manifest.get("repeat", "")
    if status != "running":
        raise UserMistake(f"{run_dir} was not killed: its manifest says {status}", f"to run it again: {repeat}")
    if manifest.get("staged") or "until_ns" not in manifest:
        raise UserMistake(f"{run_dir} was not begun by `realmfleet run`, so its file is not the whole of it", repeat)
    ours = version("realmfleet")
    theirs = manifest.get("versions", {}).get("realmfleet")
    if theirs != ours:
        raise UserMistake(f"{run_dir} was begun by version {theirs}, this is {ours}", f"run it anew: {repeat}")


def _text(run_dir: Path, manifest: dict[str, Any]) -> str:
    path = run_dir / rundir.CLUSTER
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "the run directory is damaged") from error
    if hashlib.sha256(content).hexdigest() != manifest.get("cluster_sha256"):
        raise UserMistake(f"{path} is not the file that the run was begun with", "put the first one back")
    return content.decode()


def resume_run(
    run_dir: Path,
    options: RunOptions,
    watching: Watching,
    *,
    quiet: bool = False,
    extensions: Extensions = Extensions(),
) -> RunResult:
    """Carry a killed run to its end on the fleet that `options` names; seed, end and directory are the run's own.

    `extensions` hold the functions of python gates that are yet to be asked; what was answered is in the journal.

    Raises:
        UserMistake: the directory holds no killed run, its file is damaged, or it disagrees with what the run does.
    """
    left = read_left(run_dir)
    own = RunOptions(
        seed=left.seed,
        fleet=options.fleet,
        actors=options.actors,
        ray_address=options.ray_address,
        until_ns=left.until_ns,
        out=run_dir,
        skip=options.skip,
        file=left.file,
    )
    try:
        return _carry_on(Run(left.cluster, left.text, own, resumed=left.inputs, extensions=extensions), watching, quiet)
    except NondeterminismFound as error:
        hint = "its file is damaged, or another version wrote it"
        raise UserMistake(f"{run_dir / rundir.DATABASE} disagrees with the run: {error}", hint) from error


def _carry_on(run: Run, watching: Watching, quiet: bool) -> RunResult:
    """Run to the end; an interrupt leaves the directory as that of a killed run, which may be resumed again."""
    with run, watching(run.until_ns, quiet=quiet) as watch:
        run.run_until(run.until_ns, watch)
        return run.finish()
