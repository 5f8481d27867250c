"""A fleet that a script drives: time passes when the script says so, acts are journaled, results are tables.

    from orchestrator import open_fleet

    with open_fleet("clusters/small.yaml", seed=7) as fleet:
        fleet.until(lambda fleet: len(fleet.realms.where(state="serving")) == 9, within="10min")
        with fleet.fault("network.partition", between=("rack:r3", "control")):
            fleet.advance("50s")
        results = fleet.finish(after="3min")
    print(results.passed, results.trace_digest)

The same script over the same file and seed gives the same digest, and so does `realmfleet replay` of its run directory,
without the script.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from orchestrator import inputs as i
from orchestrator import rundir
from orchestrator.api import RUNS, Run, RunOptions, open_file
from orchestrator.chaos.checkers import CHECKERS, judge
from orchestrator.chaos.verdict import Verdict, facts_of
from orchestrator.cluster.quantities import parse_duration
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.instant import format_instant
from orchestrator.engine.run_store import RunReader
from orchestrator.engine.streams import Stream
from orchestrator.explain import Event
from orchestrator.explain import explain as tell
from orchestrator.extensions import Checker, Extensions, Score
from orchestrator.gate_keeper import GateFunction
from orchestrator.operator_desk import Answer
from orchestrator.scripting.errors import ActRefused, FleetError, NotReached, UnknownName
from orchestrator.scripting.faults import Fault, FaultScope, Storm
from orchestrator.scripting.handles import MachineHandle, RealmHandle, RolloutHandle
from orchestrator.scripting.results import Results
from orchestrator.scripting.selection import Selection
from orchestrator.scripting.spec import Spec
from orchestrator.store import Store

DEFAULT_WAVES = (1, "30%", "100%")

Span = int | str
"""A stretch of virtual time: ns, or a text like 90s, 5min, 2h."""


def open_fleet(
    what: str | Path | Spec,
    *,
    seed: int | None = None,
    fleet: Literal["local", "ray"] = "local",
    actors: int | None = None,
    out: str | Path | None = None,
    replace: bool = False,
    score: Score | None = None,
    checkers: Iterable[Checker] = (),
    gates: Mapping[str, GateFunction] | None = None,
) -> Fleet:
    """Open a cluster file, or a spec made in code, for a script; virtual time is 0 and nothing has happened.

    `seed` goes before the file's, `out` is the run directory (else `runs/NAME-SEED-NNN`), `score` takes the place of
    the scheduler's own, `checkers` judge the trace at the end besides the built-in ones, `gates` are the functions of
    rollouts' python gates by name (their answers are journaled, so a replay does not need them).

    Raises:
        UserMistake: the file or spec cannot be run (everything that is wrong, at once), or the directory is taken.
    """
    if isinstance(what, Spec):
        cluster, text, file = what.cluster(), what.text, ""
    else:
        (cluster, text), file = open_file(Path(what)), str(what)
    chosen = cluster.seed if seed is None else seed
    path = Path(out) if out is not None else rundir.choose(RUNS, f"{cluster.name}-{chosen}")
    extensions = Extensions(score, tuple(checkers), dict(gates or {}))
    repeat = f"{_script()}" if extensions.named else shlex.join(["realmfleet", "replay", str(path)])
    options = RunOptions(seed=chosen, fleet=fleet, actors=actors, out=path, replace=replace, file=file)
    return Fleet(Run(cluster, text, options, repeat=repeat, extensions=extensions))


class Fleet:
    """One run in the hands of a script; a context manager that leaves a readable run directory in any case."""

    def __init__(self, run: Run) -> None:
        self.run = run
        """The run itself: engine, store, links; everything a script may need and this class does not offer."""
        self._results: Results | None = None
        self._draws = Stream.named(run.plan.secret, "script")

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> Cluster:
        """The cluster file as records, as it stands now: `apply` replaces it."""
        return self.store.cluster

    @property
    def store(self) -> Store:
        """What the control plane believes; to be read only."""
        return self.run.assembly.control.store

    @property
    def seed(self) -> int:
        """The seed of this run."""
        return self.run.seed

    @property
    def now_ns(self) -> int:
        """Virtual ns: everything before it has happened."""
        return self.run.now_ns

    @property
    def machines(self) -> Selection[MachineHandle]:
        """All machines, by name."""
        names = sorted(self.store.machines)
        return Selection([MachineHandle(self, name) for name in names], "machine", self._draws)

    @property
    def realms(self) -> Selection[RealmHandle]:
        """All Realms that anybody wants or wanted, by name; deleted ones are not shown."""
        names = sorted(name for name, view in self.store.realms.items() if not view.deleted)
        return Selection([RealmHandle(self, name) for name in names], "Realm", self._draws)

    @property
    def rollouts(self) -> Selection[RolloutHandle]:
        """All rollouts, those of the file first."""
        known = self.run.assembly.rollouts.rollouts
        return Selection([RolloutHandle(self, rollout.goal.rollout) for rollout in known], "rollout", self._draws)

    @property
    def faults(self) -> dict[str, str]:
        """Faults in force: kind by name."""
        return {fault.deed.name: fault.deed.fault.fault for fault in self.run.assembly.storm.in_force}

    @property
    def finished(self) -> bool:
        """Whether the run has been ended and judged."""
        return self._results is not None

    def status(self) -> str:
        """One line: where the fleet stands as the control plane believes it."""
        return self.run.status()

    def explain(self, name: str) -> list[Event]:
        """What has happened to a Realm, machine, rollout or fault so far, and why; raises `UserMistake` if unknown."""
        if self.finished:
            return self.finish().explain(name)
        self.run.store.commit()
        with RunReader(self.run.path / rundir.DATABASE) as reader:
            return tell(reader.trace(), name)

    def check(self, *names: str) -> dict[str, Verdict]:
        """What the named checkers (all, if none is named) say of the run so far; raises `UnknownName`."""
        for name in names:
            if name not in CHECKERS:
                raise UnknownName("checker", name, CHECKERS)
        if self.finished:
            said = self.finish().verdicts
            return {name: said[name] for name in names or CHECKERS}
        self.run.store.commit()
        with RunReader(self.run.path / rundir.DATABASE) as reader:
            lines = list(reader.trace())
        facts = facts_of(self.run.cluster, self.now_ns, self.run.plan.firmware.anchors)
        return {verdict.name: verdict for verdict in judge(lines, facts, names)}

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self, span: Span) -> Fleet:
        """Let a stretch of virtual time pass, rounded up to whole beats."""
        return self.run_until(self.now_ns + _ns(span))

    def run_until(self, instant: Span) -> Fleet:
        """Let time pass to an instant since the start; one that is over already changes nothing."""
        self._open()
        self.run.run_until(_ns(instant))
        return self

    def until(self, condition: Callable[[Fleet], bool], within: Span = "10min", what: str = "the condition") -> int:
        """Let time pass beat by beat until `condition` holds; returns the instant (virtual ns).

        Raises:
            NotReached: it does not hold after `within`; `what` names it in the message.
        """
        self._open()
        beat_ns, deadline_ns, looked = self.cluster.control.beat, self.now_ns + _ns(within), -1
        while True:
            if looked != self.run.engine.beats:
                looked = self.run.engine.beats
                if condition(self):
                    return self.now_ns
            if self.now_ns >= deadline_ns:
                raise NotReached(f"{what} does not hold at {format_instant(self.now_ns)}", self.status())
            self.run.run_until(self.now_ns + beat_ns)

    # -- acting --------------------------------------------------------------------------------------------------------

    def launch(self, kind: str, count: int = 1) -> Selection[RealmHandle]:
        """Run more Realms of a kind; returns them. Raises `ActRefused`."""
        names = self.ask(i.LaunchRealms(kind, count)).subjects
        return Selection([RealmHandle(self, name) for name in names], "Realm", self._draws)

    def scale(self, kind: str, count: int) -> Fleet:
        """Launch or stop Realms of a kind until `count` are wanted. Raises `ActRefused`."""
        self.ask(i.ScaleKind(kind, count))
        return self

    def apply(self, what: str | Path | Spec) -> Fleet:
        """Reconcile with a changed cluster file or spec, all of it or nothing. Raises `ActRefused`, `UserMistake`."""
        if isinstance(what, Spec):
            what.cluster()
            text = what.text
        else:
            text = open_file(Path(what))[1]
        self.ask(i.ApplyFile(text))
        return self

    def migrate(self, realm: str, to: str = "") -> RealmHandle:
        """Move a serving Realm (modelled). Raises `ActRefused`, `UnknownName`."""
        return self.realms[realm].migrate(to)

    def drain(self, machine: str, *, dry_run: bool = False) -> None:
        """Empty a machine by moves (modelled). Raises `ActRefused`."""
        self.ask(i.DrainMachines(machine=machine, dry_run=dry_run))

    def evacuate(self, rack: str, *, dry_run: bool = False) -> None:
        """Empty all machines of a rack by moves (modelled). Raises `ActRefused`."""
        self.ask(i.DrainMachines(rack=rack, dry_run=dry_run))

    def rebalance(self, goal: Literal["spread", "pack"] = "spread", *, budget: int = 10, dry_run: bool = False) -> None:
        """Even out loads, or pack Realms onto fewer machines, with at most `budget` moves (modelled)."""
        self.ask(i.RebalanceFleet(goal, budget, dry_run))

    def end_drain(self, drain: str) -> None:
        """Give a drain or a rebalancing up. Raises `ActRefused`."""
        self.ask(i.EndDrain(drain))

    def cancel_migration(self, session: str) -> None:
        """End an open migration session, if the witness still can (modelled). Raises `ActRefused`."""
        self.ask(i.CancelMigration(session))

    def rollout(
        self,
        release: str,
        *,
        waves: Sequence[int | str] = DEFAULT_WAVES,
        strategy: Literal["live", "drain", "reboot", "auto"] = "live",
        bake: str = "10s",
        max_failures: int = 0,
        rollback: bool = False,
        **more: Any,
    ) -> RolloutHandle:
        """Roll a release out from now on; a wave is a number of machines or a share like "30%". Raises `ActRefused`.

        `more` are further keys of a rollout event of the cluster file, like `max_unavailable`.
        """
        written = [{"share": wave} if isinstance(wave, str) else {"machines": wave} for wave in waves]
        deed = {"release": release, "waves": written, "strategy": strategy, "bake": bake, **more}
        answer = self.ask(i.StartRollout({**deed, "max_failures": max_failures, "rollback": rollback}))
        return RolloutHandle(self, answer.subjects[0])

    def fault(self, what: str | Fault | Storm, **how: Any) -> FaultScope:
        """A fault for a `with` block: strikes when it is entered, healed when it is left.

        `what` is a kind of the catalogue with the arguments of `Fault`, a `Fault`, or a function of one's own that is
        given the fleet and `how` and yields faults.
        """
        if isinstance(what, str):
            return FaultScope(self, [Fault(what, **how)])
        return FaultScope(self, [what] if isinstance(what, Fault) else what(self, **how))

    def inject(self, kind: str, *, lasts: str = "30s", **how: Any) -> str:
        """Let a fault strike now and heal itself after `lasts`; returns its name. Raises `ActRefused`."""
        return self.ask(i.InjectFault(Fault(kind, lasts=lasts, **how).deed)).subjects[0]

    def ask(self, body: i.Input) -> Answer:
        """Have any operator's input journaled and judged; a beat passes. Raises `ActRefused`."""
        (answer,) = self.ask_all([body])
        if answer.rule:
            raise ActRefused(answer.rule, answer.what, answer.hint)
        return answer

    def ask_all(self, bodies: Sequence[i.Input]) -> list[Answer]:
        """Have several inputs judged at one boundary, in this order; a beat passes. Refusals are answers here."""
        self._open()
        return self.run.ask(*bodies)

    # -- ending --------------------------------------------------------------------------------------------------------

    def finish(self, after: Span | None = None) -> Results:
        """End the run (after some more time, if wished), judge it, write its directory; once ended, the same again."""
        if self._results is None:
            if after is not None:
                self.advance(after)
            result = self.run.finish()
            self._results = Results(self.run.path, result)
        return self._results

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.run.close()

    def _open(self) -> None:
        if self.finished:
            raise FleetError("this run has ended", "open the fleet again for another one")

    def __repr__(self) -> str:
        return f"{self.cluster.name}, seed {self.seed}, {format_instant(self.now_ns)}: {self.status()}"

    def _repr_html_(self) -> str:
        from orchestrator.scripting.notebook import fleet_html

        return fleet_html(self)


def _ns(span: Span) -> int:
    if isinstance(span, int):
        return span
    try:
        return parse_duration(span)
    except ValueError as error:
        raise FleetError(f"{span!r} is no duration: {error}", "write 90s, 5min or 2h") from None


def _script() -> str:
    """What to run again when file and journal are not all of a run."""
    script = sys.argv[0] if sys.argv and sys.argv[0].endswith(".py") else ""
    return f"python {shlex.quote(script)}" if script else "run the script again"
