"""One run: opened from a checked cluster, advanced, finished, judged, and written to its directory.

`Run` is what everything else drives: the command line (`execute`), the live mode (`orchestrator.live`) and scripts
(`orchestrator.scripting`, which is what `from orchestrator import open_fleet` gives). A run is a function of cluster,
seed and inputs: fleet, actors, speed and skipping change how long it takes, never what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from attestation.stores import write_anchor_store
from node.errors import RayUnavailable
from orchestrator import rundir
from orchestrator.assembly import Assembly, assemble
from orchestrator.chaos.checkers import CHECKERS, judge
from orchestrator.chaos.history import Line, read
from orchestrator.chaos.verdict import Case, Facts, Outcome, Verdict, facts_of
from orchestrator.cluster.load import Loaded, load_text
from orchestrator.cluster.quantities import parse_duration
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.errors import NondeterminismFound
from orchestrator.engine.journal import ExternalInput
from orchestrator.engine.loop import Engine
from orchestrator.engine.run_store import RunReader, RunStore, StoredToken
from orchestrator.engine.trace import Trace
from orchestrator.errors import ExitCode, UserMistake
from orchestrator.extensions import Extensions
from orchestrator.fleet.local import LocalFleet
from orchestrator.gate_keeper import GateKeeper
from orchestrator.inputs import Input
from orchestrator.metrics.collect import Carried, collect, sample_every
from orchestrator.metrics.export import write_metrics
from orchestrator.metrics.fleet_facts import fleet_facts
from orchestrator.metrics.process import Process
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.operator_desk import Answer
from orchestrator.plan import plan, trust_anchors
from orchestrator.progress import Watch
from orchestrator.report.page.facts import ReportFacts
from orchestrator.report.stored import META as ENDING
from orchestrator.report.stored import Ending
from orchestrator.report.summary import Summary, summarise
from orchestrator.report.writing import page_of, write_page

RUNS = Path("runs")
STATUS_EVERY_BEATS = 10
NS_PER_S = 1_000_000_000


class RunOptions(Struct, frozen=True, kw_only=True):
    """How a run is carried out. `file` is only quoted in the command that repeats it.

    `live` says that somebody paces it and asks a verifier outside the fleet when the cluster names one.
    """

    seed: int | None = None
    fleet: str = "ray"
    actors: int | None = None
    ray_address: str | None = None
    until_ns: int | None = None
    out: Path | None = None
    replace: bool = False
    speed: float | None = None
    skip: bool = True
    every_heartbeat: bool = False
    record_door: tuple[str, Path] | None = None
    live: bool = False
    file: str = ""


class Forked(Struct, frozen=True):
    """A run as a branch of another: where from, at which boundary (virtual ns), and all inputs, old and injected."""

    source: str
    at_ns: int
    inputs: list[ExternalInput]


class RunResult(Struct, frozen=True):
    """What came of a run: the summary of its trace, the verdicts of the checkers, and what it took."""

    name: str
    seed: int
    trace_digest: str
    virtual_ns: int
    wall_s: float
    summary: Summary
    verdicts: tuple[Verdict, ...]
    fleet: str
    actors: int
    actor_restarts: int
    run_dir: str
    repeat: str
    interrupted: bool
    work: dict[str, int]

    @property
    def exit_code(self) -> ExitCode:
        """0 when every checker passed, 1 when one failed, 4 when one could not tell."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if Outcome.FAIL in outcomes:
            return ExitCode.NO
        return ExitCode.INCONCLUSIVE if Outcome.UNKNOWN in outcomes else ExitCode.GOOD

    def as_json(self) -> dict[str, Any]:
        """One flat JSON object, as `realmfleet run --json` prints it."""
        return {
            "kind": "run",
            "schema_version": 1,
            "name": self.name,
            "seed": self.seed,
            "trace_digest": self.trace_digest,
            "virtual_s": self.virtual_ns / NS_PER_S,
            "wall_s": round(self.wall_s, 3),
            **msgspec.to_builtins(self.summary),
            "checkers": {verdict.name: verdict.outcome.value for verdict in self.verdicts},
            "checker_details": {verdict.name: verdict.detail for verdict in self.verdicts},
            "fleet": self.fleet,
            "actors": self.actors,
            "actor_restarts": self.actor_restarts,
            "work": self.work,
            "run_dir": self.run_dir,
            "repeat": self.repeat,
            "interrupted": self.interrupted,
        }


class Fleet(Protocol):
    """What a run needs of a fleet besides advancing it."""

    @property
    def actors(self) -> int: ...

    @property
    def actor_restarts(self) -> int: ...

    def pids(self) -> list[int]: ...

    def hosts(self) -> list[str]: ...

    def close(self) -> None: ...


