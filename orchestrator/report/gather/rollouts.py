"""Rollouts: waves and how they ended, how the fleet came to the release, and how long Realms ran without it.

Exposure counts Realm-time on machines that did not yet run what the rollout brings, from its beginning on; the
definition is that of `orchestrator.firmware.outcome`, which a test holds this to.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.availability import Cause, Gap
from orchestrator.report.gather.bounded import Some, Steps

UPDATING: Final = frozenset({Cause.ACTIVATION, Cause.MIGRATION, Cause.REBOOT, Cause.RESTART})
"""Causes of downtime that an update itself brings; lost machines and expired leases are the faults' doing."""
SHARES: Final = (50, 95, 100)
"""Percent of the machines whose update is timed."""
MOST_EVENTS: Final = 60


class Wave(Struct):
    """One wave: when it was taken and baked, and how its machines ended."""

    number: int
    from_ns: int
    machines: int
    retry: bool
    until_ns: int | None = None
    done: int = 0
    failed: int = 0
    absent: int = 0


class GateAnswer(Struct, frozen=True):
    """What a gate of a wave answered last: pass, fail or inconclusive, and why."""

    at_ns: int
    wave: int
    gate: str
    answer: str
    why: str


class Rollout(Struct):
    """One rollout; `exposed_ns` is Realm-time on machines without the version, counted from its beginning."""

    rollout: str
    release: str
    component: str
    version: str
    machines: int
    planned: int
    from_ns: int
    state: str = "running"
    why: str = ""
    until_ns: int | None = None
    waves: list[Wave] = []
    events: Some[tuple[int, str]] | None = None
    updated: int = 0
    progress: Steps | None = None
    exposed: Steps | None = None
    exposed_ns: int = 0
    counted_ns: int = 0
    reached_ns: dict[int, int] = {}
    downtime_ns: int = 0
    downtime_faults_ns: int = 0
    migrations: int = 0
    restarts: int = 0
    gates: dict[tuple[int, str], GateAnswer] = {}
    failures: dict[str, str] = {}
    """Machines that failed or were lost on the way, with the reason; the first few."""


