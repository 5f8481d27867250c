"""`realmfleet replay RUN`: a run again from its directory, operators' inputs included, and whether it says the same.

A run is a function of cluster file, seed and journaled inputs; all three are in its directory. Each input is admitted
again at its boundary. Speed, fleet, pauses and page of the first run do not matter.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from msgspec import Struct

from orchestrator import inputs, rundir
from orchestrator.assembly import assemble
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.instant import beat_ceil
from orchestrator.engine.journal import ExternalInput, MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.replay import first_difference
from orchestrator.engine.run_store import RunReader
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.errors import UserMistake
from orchestrator.fleet.local import LocalFleet
from orchestrator.inspect import open_run
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan


class Replayed(Struct, frozen=True):
    """What a replay came to; `recorded_digest` is empty when the first run was killed before it had one.

    `same` says that the traces agree, up to where the first one was written or this one was asked to go;
    `difference` is the first record at which they part.
    """

    run_dir: str
    seed: int
    trace_digest: str
    recorded_digest: str
    inputs: int
    virtual_ns: int
    records: int
    same: bool
    difference: str = ""


def replay_run(run_dir: Path, until_ns: int | None = None) -> Replayed:
    """Run it again in this process, to `until_ns` (virtual ns) or to its end, and compare as far as that goes.

    Raises:
        UserMistake: the directory holds no run.
    """
    manifest = rundir.read_manifest(run_dir)
    if manifest.get("extensions"):
        told = ", ".join(manifest["extensions"])
        raise UserMistake(
            f"{run_dir} was run with code of its own: {told}", "run that script again; same seed, same run"
        )
    cluster, seed = cluster_of(run_dir), int(manifest["seed"])
    with open_run(run_dir) as reader:
        entries = reader.inputs(inputs.decode)
        end_ns = _end_ns(reader, cluster, entries)
        whole = until_ns is None or until_ns >= end_ns
        if until_ns is not None and not whole:
            end_ns = beat_ceil(until_ns, cluster.control.beat)
        stored = list(reader.trace())
    again, digest = _again(cluster, seed, entries, end_ns, whole=whole)
    recorded = str(manifest.get("trace_digest", "")) if whole else ""
    parted = first_difference(stored if whole else stored[: len(again)], again if recorded else again[: len(stored)])
    return Replayed(
        run_dir=str(run_dir),
        seed=seed,
        trace_digest=digest,
        recorded_digest=recorded,
        inputs=len(entries),
        virtual_ns=end_ns,
        records=len(again),
        same=parted is None and recorded in ("", digest),
        difference="" if parted is None else parted.sentence(),
    )


def _again(
    cluster: Cluster, seed: int, entries: list[ExternalInput], end_ns: int, *, whole: bool
) -> tuple[list[bytes], str]:
    """The lines of the trace and their digest, from a run in this process up to `end_ns`; settled ones unless whole."""
    made = plan(cluster, seed)
    parts = assemble(made, lambda *token: None)
    sink = MemorySink()
    trace = Trace(sink)
    with contextlib.closing(LocalFleet(list(made.machines.values()))) as fleet:
        engine = Engine(
            cluster.control.beat,
            WitnessedFleet(fleet, witness_of(made.secret)),
            parts.control,
            parts.links,
            trace,
            MemoryJournal(),
            recorded=entries,
            rest=parts.heartbeats,
        )
        engine.run_until(end_ns)
        digest = engine.finish() if whole else trace.digest
    return [line.line for line in sink.lines], digest


def cluster_of(run_dir: Path) -> Cluster:
    """The cluster that a run directory holds; a damaged one is the user's mistake."""
    path = run_dir / rundir.CLUSTER
    try:
        loaded = load_text(path.read_bytes(), str(path))
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "the run directory is damaged") from error
    if loaded.value is None:
        raise UserMistake(f"{path} cannot be run\n{loaded.render()}", "the run directory is damaged")
    return loaded.value


def _end_ns(reader: RunReader, cluster: Cluster, entries: list[ExternalInput]) -> int:
    """The end of the last beat that the run visited, or that its last input asks for; later ones held nothing."""
    beat_ns = cluster.control.beat
    last_ns = max((boundary_ns for boundary_ns, _ in reader.beats()), default=-beat_ns)
    asked_ns = max((entry.at_ns for entry in entries), default=-beat_ns)
    return max(last_ns, beat_ceil(asked_ns, beat_ns)) + beat_ns