class Run:
    """One run in progress: a context manager that always leaves a readable run directory and no process behind."""

    def __init__(
        self,
        cluster: Cluster,
        text: str,
        options: RunOptions,
        *,
        repeat: str = "",
        resumed: Sequence[ExternalInput] | None = None,
        forked: Forked | None = None,
        extensions: Extensions = Extensions(),
    ) -> None:
        """Open a run; `resumed` are the journaled inputs of the killed run in `options.out`, now carried on.

        `extensions` are what a script adds: a score of its own, checkers of its own.
        """
        self.cluster = cluster
        self.options = options
        self.extensions = extensions
        self._repeat = repeat
        self._resumed = resumed
        self._forked = forked
        self.seed = self.cluster.seed if options.seed is None else options.seed
        self.until_ns = self.cluster.duration if options.until_ns is None else options.until_ns
        self.plan = plan(self.cluster, self.seed)
        if cluster.attestation.verifier is not None and not options.live:
            raise UserMistake(
                f"attestation.verifier is {cluster.attestation.verifier}: only a live fleet can wait for its answers",
                "use `realmfleet up`; its run can be replayed afterwards, answers included",
            )
        if options.record_door is not None:
            self._check_door(options.record_door[0])
        self.path = options.out or rundir.choose(RUNS, f"{self.cluster.name}-{self.seed}")
        self._began = time.monotonic()
        self._versions = {
            "realmfleet": version("realmfleet"),
            "python": platform.python_version(),
            "ray": version("ray"),
            "cryptography": version("cryptography"),
            "cbor2": version("cbor2"),
        }
        if resumed is None:
            rundir.create(self.path, text, replace=options.replace)
        self._hold = rundir.hold(self.path)
        try:
            self._open()
        except BaseException:
            self._hold.close()
            if resumed is None:
                shutil.rmtree(self.path, ignore_errors=True)
            raise
        self._write_manifest("running")

    def _check_door(self, machine: str) -> None:
        if machine not in self.plan.machines:
            some = ", ".join(sorted(self.plan.machines)[:4])
            raise UserMistake(f"--record-door: there is no machine {machine}", f"machines are {some}, ...")
        if self.options.fleet != "local":
            raise UserMistake("--record-door listens inside this process", "add --fleet local; the digest is the same")

    def _open(self) -> None:
        (self.path / rundir.ANCHORS).write_text(write_anchor_store(trust_anchors(self.plan)), encoding="utf-8")
        specs = list(self.plan.machines.values())
        self.fleet: LocalFleet | Any = LocalFleet(specs) if self.options.fleet == "local" else self._ray_fleet(specs)
        try:
            file = self.path / rundir.DATABASE
            self.store = RunStore.create(file) if self._resumed is None else RunStore.resume(file)
            given = self._given()
            self.trace = Trace(self.store)
            self.carried = Carried(sample_every(self.until_ns))
            self.assembly: Assembly = assemble(
                self.plan, self._keep_token, every_heartbeat=self.options.every_heartbeat
            )
            self.assembly.control.store.scoring = self.extensions.score
            self.engine = Engine(
                self.cluster.control.beat,
                WitnessedFleet(self.fleet, witness_of(self.plan.secret)),
                self.assembly.control,
                self.assembly.links,
                self.trace,
                self.store,
                skip=self.options.skip,
                recorded=given,
                rest=self.assembly.heartbeats,
            )
            self.engine.after_beat = GateKeeper(self.assembly.rollouts, self.engine, self.extensions).answer
            self._door = self._listen_at_the_door()
        except BaseException:
            self.fleet.close()
            raise

    def _given(self) -> Sequence[ExternalInput]:
        """Inputs known from the start: those of a killed run, or those of a branch, which are journaled here."""
        if self._forked is None:
            return self._resumed or ()
        for entry in self._forked.inputs:
            self.store.admitted(entry)
        return self._forked.inputs

    def _ray_fleet(self, specs: list[Any]) -> Any:
        from orchestrator.fleet.ray import RayFleet

        actors: int | str = "auto" if self.options.actors is None else self.options.actors
        try:
            return RayFleet(specs, actors, self.options.ray_address, log_path=self.path / rundir.RAY_LOG)
        except RayUnavailable as error:
            raise UserMistake(str(error), "start Ray or choose --fleet local") from error

    def _listen_at_the_door(self) -> list[dict[str, Any]]:
        """Records of the firmware door of the machine that was asked for, as they come."""
        heard: list[dict[str, Any]] = []
        if self.options.record_door is not None:
            self.fleet.machine(self.options.record_door[0]).record_door(heard.append)
        return heard

    def _keep_token(self, realm: str, incarnation: int, machine: str, at_ns: int, token: bytes) -> None:
        self.store.keep_token(StoredToken(realm, incarnation, at_ns, machine, token))

    # -- letting time pass -----------------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """Virtual ns: everything before it has happened."""
        return self.engine.now_ns

    def run_until(self, until: int | str, watch: Watch | None = None) -> None:
        """Let time pass to `until`: virtual ns, or a duration since the start like "5min"."""
        until_ns = parse_duration(until) if isinstance(until, str) else until
        pace = self._pace(until_ns)
        if pace is not None:
            self.engine.run_until(until_ns, pace if watch is None else _both(pace, watch, self.status))
            return
        stride = self.cluster.control.beat * STATUS_EVERY_BEATS
        while self.engine.now_ns < until_ns:
            self.engine.run_until(min(self.engine.now_ns + stride, until_ns, self.carried.next_ns))
            self.carried.note(self.engine.now_ns, self.engine.delivered)
            if watch is not None:
                watch(self.engine.now_ns, self.status)

    def ask(self, *bodies: Input) -> list[Answer]:
        """Have inputs journaled and judged at the next boundary, in this order; a beat of virtual time passes."""
        numbers = [self.engine.admit(body) for body in bodies]
        self.run_until(self.engine.now_ns + self.cluster.control.beat)
        answers = {answer.number: answer for answer in self.assembly.desk.take_answers()}
        return [answers[number] for number in numbers]

    def _pace(self, until_ns: int) -> Callable[[int], None] | None:
        speed = self.options.speed
        if speed is None:
            return None
        began, began_ns = time.monotonic(), self.engine.now_ns

        def pace(now_ns: int) -> None:
            self.carried.note(now_ns, self.engine.delivered)
            ahead = (now_ns - began_ns) / NS_PER_S / speed - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)

        return pace

    def status(self) -> str:
        """One line: where the fleet stands as the control plane believes it."""
        return self.assembly.status()

    def process(self) -> Process:
        """What is true of this execution only, as metrics show it."""
        return Process(
            version=self._versions["realmfleet"],
            python=self._versions["python"],
            ray=self._versions["ray"],
            actors=0 if self.options.fleet == "local" else self.fleet.actors,
            actor_restarts=self.fleet.actor_restarts,
            beats=self.engine.beats,
            fleet_calls=self.engine.calls,
            wall_ns=int((time.monotonic() - self._began) * NS_PER_S),
        )

    # -- ending --------------------------------------------------------------------------------------------------------

    def finish(self, *, interrupted: bool = False) -> RunResult:
        """Settle the trace, judge it, write the manifest, and end what was started."""
        digest = self.engine.finish()
        end_ns = self.engine.now_ns
        self.carried.note(end_ns, self.engine.delivered)
        if self.store.missing:
            raise NondeterminismFound(
                "run", f"{self.store.missing} records of the killed run were not made again", end_ns
            )
        lines = self._stored_lines()
        facts = facts_of(self.cluster, end_ns, self.plan.firmware.anchors)
        verdicts = judge(lines, facts)
        case = Case(lines, facts)
        result = RunResult(
            name=self.cluster.name,
            seed=self.seed,
            trace_digest=digest,
            virtual_ns=end_ns,
            wall_s=time.monotonic() - self._began,
            summary=summarise(lines, facts),
            verdicts=(*verdicts, *(checker(case) for checker in self.extensions.checkers)),
            fleet=self.options.fleet,
            actors=self.fleet.actors,
            actor_restarts=self.fleet.actor_restarts,
            run_dir=str(self.path),
            repeat=self.repeat,
            interrupted=interrupted,
            work={
                "beats": self.engine.beats,
                "fleet_calls": self.engine.calls,
                "messages_delivered": self.engine.delivered,
                "messages_lost": self.engine.lost,
                "trace_records": self.trace.count,
            },
        )
        if self.options.record_door is not None:
            _write_door(self.options.record_door[1], self._door)
        facts_of_fleet = fleet_facts(self.cluster, self.seed)
        every_ns = sample_every(self.until_ns)
        samples = collect(lines, facts_of_fleet, end_ns, every_ns=every_ns, verdicts=verdicts, carried=self.carried)
        write_metrics(self.path / rundir.METRICS, samples)
        ending = self._ending(result, facts)
        self.store.set_meta(ENDING, ending.encode())
        page = page_of(lines, ReportFacts(ending, self.cluster, result.summary, result.verdicts))
        write_page(self.path / rundir.REPORT, page)
        self._write_manifest("interrupted" if interrupted else "finished", result)
        self.close()
        return result

    def _ending(self, result: RunResult, judged: Facts) -> Ending:
        """What the run's file keeps of its end, so that the report can be made again from it."""
        return Ending(
            name=result.name,
            seed=result.seed,
            repeat=result.repeat,
            trace_digest=result.trace_digest,
            records=self.trace.count,
            cluster_sha256=self._cluster_sha256(),
            interrupted=result.interrupted,
            versions=self._versions,
            judged=judged,
            brought=result.verdicts[len(CHECKERS) :],
            extensions=self.extensions.named,
        )

    def _cluster_sha256(self) -> str:
        return hashlib.sha256((self.path / rundir.CLUSTER).read_bytes()).hexdigest()

    def _stored_lines(self) -> list[Line]:
        """The whole trace out of the run's file, read once; while it ran, the head kept none of it."""
        self.store.commit()
        with RunReader(self.path / rundir.DATABASE) as reader:
            return read(reader.trace())

    @property
    def headline(self) -> str:
        """What a run says first and last: its seed, and the command that repeats it."""
        return headline(self.seed, self.repeat)

    @property
    def repeat(self) -> str:
        """The command that repeats this run."""
        if self._repeat:
            return self._repeat
        words = ["realmfleet", "run", self.options.file or str(self.path / rundir.CLUSTER), "--seed", str(self.seed)]
        if self.options.until_ns is not None:
            words += ["--until", f"{self.options.until_ns}ns"]
        return shlex.join(words)

    def close(self) -> None:
        """End the fleet and close the run's database; may be called twice."""
        self.fleet.close()
        if not self.store_closed:
            self.store_closed = True
            try:
                self.store.close()
            finally:
                self._hold.close()

    store_closed = False

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write_manifest(self, status: str, result: RunResult | None = None) -> None:
        manifest: dict[str, Any] = {
            "schema_version": 1,
            "status": status,
            "name": self.cluster.name,
            "seed": self.seed,
            "repeat": self.repeat,
            "file": self.options.file,
            "until_ns": self.until_ns,
            "staged": bool(self._repeat) and self._forked is None,
            "extensions": list(self.extensions.named),
            "fleet": self.options.fleet,
            "actors": self.fleet.actors,
            "actor_pids": self.fleet.pids(),
            "actor_hosts": self.fleet.hosts(),
            "head_pid": os.getpid(),
            "cluster_sha256": self._cluster_sha256(),
            "versions": self._versions,
        }
        if self._forked is not None:
            manifest["forked"] = {"from": self._forked.source, "at_ns": self._forked.at_ns}
        if result is not None:
            manifest["trace_digest"] = result.trace_digest
            manifest["result"] = result.as_json()
        rundir.write_manifest(self.path, manifest)


