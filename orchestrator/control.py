"""The control plane: folds what arrived, lets the controllers decide, and numbers what leaves.

This is the only place that turns orders into messages and records into trace entries. Controllers are called in the
order given; every message and every record of the control plane is numbered here, per source, without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attestation.stores import ReferenceValues
from cca_machine.commands import CONTROL, Command
from orchestrator.cluster.schema import RevokeEvent
from orchestrator.controller import Controller, Decision, Order
from orchestrator.engine.ports import ControlStep, Delivery, Message, Priority, Strike, TraceEntry
from orchestrator.firmware.image import revoked_by
from orchestrator.firmware.tcb import TcbRecovery
from orchestrator.fleet.health import Health
from orchestrator.fleet.heartbeats import Heartbeats, Round
from orchestrator.migration.controller import MigrationController
from orchestrator.plan import Plan, opening_store
from orchestrator.realms.attestation import TokenSink, Verifier
from orchestrator.realms.controller import RealmController
from orchestrator.realms.outside import OutsideVerifier, Question
from orchestrator.scheduler.footprint import granules_of
from orchestrator.store import Note, Store

COMMAND_BYTES = 512
"""What a link is charged for a command without payload: headers, TLS record and a few fields (assumed)."""


def control_plane(
    made: Plan,
    rollouts: Sequence[Controller] = (),
    others: Sequence[Controller] = (),
    sink: TokenSink | None = None,
    heartbeats: Heartbeats | None = None,
) -> ControlPlane:
    """The control plane of a run: revocations, machines, `rollouts`, migrations, Realms, then `others` (chaos).

    Whoever asks something of another controller stands before it, so that requests are served in the step they arise
    in. `sink` gets every token that reaches the verifier. Without `heartbeats`, every heartbeat is sent.
    """
    store = opening_store(made)
    judging = Verifier if made.cluster.attestation.verifier is None else OutsideVerifier
    verifier = judging(made.cluster, made.machines, made.references, made.secret, sink)
    health = Health(verifier, granules_of, heartbeats or Heartbeats(made.cluster, made.machines))
    revocations = [event for event in made.cluster.events if isinstance(event, RevokeEvent)]
    recovery = TcbRecovery(revocations, verifier, partial(revoked_by, made.firmware, made.cluster, made.seed))
    realms = RealmController(store, verifier)
    controllers: list[Controller] = [recovery, health, *rollouts, MigrationController(store), realms, *others]
    return ControlPlane(store, controllers, verifier, health)


class ControlPlane:
    """Implements `ControlPort` of the engine over a store and its controllers.

    A step with nothing arrived and nothing due returns at once, so that skipping such steps changes nothing. A step
    that changed something has another behind it, at the next boundary: a controller may have decided before it knew.
    """

    def __init__(
        self,
        store: Store,
        controllers: Sequence[Controller],
        verifier: Verifier | None = None,
        health: Health | None = None,
    ) -> None:
        self.store = store
        self._verifier = verifier
        self.controllers = tuple(controllers)
        self._health = health
        self._messages = 0
        self._records = 0
        self._next_due_ns: int | None = 0

    @property
    def references(self) -> ReferenceValues:
        """What evidence is compared with, as it stands; the verifier changes it when firmware is revoked."""
        return ReferenceValues() if self._verifier is None else self._verifier.references

    def take_questions(self) -> list[Question]:
        """What a verifier outside is to be asked and was not taken yet."""
        return self._verifier.take_questions() if isinstance(self._verifier, OutsideVerifier) else []

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        """Fold `arrived` (in total order, all up to and including `now_ns`), then decide; instants in virtual ns."""
        due = self._next_due_ns is not None and self._next_due_ns <= now_ns
        if not arrived and not due:
            return ControlStep([], [], [], [], [], self._next_due_ns)
        store = self.store
        store.now_ns = now_ns
        store.requested = False
        for delivery in arrived:
            for controller in self.controllers:
                controller.fold(store, delivery)
        decisions = [self._decide(controller, now_ns) for controller in self.controllers]
        orders = [order for decision in decisions for order in decision.orders]
        strikes = sorted((strike for decision in decisions for strike in decision.strikes), key=_strike_key)
        held = self._heartbeats([*(order.machine for order in orders), *(strike.machine for strike in strikes)])
        changed = store.requested or bool(store.notes or orders)
        dues = [now_ns + 1 if changed else None, *(decision.next_due_ns for decision in decisions)]
        if self._health is not None:
            dues += self._health.dues()
        self._next_due_ns = _earliest(dues)
        return ControlStep(
            messages=[*self._numbered(orders, now_ns), *held.messages],
            strikes=strikes,
            couple=sorted(pair for decision in decisions for pair in decision.couple),
            uncouple=sorted(session for decision in decisions for session in decision.uncouple),
            records=self._recorded(),
            next_due_ns=self._next_due_ns,
            rest=held.rest,
            rouse=held.rouse,
            implied=held.implied,
        )

    def _heartbeats(self, touched: Sequence[str]) -> Round:
        if self._health is None:
            return Round([], [], [], [], 0)
        return self._health.close_step(self.store, touched)

    def _decide(self, controller: Controller, now_ns: int) -> Decision:
        decision = controller.decide(self.store, now_ns)
        for record in decision.records:
            self.store.note(record)
        return decision

    def _numbered(self, orders: list[Order], now_ns: int) -> list[Message]:
        messages = []
        for order in sorted(orders, key=lambda order: max(order.not_before_ns, now_ns)):
            self._messages += 1
            sent_ns = max(order.not_before_ns, now_ns)
            size = command_bytes(order.command)
            messages.append(Message(CONTROL, self._messages, order.machine, sent_ns, order.command, size_bytes=size))
        return messages

    def _recorded(self) -> list[TraceEntry]:
        notes, self.store.notes = self.store.notes, []
        entries = []
        for note in sorted(notes, key=_instant):
            self._records += 1
            entries.append(TraceEntry(note.at_ns, Priority.CONTROL, CONTROL, self._records, note.what))
        return entries


def command_bytes(command: Command) -> int:
    """Bytes a link is charged for a command: a fixed frame and the payload it carries (image or sealed secret)."""
    payload = getattr(command, "image", b"") or getattr(command, "jwe", b"")
    return COMMAND_BYTES + len(payload)


def _strike_key(strike: Strike) -> tuple[int, str]:
    return (strike.at_ns, strike.machine)


def _instant(note: Note) -> int:
    return note.at_ns


def _earliest(instants: Sequence[int | None]) -> int | None:
    return min((instant for instant in instants if instant is not None), default=None)
