"""`realmfleet snapshot` and `realmfleet fork`: where a run stood at an instant, and another future from there.

A branch shares cluster, seed and inputs with its run up to one boundary; from there on it has what is injected instead
of what came later. It is run from the start, which brings the control plane there too; what it shares is compared with
the run it came from, so a branch that stands somewhere else is refused, not reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from orchestrator import inputs as i
from orchestrator import rundir
from orchestrator.api import Forked, Run, RunOptions, RunResult, Watching
from orchestrator.assembly import assemble
from orchestrator.branch_point import Standing, cluster_of_text
from orchestrator.cluster.document import plain
from orchestrator.cluster.injection import Injection
from orchestrator.cluster.load import Loaded, load_injection
from orchestrator.cluster.schema import Cluster, Event, MigrateEvent, RevokeEvent, RolloutEvent, SteerEvent, StopEvent
from orchestrator.engine.instant import beat_ceil
from orchestrator.engine.journal import ExternalInput, MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.run_store import RunReader
from orchestrator.engine.trace import Trace
from orchestrator.errors import UserMistake
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan


def stand(standing: Standing) -> Standing:
    """The branch point with digest and machine states filled in, by running to it in this process."""
    cluster = cluster_of_text(standing.cluster_text, standing.file)
    made = plan(cluster, standing.seed)
    parts = assemble(made, lambda *token: None)
    trace = Trace()
    with contextlib.closing(LocalFleet(list(made.machines.values()))) as fleet:
        engine = Engine(
            cluster.control.beat,
            WitnessedFleet(fleet, witness_of(made.secret)),
            parts.control,
            parts.links,
            trace,
            MemoryJournal(),
            recorded=standing.entries(),
            rest=parts.heartbeats,
        )
        engine.run_until(standing.at_ns)
        return msgspec.structs.replace(
            standing, trace_records=trace.count, trace_digest=trace.digest, machines=fleet.snapshots()
        )


def read_injection(path: Path, cluster: Cluster, from_ns: int) -> list[tuple[int, i.Input]]:
    """What an injection file asks for, each with its instant (virtual ns); raises `UserMistake` with all problems."""
    try:
        loaded: Loaded[Injection] = load_injection(path.read_bytes(), str(path), cluster, from_ns)
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "check the path") from error
    if loaded.value is None or loaded.source.tree is None:
        raise UserMistake(f"{path} cannot be injected\n{loaded.render()}")
    written = plain(loaded.source.tree.root)
    faults = [
        (fault.at, i.InjectFault(_deed(deed)))
        for fault, deed in zip(loaded.value.faults, written.get("faults") or [], strict=True)
    ]
    events = [
        (event.at, _asked(event, deed))
        for event, deed in zip(loaded.value.events, written.get("events") or [], strict=True)
    ]
    return sorted([*faults, *events], key=lambda pair: pair[0])


def _deed(written: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in written.items() if key not in ("at", "kind")}


_STEERS: dict[str, Callable[[str], i.Input]] = {
    "pause": i.PauseRollout,
    "resume": i.ResumeRollout,
    "promote": i.PromoteRollout,
    "retry": i.RetryRollout,
    "abort": i.AbortRollout,
}


def _asked(event: Event, written: dict[str, Any]) -> i.Input:
    """An event of a cluster file as what an operator would ask for at that instant."""
    if isinstance(event, MigrateEvent):
        return i.MigrateRealm(event.realm, event.to or "")
    if isinstance(event, RolloutEvent):
        return i.StartRollout(_deed(written))
    if isinstance(event, SteerEvent):
        return _STEERS[event.do](event.rollout)
    if isinstance(event, RevokeEvent):
        return i.RevokeFirmware(_deed(written))
    if isinstance(event, StopEvent):
        return i.StopRealm(event.realm)
    raise UserMistake(
        f"an event of kind {event.kind} cannot be injected", "faults, migrate, rollout, steer, revoke and stop can"
    )


def fork(
    standing: Standing,
    source: Path,
    injected: list[tuple[int, i.Input]],
    options: RunOptions,
    watching: Watching,
    *,
    quiet: bool = False,
) -> RunResult:
    """Run a branch to its end; `options` says on which fleet, where to, and for how long.

    Raises:
        UserMistake: what the branch shares with its origin came out differently.
    """
    cluster = cluster_of_text(standing.cluster_text, standing.file)
    old = standing.entries()
    number = max((entry.number for entry in old), default=0)
    new = [
        ExternalInput(number + place, beat_ceil(at_ns, cluster.control.beat), body)
        for place, (at_ns, body) in enumerate(injected, 1)
    ]
    until_ns = standing.until_ns if options.until_ns is None else options.until_ns
    if until_ns <= standing.at_ns:
        raise UserMistake("the branch ends before it begins", "give a later --until")
    name = f"{cluster.name}-{standing.seed}-fork"
    out = options.out or rundir.choose(Path("runs"), name)
    own = msgspec.structs.replace(options, seed=standing.seed, until_ns=until_ns, out=out, file=standing.file)
    forked = Forked(str(source), standing.at_ns, [*old, *new])
    with Run(cluster, standing.cluster_text, own, repeat=f"realmfleet replay {out}", forked=forked) as run:
        with watching(run.until_ns, quiet=quiet) as watch:
            run.run_until(standing.at_ns, watch)
            _compare(standing, source, run)
            run.run_until(run.until_ns, watch)
        return run.finish()


def _compare(standing: Standing, source: Path, run: Run) -> None:
    """Hold the branch to what it shares with its origin: the digests of its beats, or the state of its machines."""
    checks: tuple[Callable[[Standing, Path, Run], str], ...] = (_parted_from_run, _parted_from_snapshot)
    for check in checks:
        if parted := check(standing, source, run):
            raise UserMistake(f"the branch is not where {source} was: {parted}", "its file is damaged")


def _parted_from_run(standing: Standing, source: Path, run: Run) -> str:
    if not source.is_dir():
        return ""
    run.store.commit()
    with RunReader(source / rundir.DATABASE) as theirs, RunReader(run.path / rundir.DATABASE) as ours:
        before = dict(theirs.beats())
        for boundary_ns, digest in ours.beats():
            if boundary_ns < standing.at_ns and before.get(boundary_ns, digest) != digest:
                return f"the digest of the trace before {boundary_ns} ns was {before[boundary_ns]}, now it is {digest}"
    return ""


def _parted_from_snapshot(standing: Standing, source: Path, run: Run) -> str:
    if not standing.machines:
        return ""
    if run.trace.digest != standing.trace_digest:
        return f"the digest of the trace was {standing.trace_digest}, now it is {run.trace.digest}"
    states = run.fleet.snapshots()
    differ = sorted(name for name, state in standing.machines.items() if states.get(name) != state)
    return f"the state of {', '.join(differ[:4])} differs" if differ else ""
