"""The controller of migrations: admits requests, opens sessions, takes the one decision, and sees both ends through.

Orders of a phase are repeated until their end answers or is lost, because they decide about a paused Realm: nothing
here is given up for want of an answer. Opening orders are not repeated; a session that does not get on is aborted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from cca_machine.commands import (
    AbortImport,
    Command,
    CommitImport,
    DiscardExport,
    ExportReady,
    Heartbeat,
    Imported,
    ImportReady,
    OpenExport,
    OpenImport,
    Refused,
    ResumeExport,
    SessionClosed,
)
from cca_machine.host.states import HostedState
from orchestrator.cluster.schema import DrainEvent, MigrateEvent
from orchestrator.controller import Decision, Order
from orchestrator.engine.ports import Delivery
from orchestrator.fleet import leases
from orchestrator.migration.admission import Declined, admit, patience_ns, terms
from orchestrator.migration.drain import Drains
from orchestrator.migration.phases import ORDERS, UNDECIDED, Effect, Event, PhaseOrder, move, through
from orchestrator.realms import lifecycle
from orchestrator.realms.reference import realm_spec
from orchestrator.records import (
    MigrationAborted,
    MigrationCommitted,
    MigrationDeclined,
    MigrationFinished,
    MigrationStarted,
)
from orchestrator.scheduler.bind import take
from orchestrator.store import MachineState, MigrationRequest, RealmView, SessionPhase, SessionView, Store

_RUNNING = frozenset({HostedState.SERVING, HostedState.SERVING_LAPSED})


class MigrationController:
    """Looks after every open session."""

    name = "migration"

    def __init__(self, store: Store) -> None:
        events = [event for event in store.cluster.events if isinstance(event, MigrateEvent)]
        self._events = [(event.at, number, event) for number, event in enumerate(events)]
        heapq.heapify(self._events)
        self._drains = Drains([event for event in store.cluster.events if isinstance(event, DrainEvent)])
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
        if session is None or source not in (session.source, session.target):
            return
        match body:
            case ExportReady():
                session.sent_bytes = body.sent_bytes
                self._take(store, session, Event.EXPORT_READY)
            case ImportReady():
                self._take(store, session, Event.IMPORT_READY)
            case Imported():
                self._imported(store, session, delivery.message.sent_ns)
            case SessionClosed():
                self._end_closed(store, session, source, f"{source} closed the session: {body.how} {body.why}".rstrip())
            case Refused():
                self._refused(store, session, source, body)
            case _:
                pass

    def _imported(self, store: Store, session: SessionView, sent_ns: int) -> None:
        realm = store.realms[session.realm]
        if self._take(store, session, Event.IMPORTED):
            realm.hosted_since_ns = sent_ns

    def _heartbeat(self, store: Store, session: SessionView, machine: str, body: Heartbeat, sent_ns: int) -> None:
        """After a commit whose answer was lost, the target's heartbeat says what became of it."""
        if session.phase is not SessionPhase.COMMITTED or machine != session.target or sent_ns <= session.committed_ns:
            return
        held = {(status.realm, status.incarnation): status.state for status in body.realms}
        state = held.get((session.realm, session.incarnation))
        if state in _RUNNING:
            self._imported(store, session, sent_ns)
        elif state is None and session.failure:
            self._take(store, session, Event.FAILED)

    def _refused(self, store: Store, session: SessionView, end: str, body: Refused) -> None:
        why = f"{end} refused {body.command}: {body.code}: {body.why}"
        if body.command == "commit-import":
            # a repeated order may be refused because the first was carried out: the heartbeat tells
            session.failure = why
            if session.attempts == 1:
                self._take(store, session, Event.FAILED)
        else:
            self._end_closed(store, session, end, why)

    def _end_closed(self, store: Store, session: SessionView, end: str, why: str) -> None:
        """One end has nothing more to do with the session; before the decision that means it failed."""
        if session.phase is SessionPhase.COMMITTED and end == session.target:
            session.failure = why
            return
        if end == session.source:
            session.source_closed = True
        else:
            session.target_closed = True
        if session.phase in UNDECIDED:
            session.failure = why
            self._take(store, session, Event.FAILED)

    # -- deciding --------------------------------------------------------------------------------------------------

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Notice lost ends and deadlines, close what is through, repeat orders, and open what was asked for."""
        for session in sorted(store.sessions.values(), key=lambda session: session.session):
            self._look(store, session)
        while self._events and self._events[0][0] <= now_ns:
            event = heapq.heappop(self._events)[2]
            store.request_migration(event.realm, event.to or "", "operator")
        self._drains.decide(store)
        wanted, store.migrations_wanted = store.migrations_wanted, []
        for request in wanted:
            self._answer(store, request)
        for session in store.sessions.values():
            self._decision.due(session.deadline_ns if session.phase in UNDECIDED else session.again_ns)
        for due_ns in self._drains.due_ns():
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
        if target_lost:
            self._take(store, session, Event.TARGET_LOST)
        if session.deadline_ns <= store.now_ns:
            self._take(store, session, Event.DEADLINE)
        source_over, target_over = session.source_closed or source_lost, session.target_closed or target_lost
        if session.phase is SessionPhase.ABORTING and source_over:
            self._settle_source(store, session)
        if through(session.phase, source_over, target_over) and self._take(store, session, Event.CLOSED):
            return
        if session.phase not in UNDECIDED and session.again_ns <= store.now_ns:
            self._order_phase(store, session)

    def _take(self, store: Store, session: SessionView, event: Event) -> bool:
        effect = move(session, event)
        if effect is None:
            return False
        if effect in (Effect.ABORT, Effect.GIVE_UP):
            session.failure = session.failure or event
        if effect in (Effect.COMMIT, Effect.ABORT, Effect.HAND_OVER, Effect.GIVE_UP):
            session.attempts = 0
        _ACTS[effect](self, store, session, store.realms[session.realm])
        return True

    # -- effects ---------------------------------------------------------------------------------------------------

    def _nothing(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """Only the phase changes."""

    def _commit(self, store: Store, session: SessionView, realm: RealmView) -> None:
        """The decision, durable in the session: from here on the Realm is bound to the target."""
        session.committed_ns = store.now_ns
        store.bind(realm, session.target)
        realm.lease_until_ns = realm.hosted_since_ns = 0
        store.note(MigrationCommitted(*_about(session)))
        self._order_phase(store, session)

    def _abort(self, store: Store, session: SessionView, realm: RealmView) -> None:
        store.note(MigrationAborted(*_about(session), session.failure))
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
        self._decision.uncouple.append(session.session)
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
        )
        store.sessions[session.session] = session
        lifecycle.move(store, realm, lifecycle.Step.LEAVES, f"migration to {target.name}")
        realm.session = session.session
        take(store, target.name, realm)
        store.note(MigrationStarted(*_about(session), request.why, session.deadline_ns))
        self._decision.couple.append((session.session, source.name, target.name))
        spec = realm_spec(store.cluster, realm.kind, realm.name, realm.incarnation)
        self._order(target.name, OpenImport(session.session, spec, source.name, source.rak))
        agreed = terms(store.cluster)
        opened = OpenExport(session.session, realm.name, realm.incarnation, target.name, target.rak, agreed)
        self._order(source.name, opened)

    def _order_phase(self, store: Store, session: SessionView) -> None:
        """Send the orders of the present phase to the ends that have not answered them and are heard."""
        realm = store.realms[session.realm]
        session.attempts += 1
        session.again_ns = store.now_ns + store.cluster.control.order_timeout
        for order in ORDERS.get(session.phase, ()):
            at_target = order in (PhaseOrder.COMMIT, PhaseOrder.ABORT)
            machine = session.target if at_target else session.source
            answered = session.target_closed if at_target else session.source_closed
            if (answered and order is not PhaseOrder.COMMIT) or not store.machines[machine].heard:
                continue
            match order:
                case PhaseOrder.COMMIT:
                    self._order(machine, CommitImport(session.session, leases.grant(store, realm)))
                case PhaseOrder.ABORT:
                    self._order(machine, AbortImport(session.session))
                case PhaseOrder.RESUME:
                    self._order(machine, ResumeExport(session.session, leases.grant(store, realm)))
                case PhaseOrder.DISCARD:
                    self._order(machine, DiscardExport(session.session))

    def _order(self, machine: str, command: Command) -> None:
        self._decision.orders.append(Order(machine, command))


_ACTS: dict[Effect, Callable[[MigrationController, Store, SessionView, RealmView], None]] = {
    Effect.NONE: MigrationController._nothing,
    Effect.COMMIT: MigrationController._commit,
    Effect.ABORT: MigrationController._abort,
    Effect.HAND_OVER: MigrationController._hand_over,
    Effect.GIVE_UP: MigrationController._give_up,
    Effect.FINISH: MigrationController._finish,
}


def _about(session: SessionView) -> tuple[str, str, int, str, str]:
    return (session.session, session.realm, session.incarnation, session.source, session.target)


def _lost(store: Store, machine: str, boot: int) -> bool:
    """Whether nothing of the session can be left on the machine that still may run."""
    view = store.machines[machine]
    return view.state is MachineState.DOWN or view.boot != boot
