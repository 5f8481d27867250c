"""The controller of Realms: wants them in time, brings them up, recovers them, attests them anew, stops them."""

from __future__ import annotations

import heapq

from cca_machine.commands import Attested, Heartbeat, Launched, Refused, Serving, Stopped
from cca_machine.host.states import HostedState
from orchestrator.cluster.schema import StopEvent
from orchestrator.controller import Decision
from orchestrator.engine.ports import Delivery
from orchestrator.realms.attestation import Verifier
from orchestrator.realms.bring_up import BringUp
from orchestrator.realms.lifecycle import Step
from orchestrator.realms.recover import Recovery
from orchestrator.store import RealmState, RealmView, Store

UNKNOWN_REALM = "unknown-realm"
"""The word with which a host refuses an order about a Realm it does not have."""
TRANSIENT = frozenset({"realm-paused", "realm-busy"})
"""Words of a host that say "not now": the order is repeated when its time has come."""


class RealmController:
    """Looks after every Realm of the cluster file."""

    name = "realms"

    def __init__(self, store: Store, verifier: Verifier) -> None:
        self._bring_up = BringUp(verifier)
        self._recovery = Recovery(self._bring_up)
        self._starts = [(realm.start_at_ns, realm.name) for realm in store.realms.values()]
        heapq.heapify(self._starts)
        self._stops = [(event.at, event.realm) for event in store.cluster.events if isinstance(event, StopEvent)]
        self._stops += [(realm.stop_at_ns, realm.name) for realm in store.realms.values() if realm.stop_at_ns]
        heapq.heapify(self._stops)

    # -- learning ------------------------------------------------------------------------------------------------------

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Learn from answers about copies; an answer about a copy nobody believes in moves nothing."""
        machine, body = delivery.message.source, delivery.message.body
        match body:
            case Heartbeat():
                if machine in store.machines:
                    self._recovery.read_heartbeat(store, machine, body, delivery.message.sent_ns)
            case Launched() | Attested():
                realm = _copy(store, machine, body.realm, body.incarnation)
                if realm is not None:
                    self._evidence(store, realm, body, delivery)
            case Serving():
                realm = _copy(store, machine, body.realm, body.incarnation)
                if realm is not None:
                    self._bring_up.take(store, realm, Step.OPENED, "secret opened")
            case Stopped():
                self._recovery.stray_gone(machine, body.realm, body.incarnation)
                realm = _copy(store, machine, body.realm, body.incarnation)
                if realm is not None:
                    self._bring_up.gone(store, realm)
            case Refused():
                realm = _copy(store, machine, body.subject, body.incarnation)
                if realm is not None and realm.asked is not None and realm.asked.command == body.command:
                    self._refused(store, realm, body)
            case _:
                pass

    def _evidence(self, store: Store, realm: RealmView, body: Launched | Attested, delivery: Delivery) -> None:
        if realm.state in (RealmState.REPLACING, RealmState.STOPPING):
            self._bring_up.ask_again(store, realm, store.now_ns)  # built at last, so now it can be stopped
        else:
            self._bring_up.evidence(store, realm, body.evidence, delivery)

    def _refused(self, store: Store, realm: RealmView, body: Refused) -> None:
        assert realm.asked is not None
        first = realm.asked.attempts == 1
        why = f"{body.command} refused: {body.code}: {body.why}"
        if body.command == "launch":
            if first:
                self._bring_up.avoid(realm, realm.machine)
                self._bring_up.take(store, realm, Step.NOT_BUILT, why)
            elif realm.hosted_state != HostedState.BUILDING:
                self._bring_up.probe(store, realm)  # an earlier order was carried out, and only its answer was lost
        elif body.code == UNKNOWN_REALM:
            self._unknown(store, realm)
        elif body.code not in TRANSIENT and body.command != "stop":
            self._bring_up.refuse(store, realm, why)

    def _unknown(self, store: Store, realm: RealmView) -> None:
        """The host does not have the copy it was ordered to deal with."""
        if realm.state in (RealmState.REPLACING, RealmState.STOPPING):
            self._bring_up.gone(store, realm)
        elif realm.state is RealmState.LAUNCHING:
            self._bring_up.relaunch(store, realm)
        else:
            store.lose(realm, "the host no longer has it")

    # -- deciding ------------------------------------------------------------------------------------------------------

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Losses first, then verdicts, stops, repeated orders and requests for evidence, and placing last."""
        decision = Decision()
        bring_up = self._bring_up
        bring_up.verifier.follow(store.cluster, store.seed)
        while self._starts and self._starts[0][0] <= now_ns:
            _, name = heapq.heappop(self._starts)
            bring_up.take(store, store.realms[name], Step.DUE, "start")
        launches, store.launches_wanted = store.launches_wanted, []
        for name in launches:
            bring_up.take(store, store.realms[name], Step.DUE, "operator")
        self._recovery.take_losses(store)
        bring_up.take_verdicts(store, decision)
        self._take_stops(store)
        self._ask_evidence(store)
        bring_up.repeat_orders(store, decision)
        bring_up.place(store, decision)
        store.room = False
        decision.orders, bring_up.orders = bring_up.orders, []
        for waiting in (self._starts, self._stops):
            if waiting:
                decision.due(waiting[0][0])
        return decision

    def _take_stops(self, store: Store) -> None:
        while self._stops and self._stops[0][0] <= store.now_ns:
            _, name = heapq.heappop(self._stops)
            store.request_stop(name)
        wanted, store.stops_wanted = store.stops_wanted, []
        for name in wanted:
            realm = store.realms[name]
            if realm.state is RealmState.MIGRATING:
                store.stops_wanted.append(name)  # the session comes to its end first
            else:
                self._bring_up.take(store, realm, Step.STOP, realm.stop_wanted)

    def _ask_evidence(self, store: Store) -> None:
        wanted, store.attestations_wanted = store.attestations_wanted, []
        for name in dict.fromkeys(wanted):
            realm = store.realms[name]
            if realm.attest_wanted:
                self._bring_up.ask_evidence(store, realm)
            if realm.attest_wanted and realm.hosted:
                store.attestations_wanted.append(name)  # not yet possible: an order is open, or it is on the move


def _copy(store: Store, machine: str, name: str, incarnation: int) -> RealmView | None:
    """The Realm, if its believed copy is this incarnation on this machine."""
    realm = store.realms.get(name)
    if realm is None or not realm.hosted or (realm.machine, realm.incarnation) != (machine, incarnation):
        return None
    return realm