def open_cluster(file: str | Path, *, seed: int | None = None, fleet: str = "local", out: Path | None = None) -> Run:
    """Open a bare run of a cluster file; raises `UserMistake` with every problem of the file."""
    cluster, text = open_file(Path(file))
    return Run(cluster, text, RunOptions(seed=seed, fleet=fleet, out=out, file=str(file)))


def open_file(path: Path) -> tuple[Cluster, str]:
    """The cluster of a file and its text; raises `UserMistake` with every problem of the file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserMistake(f"cannot read {path}: {error.strerror}", "check the path") from error
    loaded = load_text(text, str(path))
    return _good(loaded), loaded.source.text


Watching = Callable[..., AbstractContextManager[Watch]]


def execute(
    loaded: Loaded[Cluster],
    options: RunOptions,
    watching: Watching,
    *,
    quiet: bool = False,
    extensions: Extensions = Extensions(),
) -> RunResult:
    """Run a cluster to its end, with progress; an interrupt ends the run early and cleanly."""
    with Run(_good(loaded), loaded.source.text, options, extensions=extensions) as run:
        _say(run.headline, quiet)
        interrupted = False
        try:
            with watching(run.until_ns, quiet=quiet) as watch:
                run.run_until(run.until_ns, watch)
        except KeyboardInterrupt:
            interrupted = True
        return run.finish(interrupted=interrupted)


def _good(loaded: Loaded[Cluster]) -> Cluster:
    if loaded.value is None:
        raise UserMistake(f"{loaded.source.name} cannot be run\n{loaded.render()}")
    return loaded.value


def headline(seed: int, repeat: str) -> str:
    """The seed of a run and the command that repeats it, as one line."""
    return f"seed {seed} · repeat: {repeat}"


def _both(pace: Callable[[int], None], watch: Watch, status: Callable[[], str]) -> Callable[[int], None]:
    def both(now_ns: int) -> None:
        pace(now_ns)
        watch(now_ns, status)

    return both


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def _write_door(file: Path, records: list[dict[str, Any]]) -> None:
    try:
        with file.open("w", encoding="utf-8") as target:
            target.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    except OSError as error:
        raise UserMistake(f"cannot write {file}: {error.strerror}", "name a writable file") from error
