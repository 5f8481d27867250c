"""The controller of migrations: admits requests, opens sessions, and sees both ends through.

It decides nothing about a Realm: what became of a session it learns from the lineage witness (modelled). Orders of a
phase are repeated until they are answered or their end is lost; a session that does not get on is withdrawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from cca_machine.commands import (
    AskLineage,
    Command,
    EndSession,
    ExportReady,
    Heartbeat,
    Imported,
    LineageDecided,
    LineageOffered,
    OpenExport,
    OpenImport,
    OpenLineage,
    Refused,
    SessionClosed,
    SettleSession,
)
from cca_machine.host.states import HostedState
from cca_machine.migration.session import lineage_name
from cca_machine.migration.verdict import Decision as Verdict
from cca_machine.migration.wire import WITNESS
from orchestrator.cluster.schema import DrainEvent, MigrateEvent, RebalanceEvent
from orchestrator.controller import Decision, Order
from orchestrator.engine.ports import Delivery
from orchestrator.fleet import leases
from orchestrator.migration.admission import Declined, admit, patience_ns, terms
from orchestrator.migration.drain import Drains
from orchestrator.migration.phases import ORDERS, TIMED, UNDECIDED, Effect, Event, PhaseOrder, move, through
from orchestrator.realms import lifecycle
from orchestrator.realms.reference import realm_spec
from orchestrator.records import (
    MigrationAborted,
    MigrationCommitted,
    MigrationDeclined,
    MigrationFinished,
    MigrationStarted,
    MigrationWaiting,
)
from orchestrator.scheduler.bind import take
from orchestrator.store import MachineState, MigrationRequest, RealmView, SessionPhase, SessionView, Store

_RUNNING = frozenset({HostedState.SERVING, HostedState.SERVING_LAPSED})

OPENINGS = 3
"""How often the two ends are told to begin; an end that heard none of it lets the deadline pass."""


class MigrationController:
    """Looks after every open session."""

    name = "migration"

    def __init__(self, store: Store) -> None:
        events = [event for event in store.cluster.events if isinstance(event, MigrateEvent)]
        self._events = [(event.at, number, event) for number, event in enumerate(events)]
        heapq.heapify(self._events)
        self._drains = Drains(
            [event for event in store.cluster.events if isinstance(event, DrainEvent | RebalanceEvent)]
        )
        self._opened = 0
        self._decision = Decision()

    # -- learning --------------------------------------------------------------------------------------------------

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Learn what the ends of open sessions answer."""
        source, body = delivery.message.source, delivery.message.body
        if isinstance(body, Heartbeat):
            for held in store.sessions_on(source):
                self._heartbeat(store, held, source, body, delivery.message.sent_ns)
            return
        named = body.subject if isinstance(body, Refused) else getattr(body, "session", "")
        session = store.sessions.get(named)
        if session is None or source not in (session.source, session.target, WITNESS):
            return
        match body:
            case LineageOffered():
                self._take(store, session, Event.OFFERED)
            case LineageDecided():
                self._decided(store, session, body)
            case ExportReady():
                session.sent_bytes = body.sent_bytes
                self._take(store, session, Event.EXPORT_READY)
            case Imported():
                self._imported(store, session, delivery.message.sent_ns)
            case SessionClosed():
                self._end_closed(store, session, source, f"{source} closed the session: {body.how} {body.why}".rstrip())
            case Refused():
                self._refused(store, session, source, body)
            case _:
                pass

    def _decided(self, store: Store, session: SessionView, told: LineageDecided) -> None:
        session.generation = told.generation
        self._take(store, session, Event.GRANTED if told.decision == Verdict.GRANT else Event.ABORTED)

    def _imported(self, store: Store, session: SessionView, sent_ns: int) -> None:
        realm = store.realms[session.realm]
        if self._take(store, session, Event.IMPORTED):
            realm.hosted_since_ns = sent_ns

    def _heartbeat(self, store: Store, session: SessionView, machine: str, body: Heartbeat, sent_ns: int) -> None:
        """A target whose answer was lost says by its heartbeat that the Realm runs."""
        if session.phase is SessionPhase.GRANTED and machine == session.target and sent_ns > session.committed_ns:
            held = {(status.realm, status.incarnation): status.state for status in body.realms}
            if held.get((session.realm, session.incarnation)) in _RUNNING:
                self._imported(store, session, sent_ns)

    def _refused(self, store: Store, session: SessionView, end: str, body: Refused) -> None:
        session.failure = session.failure or f"{end} refused {body.command}: {body.code}: {body.why}"
        self._take(store, session, Event.HELD if end == WITNESS else Event.FAILED)

    def _end_closed(self, store: Store, session: SessionView, end: str, why: str) -> None:
        """One end has nothing more to do with the session; what that means the witness says."""
        if end == session.source:
            session.source_closed = True
        else:
            session.target_closed = True
        if end == session.target or session.phase in UNDECIDED:
            session.failure = session.failure or why
            self._take(store, session, Event.FAILED)

    # -- deciding --------------------------------------------------------------------------------------------------

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Notice lost ends and deadlines, close what is through, repeat orders, and open what was asked for."""
        for session in sorted(store.sessions.values(), key=lambda session: session.session):
            self._look(store, session)
        cancels, store.cancels_wanted = store.cancels_wanted, []
        for name, why in cancels:
            self._cancel(store, name, why)
        while self._events and self._events[0][0] <= now_ns:
            event = heapq.heappop(self._events)[2]
            store.request_migration(event.realm, event.to or "", "operator")
        self._drains.decide(store)
        wanted, store.migrations_wanted = store.migrations_wanted, []
        for request in wanted:
            self._answer(store, request)
        for session in store.sessions.values():
            self._decision.due(session.again_ns)
            if session.phase in TIMED:
                self._decision.due(session.deadline_ns)
        for due_ns in self._drains.due_ns(store):
            self._decision.due(max(due_ns, now_ns + 1))
        if self._events:
            self._decision.due(self._events[0][0])
        decision, self._decision = self._decision, Decision()
        return decision

    def _look(self, store: Store, session: SessionView) -> None:
        # an end that is lost may come back with its copy paused: it counts as over only while it is lost
        source_lost = _lost(store, session.source, session.source_boot)
        target_lost = _lost(store, session.target, session.target_boot)
        if source_lost:
            self._take(store, session, Event.SOURCE_LOST)
        if target_lost and not session.target_fenced:
            session.target_fenced = store.machines[session.target].boot != session.target_boot
            if session.phase is not SessionPhase.WITHDRAWING or session.target_fenced:
                self._take(store, session, Event.TARGET_LOST)
        if session.deadline_ns <= store.now_ns and session.phase in TIMED:
            self._take(store, session, Event.DEADLINE)
        source_over, target_over = session.source_closed or source_lost, session.target_closed or target_lost
        if session.phase is SessionPhase.ABORTED and source_over:
            self._settle_source(store, session)
        if through(session.phase, source_over, target_over) and self._take(store, session, Event.CLOSED):
            return
        if session.phase is not SessionPhase.DONE and session.again_ns <= store.now_ns:
            self._order_phase(store, session)

    def _cancel(self, store: Store, name: str, why: str) -> None:
        session = store.sessions.get(name)
        if session is not None:
            session.failure = session.failure or why
            self._take(store, session, Event.CANCELLED)

    def _take(self, store: Store, session: SessionView, event: Event) -> bool:
        effect = move(session, event)
        if effect is None:
            return False
        if effect in (Effect.ASK_END, Effect.ABORT, Effect.GIVE_UP):
            session.failure = session.failure or event
        session.attempts = 0
        _ACTS[effect](self, store, session, store.realms[session.realm])
        return True

    # -- effects ---------------------------------------------------------------------------------------------------

    def _nothing(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """Only the phase changes."""

    def _orders(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """What the phase orders is ordered for the first time."""
        self._order_phase(store, session)

    def _commit(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """The witness granted it: the Realm is bound to the target for good."""
        session.committed_ns = store.now_ns
        store.bind(realm, session.target)
        realm.generation = session.generation
        realm.lease_until_ns = realm.hosted_since_ns = 0
        store.note(MigrationCommitted(*_about(session), session.generation))
        self._order_phase(store, session)

    def _abort(self, store: Store, session: SessionView, realm: RealmView) -> None:
        store.note(MigrationAborted(*_about(session), session.failure or "the witness ended it"))
        self._order_phase(store, session)

    def _settle_source(self, store: Store, session: SessionView) -> None:
        """After an abort the Realm is as well as its source: running again, or lost with it."""
        realm = store.realms[session.realm]
        if realm.session != session.session:
            return
        realm.session = ""
        if _lost(store, session.source, session.source_boot):
            session.outcome = "lost"
            store.lose(realm, "lost with the source of its migration")
        else:
            session.outcome = "resumed"
            lifecycle.move(store, realm, lifecycle.Step.STAYED, "migration aborted")

    def _hand_over(self, store: Store, session: SessionView, realm: RealmView) -> None:
        session.outcome = "moved"
        realm.session = ""
        lifecycle.move(store, realm, lifecycle.Step.MOVED, f"migrated from {session.source}")
        store.request_attestation(realm.name, "migration")
        self._order_phase(store, session)

    def _give_up(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """The decision stands although its holder failed: the source must not run the Realm again."""
        session.outcome = "lost"
        if realm.session == session.session:
            realm.session = ""
            store.lose(realm, f"lost with the target of its migration: {session.failure}")
        self._order_phase(store, session)

    def _finish(self, store: Store, session: SessionView, realm: RealmView) -> None:
        del store.sessions[session.session]
        self._decision.uncouple += [link[0] for link in _links(session)]
        store.note(MigrationFinished(*_about(session), session.outcome, session.opened_ns, session.sent_bytes))
        store.room = True

    # -- orders ----------------------------------------------------------------------------------------------------

    def _answer(self, store: Store, request: MigrationRequest) -> None:
        verdict = admit(store, request)
        if isinstance(verdict, Declined):
            store.note(MigrationDeclined(request.realm, request.to, request.why, verdict.rule, verdict.why))
            return
        realm = store.realms[request.realm]
        source, target = store.machines[realm.machine], store.machines[verdict.target]
        self._opened += 1
        session = SessionView(
            session=f"move-{self._opened:04d}",
            realm=realm.name,
            incarnation=realm.incarnation,
            source=source.name,
            target=target.name,
            why=request.why,
            opened_ns=store.now_ns,
            deadline_ns=store.now_ns + patience_ns(store.cluster, realm.kind),
            source_boot=source.boot,
            target_boot=target.boot,
            generation=realm.generation,
        )
        store.sessions[session.session] = session
        lifecycle.move(store, realm, lifecycle.Step.LEAVES, f"migration to {target.name}")
        realm.session = session.session
        take(store, target.name, realm)
        store.note(MigrationStarted(*_about(session), request.why, session.deadline_ns))
        self._decision.couple += _links(session)
        self._order_phase(store, session)

    def _order_phase(self, store: Store, session: SessionView) -> None:
        """Send the orders of the present phase to those that have not answered them and are heard."""
        session.attempts += 1
        session.again_ns = store.now_ns + store.cluster.control.order_timeout
        for order in ORDERS.get(session.phase, ()):
            self._send(store, session, order)
        if session.attempts == WAITED and (waits := _waits_for(store, session)):
            store.note(MigrationWaiting(*_about(session), session.phase, waits))

    def _send(self, store: Store, session: SessionView, order: PhaseOrder) -> None:
        lineage = lineage_name(session.realm, session.incarnation)
        match order:
            case PhaseOrder.OPEN_LINEAGE:
                terms_ = (session.generation, session.source, session.target, session.deadline_ns)
                self._order(WITNESS, OpenLineage(session.session, lineage, *terms_))
            case PhaseOrder.END_SESSION:
                ended = EndSession(session.session, lineage, session.failure, session.target_fenced)
                self._order(WITNESS, ended)
            case PhaseOrder.ASK_LINEAGE:
                if session.ends_told > 1:
                    self._order(WITNESS, AskLineage(session.session, lineage))
            case PhaseOrder.OPEN_IMPORT if session.ends_told < OPENINGS:
                self._open_import(store, session)
            case PhaseOrder.OPEN_EXPORT if session.ends_told < OPENINGS:
                self._open_export(store, session)
                session.ends_told += 1
            case PhaseOrder.SETTLE_SOURCE if not session.source_closed:
                self._settle(store, session, session.source)
            case PhaseOrder.SETTLE_TARGET if not session.target_closed:
                self._settle(store, session, session.target)

    def _open_import(self, store: Store, session: SessionView) -> None:
        realm, source = store.realms[session.realm], store.machines[session.source]
        spec = realm_spec(store.cluster, realm.kind, realm.name, realm.incarnation)
        until_ns = leases.grant_at(store, store.machines[session.target])
        fixed = (source.name, source.rak, store.witness, session.generation, session.deadline_ns, until_ns)
        self._order(session.target, OpenImport(session.session, spec, *fixed))

    def _open_export(self, store: Store, session: SessionView) -> None:
        target = store.machines[session.target]
        inbound = sum(one.target == target.name for one in store.sessions.values())
        agreed = terms(store.cluster, inbound)
        fixed = (target.name, target.rak, store.witness, session.generation, session.deadline_ns, agreed)
        self._order(session.source, OpenExport(session.session, session.realm, session.incarnation, *fixed))

    def _settle(self, store: Store, session: SessionView, end: str) -> None:
        """Ask an end how it ended; the one that has the Realm gets a lease with the question."""
        machine = store.machines[end]
        if machine.heard:
            holds = store.realms[session.realm].machine == end
            until_ns = leases.grant(store, store.realms[session.realm]) if holds else 0
            self._order(end, SettleSession(session.session, until_ns))

    def _order(self, machine: str, command: Command) -> None:
        self._decision.orders.append(Order(machine, command))


_ACTS: dict[Effect, Callable[[MigrationController, Store, SessionView, RealmView], None]] = {
    Effect.NONE: MigrationController._nothing,
    Effect.OPEN_ENDS: MigrationController._orders,
    Effect.ASK_END: MigrationController._orders,
    Effect.COMMIT: MigrationController._commit,
    Effect.ABORT: MigrationController._abort,
    Effect.HAND_OVER: MigrationController._hand_over,
    Effect.GIVE_UP: MigrationController._give_up,
    Effect.FINISH: MigrationController._finish,
}

WAITED = 3
"""Rounds of orders without an answer after which the trace names the party that does not answer."""


def _waits_for(store: Store, session: SessionView) -> str:
    """Who does not answer; empty when the session only takes its time."""
    if session.phase in (SessionPhase.OPENING, SessionPhase.WITHDRAWING):
        return WITNESS
    if session.phase is SessionPhase.GRANTED:
        return session.target
    if session.phase in (SessionPhase.HANDING_OVER, SessionPhase.ABORTED):
        return session.target if session.source_closed else session.source
    return ""


def _about(session: SessionView) -> tuple[str, str, int, str, str]:
    return (session.session, session.realm, session.incarnation, session.source, session.target)


def _links(session: SessionView) -> list[tuple[str, str, str]]:
    """The links on which a session speaks at the instant, not at the beat: its ends and its witness."""
    name, source, target = session.session, session.source, session.target
    return [(name, source, target), (f"{name}/source", source, WITNESS), (f"{name}/target", target, WITNESS)]


def _lost(store: Store, machine: str, boot: int) -> bool:
    """Whether nothing of the session can be left on the machine that still may run."""
    view = store.machines[machine]
    return view.state is MachineState.DOWN or view.boot != boot
