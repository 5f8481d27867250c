"""Recovery: what is lost comes back as a new incarnation, and what came back uncalled for is stopped.

A copy is declared lost in two ways only: its machine booted anew (or its RMM died), or its machine was silent until the
last lease had ended with margin. Both are said by `orchestrator.fleet.health`. A host that no longer lists a copy which
it had announced has lost it too. A copy that a host lists and nobody believes in is an old incarnation: it is stopped.
"""

from __future__ import annotations

from cca_machine.commands import Heartbeat, Stop
from cca_machine.host.states import HostedState
from orchestrator.controller import Order
from orchestrator.realms.bring_up import BringUp
from orchestrator.realms.lifecycle import Step
from orchestrator.records import RealmRestart, StrayCopy
from orchestrator.store import RealmState, RealmView, Store

REBOOTED = "rebooted"

_ANNOUNCED = frozenset({RealmState.VERIFYING, RealmState.RELEASING, RealmState.SERVING})
_ENDING = frozenset({RealmState.REPLACING, RealmState.STOPPING})


class Recovery:
    """Losses, vanished copies and strays."""

    def __init__(self, bring_up: BringUp) -> None:
        self._bring_up = bring_up
        self._strays: dict[tuple[str, str, int], int] = {}

    def take_losses(self, store: Store) -> None:
        """Restart what was declared lost since the last look."""
        losses, store.losses = store.losses, []
        for loss in losses:
            realm = store.realms[loss.realm]
            if (realm.incarnation, realm.machine) == (loss.incarnation, loss.machine):
                self._lose(store, realm, loss.why)

    def _lose(self, store: Store, realm: RealmView, why: str) -> None:
        if realm.session and not _committed(store, realm):
            return  # migration decides whether the other side can still have it
        if realm.state is RealmState.LAUNCHING and why == REBOOTED:
            # the order may have reached the machine after its boot, so only the same machine may build this copy
            self._bring_up.relaunch(store, realm)
            return
        incarnation, machine, lease_until_ns = realm.incarnation, realm.machine, realm.lease_until_ns
        stopping = realm.state is RealmState.STOPPING
        if self._bring_up.take(store, realm, Step.LOST, why) and not stopping:
            realm.session = ""
            realm.restarts += 1
            store.note(RealmRestart(realm.name, incarnation, machine, why, lease_until_ns))

    def read_heartbeat(self, store: Store, machine: str, body: Heartbeat, sent_ns: int) -> None:
        """Compare what the host says it holds with what is believed to be there."""
        if not body.rmm_alive or store.machines[machine].heartbeat_ns != sent_ns:
            return  # no copy lives there, or a newer heartbeat was read before
        listed = {(status.realm, status.incarnation): status.state for status in body.realms}
        for (name, incarnation), state in listed.items():
            realm = store.realms.get(name)
            if realm is not None and realm.hosted and (realm.machine, realm.incarnation) == (machine, incarnation):
                self._seen(store, realm, state, sent_ns)
            elif state != HostedState.STOPPING:
                self._stray(store, machine, name, incarnation)
        for realm in store.realms_on(machine):
            if (realm.name, realm.incarnation) not in listed and 0 < realm.hosted_since_ns < sent_ns:
                self._vanished(store, realm)

    def _seen(self, store: Store, realm: RealmView, state: str, sent_ns: int) -> None:
        realm.hosted_state = state
        if realm.state is RealmState.SERVING and state == HostedState.LEAVING and sent_ns > realm.since_ns:
            # an opening order that came after its session was given up; nobody would ever let this copy run again
            self._bring_up.refuse(store, realm, "paused for a migration session that is over")
        if realm.state is RealmState.RELEASING and state == HostedState.SERVING:
            self._bring_up.take(store, realm, Step.OPENED, "the host says so; the answer was lost")

    def _vanished(self, store: Store, realm: RealmView) -> None:
        if realm.state in _ANNOUNCED:
            store.lose(realm, "the host no longer has it")
        elif realm.state in _ENDING:
            self._bring_up.gone(store, realm)

    def _stray(self, store: Store, machine: str, name: str, incarnation: int) -> None:
        """Stop a copy that is not the one believed in, unless an open migration session still decides about it."""
        if any(session.realm == name for session in store.sessions_on(machine)):
            return
        key = (machine, name, incarnation)
        if self._strays.get(key, 0) > store.now_ns:
            return
        self._strays[key] = store.now_ns + store.cluster.control.order_timeout
        realm = store.realms.get(name)
        believed = ("", 0) if realm is None else (realm.machine, realm.incarnation)
        store.note(StrayCopy(machine, name, incarnation, *believed))
        self._bring_up.orders.append(Order(machine, Stop(name, incarnation)))

    def stray_gone(self, machine: str, realm: str, incarnation: int) -> None:
        """The machine confirmed that a stray copy is no more."""
        self._strays.pop((machine, realm, incarnation), None)


def _committed(store: Store, realm: RealmView) -> bool:
    session = store.sessions.get(realm.session)
    return session is None or session.committed_ns > 0
