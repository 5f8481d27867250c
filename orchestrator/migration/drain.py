"""Emptying machines and rearranging loads: which Realm moves next, under which limits, and what keeps it (modelled).

A drain cordons its machines and asks, Realm by Realm, for a move; a rebalancing asks for the moves of its plan. They
take turns, so that one with many Realms does not hold every slot of the fleet. A Realm whose move was declined or
failed is tried again after a wait that doubles, and is reported as blocked, with the rule, once its tries are used up.
It ends when no Realm is left that it could still move. Ending it early takes the cordons back, clears what was asked
for, and ends its sessions if the lineage witness still can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from orchestrator.cluster.schema import DrainEvent, RebalanceEvent
from orchestrator.migration.admission import Admitted, admit, move_ns, sessions_allowed
from orchestrator.migration.rebalance import Goal, moves
from orchestrator.records import DrainBlocked, DrainFinished, DrainPlanned, DrainStarted
from orchestrator.store import DrainRequest, DrainView, MigrationRequest, RealmState, RealmView, Store, Try

_ENDED = frozenset({RealmState.STOPPED, RealmState.FAILED})


class Drains:
    """All drains of a fleet, and whose turn it is."""

    def __init__(self, events: list[DrainEvent | RebalanceEvent]) -> None:
        self._events = sorted(events, key=lambda event: event.at)
        self._opened = 0
        self._turn = 0

    def due_ns(self, store: Store) -> Iterator[int]:
        """Instants at which there is something to do."""
        if self._events:
            yield self._events[0].at
        for drain in store.drains.values():
            yield from (one.again_ns for one in drain.tries.values() if one.again_ns and not one.blocked)

    def decide(self, store: Store) -> None:
        """Begin what is due, ask for the moves that the limits allow, and end what is done."""
        while self._events and self._events[0].at <= store.now_ns:
            store.drains_wanted.append(_request(self._events.pop(0)))
        ended, store.drains_ended = store.drains_ended, []
        for name in ended:
            self._give_up(store, name)
        wanted, store.drains_wanted = store.drains_wanted, []
        for request in wanted:
            self._begin(store, request)
        self._ask(store)
        for drain in [drain for drain in store.drains.values() if not self._left(store, drain)]:
            self._finish(store, drain)

    def _begin(self, store: Store, request: DrainRequest) -> None:
        self._opened += 1
        goals: dict[str, str] = {}
        if request.goal:
            goal: Goal = "spread" if request.goal == "spread" else "pack"
            planned = moves(store, goal, request.budget)
            goals = {move.realm: move.target for move in planned}
            machines = tuple(sorted({move.source for move in planned}))
        else:
            machines = _machines(store, request)
        word = "rebalance" if request.goal else "drain"
        drain = DrainView(f"{word}-{self._opened:03d}", machines, store.now_ns, 0, goals=goals)
        realms = _left_to_move(store, drain)
        drain.realms = len(realms)
        drain.eta_ns = store.now_ns + _takes_ns(store, realms)
        store.note(DrainStarted(drain.name, machines, len(realms), request.dry_run, request.goal, drain.eta_ns))
        self._plan(store, drain, realms)
        if request.dry_run:
            return
        for machine in machines if not goals else ():
            store.cordon(machine, f"{drain.name} empties it", drain.name)
        store.drains[drain.name] = drain

    def _plan(self, store: Store, drain: DrainView, realms: list[RealmView]) -> None:
        """Say of each Realm where it would go, or which rule blocks it, before anything moves."""
        for machine in drain.machines if not drain.goals else ():
            store.machines[machine].cordons[drain.name] = "planned"
            store.touch(machine)
        for realm in realms:
            verdict = admit(store, _wish(store, drain, realm))
            if isinstance(verdict, Admitted):
                told = DrainPlanned(drain.name, realm.name, realm.machine, verdict.target, "", "")
            else:
                told = DrainPlanned(drain.name, realm.name, realm.machine, "", verdict.rule, verdict.why)
            store.note(told)
        for machine in drain.machines:
            store.machines[machine].cordons.pop(drain.name, None)
            store.touch(machine)

    def _ask(self, store: Store) -> None:
        """One Realm of each drain in turn, as long as the fleet's limit and those of machines leave a slot."""
        free = sessions_allowed(store.cluster) - len(store.sessions) - len(store.migrations_wanted)
        drains = list(store.drains.values())
        asked: dict[str, int] = {}
        idle = 0
        while free > 0 and drains and idle < len(drains):
            drain = drains[self._turn % len(drains)]
            self._turn += 1
            realm = self._next(store, drain, asked)
            if realm is None:
                idle += 1
                continue
            idle = 0
            free -= 1
            asked[realm.machine] = asked.get(realm.machine, 0) + 1
            one = drain.tries.setdefault(realm.name, Try())
            one.count += 1
            one.again_ns = store.now_ns + (store.cluster.migration.retry_after << min(one.count - 1, 16))
            store.request_migration(realm.name, drain.goals.get(realm.name, ""), drain.name)

    def _next(self, store: Store, drain: DrainView, asked: dict[str, int]) -> RealmView | None:
        limit = store.cluster.migration.sessions_per_machine
        for realm in _left_to_move(store, drain):
            one = drain.tries.get(realm.name, Try())
            busy = len(store.sessions_on(realm.machine)) + asked.get(realm.machine, 0)
            if realm.state is not RealmState.SERVING or one.blocked or one.again_ns > store.now_ns or busy >= limit:
                continue
            if any(request.realm == realm.name for request in store.migrations_wanted):
                continue
            if one.count > store.cluster.migration.retries:
                self._block(store, drain, realm, one)
                continue
            return realm
        return None

    def _block(self, store: Store, drain: DrainView, realm: RealmView, one: Try) -> None:
        one.blocked = True
        verdict = admit(store, _wish(store, drain, realm))
        rule, why = ("tries", f"{one.count} moves failed") if isinstance(verdict, Admitted) else verdict
        store.note(DrainBlocked(drain.name, realm.name, realm.machine, rule, why, one.count))

    def _left(self, store: Store, drain: DrainView) -> bool:
        """Whether a Realm is left that is not blocked, or a session still has an end there."""
        here = _left_to_move(store, drain)
        open_tries = (not drain.tries.get(realm.name, Try()).blocked for realm in here)
        if drain.goals:
            return any(open_tries) or any(one.why == drain.name for one in store.sessions.values())
        return any(open_tries) or any(store.sessions_on(machine) for machine in drain.machines)

    def _finish(self, store: Store, drain: DrainView, why: str = "") -> None:
        left = len(_left_to_move(store, drain))
        del store.drains[drain.name]
        store.note(DrainFinished(drain.name, max(drain.realms - left, 0), left, drain.began_ns, why))
        if left or why:
            # nothing more will be tried: what stays may as well have company again
            for machine in drain.machines:
                if drain.name in store.machines[machine].cordons:
                    store.uncordon(machine, drain.name)

    def _give_up(self, store: Store, name: str) -> None:
        drain = store.drains.get(name)
        if drain is None:
            return
        store.migrations_wanted = [request for request in store.migrations_wanted if request.why != name]
        for session in store.sessions.values():
            if session.why == name:
                store.request_cancel(session.session, f"{name} was ended")
        self._finish(store, drain, "an operator ended it")