class Rollouts:
    """All rollouts of a run. Listens to `Presence` for who executes where."""

    def __init__(self) -> None:
        self.all: list[Rollout] = []
        self._executing: dict[str, int] = {}
        self._updated: dict[tuple[str, str], dict[str, int]] = {}

    # -- who executes where ------------------------------------------------------------------------------------------

    def executes(self, at_ns: int, realm: str, machine: str) -> None:
        self._count(at_ns, machine, 1)

    def serves(self, at_ns: int, realm: str, machine: str) -> None:
        """Executing is what exposes."""

    def ends(self, at_ns: int, realm: str, machine: str, served: bool, why: str) -> None:
        self._count(at_ns, machine, -1)

    def pauses(self, at_ns: int, realm: str, machine: str, pause_ns: int) -> None:
        """An activation ends no copy."""

    def _count(self, at_ns: int, machine: str, by: int) -> None:
        self._executing[machine] = self._executing.get(machine, 0) + by
        for rollout in self.all:
            if machine not in self._done(rollout):
                self._expose(rollout, at_ns, by)

    def _expose(self, rollout: Rollout, at_ns: int, by: int) -> None:
        assert rollout.exposed is not None
        rollout.exposed_ns += rollout.exposed.value * (at_ns - rollout.counted_ns)
        rollout.counted_ns = at_ns
        rollout.exposed.add(at_ns, by)

    def _done(self, rollout: Rollout) -> dict[str, int]:
        return self._updated.setdefault((rollout.component, rollout.version), {})

    # -- records -----------------------------------------------------------------------------------------------------

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "rollout.started":
                self._start(line)
            case "firmware.activated" | "firmware.booted":
                self._update(line)
            case "migration.finished" | "realm.restart":
                for rollout in self.all:
                    rollout.migrations += what.get("outcome") == "moved"
                    rollout.restarts += line.kind == "realm.restart"
            case "rollout.rolled-back":
                held = self._named(what["held"])
                if held is not None:
                    told = what["refused"] or f"{what['rollout']} brings {what['release']} back"
                    self._tell(held, line.at_ns, f"rollback: {told}")
            case _:
                named = self._named(what["rollout"])
                if named is not None:
                    self._follow(named, line)

    def gap(self, gap: Gap) -> None:
        """Downtime of a Realm that ended (or the run did) after a rollout began."""
        if gap.cause is Cause.BRING_UP:
            return
        for rollout in self.all:
            if gap.until_ns > rollout.from_ns:
                if gap.cause in UPDATING:
                    rollout.downtime_ns += gap.duration_ns
                else:
                    rollout.downtime_faults_ns += gap.duration_ns

    def close(self, end_ns: int) -> None:
        """The run ends: exposure is counted up to here."""
        for rollout in self.all:
            self._expose(rollout, end_ns, 0)

    def _named(self, name: str) -> Rollout | None:
        return next((rollout for rollout in self.all if rollout.rollout == name), None)

    def _start(self, line: Line) -> None:
        what = line.what
        rollout = Rollout(
            what["rollout"],
            what["release"],
            what["component"],
            what["version"],
            what["machines"],
            what["waves"],
            line.at_ns,
            events=Some(MOST_EVENTS),
            progress=Steps(),
            exposed=Steps(),
            counted_ns=line.at_ns,
        )
        done = self._done(rollout)
        self.all.append(rollout)
        assert rollout.progress is not None
        rollout.progress.set(line.at_ns, len(done))
        rollout.updated = len(done)
        exposed = sum(count for machine, count in self._executing.items() if machine not in done)
        self._expose(rollout, line.at_ns, exposed)

    def _update(self, line: Line) -> None:
        for rollout in self.all:
            if (rollout.component, rollout.version) != (line.what["component"], line.what["version"]):
                continue
            done = self._done(rollout)
            if line.source not in done:
                self._arrive(rollout, line)
        self._updated.setdefault((line.what["component"], line.what["version"]), {}).setdefault(line.source, line.at_ns)

    def _arrive(self, rollout: Rollout, line: Line) -> None:
        """A machine runs the version for the first time."""
        assert rollout.progress is not None
        rollout.updated += 1
        rollout.progress.add(line.at_ns, 1)
        for share in SHARES:
            if rollout.updated >= -(-rollout.machines * share // 100):
                rollout.reached_ns.setdefault(share, line.at_ns - rollout.from_ns)
        self._expose(rollout, line.at_ns, -self._executing.get(line.source, 0))

    def _follow(self, rollout: Rollout, line: Line) -> None:
        what = line.what
        match line.kind:
            case "wave.started":
                rollout.waves.append(Wave(what["wave"], line.at_ns, len(what["machines"]), what["retry"]))
                rollout.state = "running"
            case "wave.finished":
                for wave in rollout.waves:
                    if wave.number == what["wave"] and wave.until_ns is None:
                        wave.until_ns, wave.done = line.at_ns, what["done"]
                        wave.failed, wave.absent = what["failed"], what["absent"]
            case "rollout.machine":
                if what["phase"] in ("failed", "absent") and len(rollout.failures) < MOST_EVENTS:
                    rollout.failures[what["machine"]] = f"{what['phase']}: {what['why']}"
            case "gate.judged":
                key = (what["wave"], what["gate"])
                if key in rollout.gates or len(rollout.gates) < MOST_EVENTS:
                    rollout.gates[key] = GateAnswer(line.at_ns, *key, what["answer"], what["why"])
            case "rollout.promoted":
                rollout.state = "running"
                self._tell(rollout, line.at_ns, f"an operator vouches for wave {what['wave']}")
            case "rollout.retried":
                rollout.state = "running"
                self._tell(rollout, line.at_ns, f"{len(what['machines'])} failed machines are taken again")
            case "rollout.steered":
                self._tell(rollout, line.at_ns, f"{what['do']}: {what['refused'] or 'done'}")
            case "rollout.held":
                self._end(rollout, line, "held", what["why"])
            case "rollout.finished":
                self._end(rollout, line, "finished", "")
            case "rollout.paused":
                rollout.state = "paused"
                self._tell(rollout, line.at_ns, f"paused by an operator in wave {what['wave']}")
            case "rollout.resumed":
                rollout.state = "running"
                self._tell(rollout, line.at_ns, f"resumed by an operator in wave {what['wave']}")
            case "rollout.aborted":
                rollout.state = "aborting"
                self._tell(rollout, line.at_ns, f"given up by an operator in wave {what['wave']}")
            case "rollout.waiting":
                rollout.state = "waiting"
                self._tell(rollout, line.at_ns, f"waits for {len(what['absent'])} machines that were lost on the way")

    def _end(self, rollout: Rollout, line: Line, state: str, why: str) -> None:
        rollout.state, rollout.until_ns, rollout.why = state, line.at_ns, why or rollout.why
        told = f"{state}: {why}" if why else f"{state}: {line.what.get('done', 0)} machines done"
        self._tell(rollout, line.at_ns, told)

    def _tell(self, rollout: Rollout, at_ns: int, told: str) -> None:
        assert rollout.events is not None
        rollout.events.add((at_ns, told))


KINDS: Final = (
    "rollout.started", "wave.started", "wave.finished", "rollout.machine", "rollout.held", "rollout.finished",
    "rollout.paused", "rollout.resumed", "rollout.aborted", "rollout.waiting", "rollout.rolled-back",
    "rollout.promoted", "rollout.retried", "rollout.steered", "gate.judged", "firmware.activated", "firmware.booted",
    "migration.finished", "realm.restart",
)  # fmt: skip
