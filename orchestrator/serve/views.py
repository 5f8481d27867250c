"""What the API shows of a fleet: immutable records, copied from the control plane's belief at a boundary.

`snapshot_of` runs in the engine's thread and is the only function here that touches live state. All instants are
virtual nanoseconds.
"""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from orchestrator.assembly import Assembly
from orchestrator.chaos.storm import Deed, InForce
from orchestrator.engine.instant import format_instant
from orchestrator.firmware.rollout import Rollout
from orchestrator.store import MachineView, RealmState, RealmView, SessionView, Store


class Pace(Struct, frozen=True):
    """How virtual time passes on the wall: virtual seconds per wall second, and how far the run is behind that."""

    speed: float
    paused: bool
    behind_ms: int


class MachineShown(Struct, frozen=True):
    """A machine as the control plane believes it; what chaos does to it (`faults`) the control plane is never told."""

    name: str
    rack: str
    profile: str
    state: str
    since_ns: int
    boot: int
    versions: dict[str, str]
    cordons: dict[str, str]
    activity: str
    distrusted: str
    pes: int
    granules: int
    free_granules: int | None
    realms: int
    faults: tuple[str, ...]


class RealmShown(Struct, frozen=True):
    """A Realm as the control plane believes it."""

    name: str
    kind: str
    state: str
    since_ns: int
    machine: str
    incarnation: int
    session: str
    target: str
    """Where an open migration session takes it."""
    restarts: int
    refusals: int
    attested_ns: int
    attestations: int
    failure: str
    unplaced: dict[str, int]


class RolloutShown(Struct, frozen=True):
    """A rollout: where it stands, and in which phase each of its machines is."""

    name: str
    release: str
    component: str
    version: str
    stage: str
    wave: int
    waves: int
    at_ns: int
    bake_until_ns: int
    failures: int
    max_failures: int
    machines: dict[str, str]


class FaultShown(Struct, frozen=True):
    """A fault that is coming or in force."""

    name: str
    kind: str
    state: str
    targets: tuple[str, ...]
    peers: tuple[str, ...]
    at_ns: int
    until_ns: int


class SessionShown(Struct, frozen=True):
    """A migration session that is open (modelled)."""

    name: str
    realm: str
    source: str
    target: str
    phase: str
    opened_ns: int
    deadline_ns: int


class Snapshot(Struct, frozen=True):
    """The fleet at one boundary; `lines` is how much of the trace was settled by then."""

    number: int
    now_ns: int
    lines: int
    pace: Pace
    machines: tuple[MachineShown, ...]
    realms: tuple[RealmShown, ...]
    rollouts: tuple[RolloutShown, ...]
    faults: tuple[FaultShown, ...]
    sessions: tuple[SessionShown, ...]


class Status(Struct, frozen=True):
    """The fleet in a few numbers."""

    cluster: str
    seed: int
    run_dir: str
    fleet: str
    now_ns: int
    now: str
    pace: Pace
    stopping: bool
    machines: dict[str, int]
    realms: dict[str, int]
    realms_wanted: int
    realms_serving: int
    faults_in_force: int
    sessions_open: int
    rollouts: dict[str, str]
    trace_records: int
    kind: str = "status"
    schema_version: int = 1


def snapshot_of(assembly: Assembly, now_ns: int, number: int, lines: int, pace: Pace) -> Snapshot:
    """Copy what may be shown; to be called by the engine's thread, between beats."""
    store, storm = assembly.control.store, assembly.storm
    struck: dict[str, list[str]] = {}
    for fault in storm.in_force:
        for machine in (*fault.targets, *fault.peers):
            struck.setdefault(machine, []).append(fault.deed.name)
    return Snapshot(
        number=number,
        now_ns=now_ns,
        lines=lines,
        pace=pace,
        machines=tuple(_machine(view, tuple(struck.get(view.name, ()))) for view in store.machines.values()),
        realms=tuple(_realm(view, store) for view in store.realms.values() if not view.deleted),
        rollouts=tuple(_rollout(rollout) for rollout in assembly.rollouts.rollouts),
        faults=(*(_in_force(fault) for fault in storm.in_force), *(_coming(deed) for deed in storm.coming)),
        sessions=tuple(_session(session) for session in store.sessions.values()),
    )


def _machine(view: MachineView, faults: tuple[str, ...]) -> MachineShown:
    return MachineShown(
        name=view.name,
        rack=view.rack,
        profile=view.profile,
        state=view.state.value,
        since_ns=view.since_ns,
        boot=view.boot,
        versions=dict(view.versions),
        cordons=dict(view.cordons),
        activity=view.activity,
        distrusted=view.distrusted,
        pes=view.pes,
        granules=view.granules,
        free_granules=None if view.capacity is None else view.capacity.granules,
        realms=len(view.residents),
        faults=faults,
    )


def _realm(view: RealmView, store: Store) -> RealmShown:
    session = store.sessions.get(view.session)
    return RealmShown(
        name=view.name,
        kind=view.kind,
        state=view.state.value,
        since_ns=view.since_ns,
        machine=view.machine,
        incarnation=view.incarnation,
        session=view.session,
        target="" if session is None else session.target,
        restarts=view.restarts,
        refusals=view.refusals,
        attested_ns=view.attested_ns,
        attestations=view.attestations,
        failure=view.failure,
        unplaced=dict(view.unplaced),
    )


def _rollout(rollout: Rollout) -> RolloutShown:
    state, goal, event = rollout.state, rollout.goal, rollout.event
    return RolloutShown(
        name=goal.rollout,
        release=goal.release,
        component=goal.component,
        version=goal.version,
        stage=state.stage.value,
        wave=state.wave,
        waves=len(event.waves),
        at_ns=event.at,
        bake_until_ns=state.bake_until_ns,
        failures=len(state.failures),
        max_failures=event.max_failures,
        machines={name: update.phase.value for name, update in state.updates.items()},
    )


def _in_force(fault: InForce) -> FaultShown:
    deed = fault.deed
    return FaultShown(deed.name, deed.fault.fault, "in-force", fault.targets, fault.peers, deed.at_ns, deed.until_ns)


def _coming(deed: Deed) -> FaultShown:
    return FaultShown(deed.name, deed.fault.fault, "coming", (), (), deed.at_ns, deed.until_ns)


def _session(view: SessionView) -> SessionShown:
    return SessionShown(
        view.session, view.realm, view.source, view.target, view.phase.value, view.opened_ns, view.deadline_ns
    )


ENDED = frozenset({RealmState.STOPPED.value, RealmState.STOPPING.value})
"""States of Realms that nobody wants any more."""


def status_of(shot: Snapshot, *, cluster: str, seed: int, run_dir: str, fleet: str, stopping: bool) -> Status:
    """A snapshot in a few numbers."""
    realms = Counter(realm.state for realm in shot.realms)
    return Status(
        cluster=cluster,
        seed=seed,
        run_dir=run_dir,
        fleet=fleet,
        now_ns=shot.now_ns,
        now=format_instant(shot.now_ns),
        pace=shot.pace,
        stopping=stopping,
        machines=dict(sorted(Counter(machine.state for machine in shot.machines).items())),
        realms=dict(sorted(realms.items())),
        realms_wanted=sum(realm.state not in ENDED for realm in shot.realms),
        realms_serving=realms[RealmState.SERVING.value],
        faults_in_force=sum(fault.state == "in-force" for fault in shot.faults),
        sessions_open=len(shot.sessions),
        rollouts={rollout.name: rollout.stage for rollout in shot.rollouts},
        trace_records=shot.lines,
    )