def _request(event: DrainEvent | RebalanceEvent) -> DrainRequest:
    if isinstance(event, RebalanceEvent):
        return DrainRequest(dry_run=event.dry_run, goal=event.goal, budget=event.budget)
    return DrainRequest(event.machine or "", event.rack or "", event.dry_run)


def _machines(store: Store, request: DrainRequest) -> tuple[str, ...]:
    views = store.machines.values()
    return tuple(sorted(view.name for view in views if request.machine == view.name or request.rack == view.rack))


def _wish(store: Store, drain: DrainView, realm: RealmView) -> MigrationRequest:
    return MigrationRequest(realm.name, drain.goals.get(realm.name, ""), drain.name, store.now_ns)


def _takes_ns(store: Store, realms: list[RealmView]) -> int:
    """How long these moves take by the model, with as many at a time as the fleet allows."""
    total = sum(move_ns(store.cluster, realm.kind) for realm in realms)
    longest = max((move_ns(store.cluster, realm.kind) for realm in realms), default=0)
    return max(longest, total // max(min(sessions_allowed(store.cluster), len(realms)), 1))


def _left_to_move(store: Store, drain: DrainView) -> list[RealmView]:
    """Realms that still should run and are still bound where the drain wants them gone, by machine and name."""
    bound = [store.realms[name] for machine in drain.machines for name in sorted(store.machines[machine].residents)]
    here = [realm for realm in bound if realm.state not in _ENDED and not realm.stop_wanted]
    return [realm for realm in here if realm.name in drain.goals] if drain.goals or "rebalance" in drain.name else here


GOALS: tuple[str, ...] = get_args(Goal)
"""What a rebalancing may aim at."""
