"""Emptying machines: which Realm moves next, under which limits, and what keeps one from moving (modelled moves).

A drain cordons its machines and asks, Realm by Realm, for a move. Drains take turns, so that one with many Realms does
not hold every slot of the fleet. A Realm whose move was declined or failed is tried again after a wait that doubles,
and is reported as blocked, with the rule, once its tries are used up. A drain ends when no Realm is left that it could
still move; ending it early takes the cordons back and leaves the sessions under way to their own end.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from orchestrator.cluster.schema import DrainEvent
from orchestrator.migration.admission import Admitted, admit, sessions_allowed
from orchestrator.records import DrainBlocked, DrainFinished, DrainPlanned, DrainStarted
from orchestrator.store import DrainRequest, MigrationRequest, RealmState, RealmView, Store

_ENDED = frozenset({RealmState.STOPPED, RealmState.FAILED})


class Try(Struct):
    """How often a Realm's move was asked for, and when it may be again; `blocked` is the last reason."""

    count: int = 0
    again_ns: int = 0
    blocked: bool = False


class Drain(Struct):
    """One drain under way."""

    name: str
    machines: tuple[str, ...]
    began_ns: int
    tries: dict[str, Try] = {}


class Drains:
    """All drains of a fleet, and whose turn it is."""

    def __init__(self, events: list[DrainEvent]) -> None:
        self._events = sorted(events, key=lambda event: event.at)
        self._opened = 0
        self._turn = 0
        self.drains: list[Drain] = []

    def due_ns(self) -> Iterator[int]:
        """Instants at which there is something to do."""
        if self._events:
            yield self._events[0].at
        for drain in self.drains:
            yield from (one.again_ns for one in drain.tries.values() if one.again_ns and not one.blocked)

    def decide(self, store: Store) -> None:
        """Begin what is due, ask for the moves that the limits allow, and end what is done."""
        while self._events and self._events[0].at <= store.now_ns:
            event = self._events.pop(0)
            store.drains_wanted.append(DrainRequest(event.machine or "", event.rack or "", event.dry_run))
        wanted, store.drains_wanted = store.drains_wanted, []
        for request in wanted:
            self._begin(store, request)
        self._ask(store)
        for drain in [drain for drain in self.drains if not self._left(store, drain)]:
            self._finish(store, drain)

    def _begin(self, store: Store, request: DrainRequest) -> None:
        machines = tuple(
            sorted(
                view.name
                for view in store.machines.values()
                if request.machine == view.name or request.rack == view.rack
            )
        )
        self._opened += 1
        drain = Drain(f"drain-{self._opened:03d}", machines, store.now_ns)
        realms = _residents(store, machines)
        store.note(DrainStarted(drain.name, machines, len(realms), request.dry_run))
        self._plan(store, drain, realms)
        if request.dry_run:
            return
        for machine in machines:
            store.cordon(machine, f"{drain.name} empties it", drain.name)
        self.drains.append(drain)

    def _plan(self, store: Store, drain: Drain, realms: list[RealmView]) -> None:
        """Say of each Realm where it would go, or which rule blocks it, before anything moves."""
        for machine in drain.machines:
            store.machines[machine].cordons[drain.name] = "planned"
            store.touch(machine)
        for realm in realms:
            verdict = admit(store, MigrationRequest(realm.name, "", drain.name, store.now_ns))
            if isinstance(verdict, Admitted):
                told = DrainPlanned(drain.name, realm.name, realm.machine, verdict.target, "", "")
            else:
                told = DrainPlanned(drain.name, realm.name, realm.machine, "", verdict.rule, verdict.why)
            store.note(told)
        for machine in drain.machines:
            del store.machines[machine].cordons[drain.name]
            store.touch(machine)

    def _ask(self, store: Store) -> None:
        """One Realm of each drain in turn, as long as the fleet's limit and those of machines leave a slot."""
        free = sessions_allowed(store.cluster) - len(store.sessions) - len(store.migrations_wanted)
        asked: dict[str, int] = {}
        idle = 0
        while free > 0 and self.drains and idle < len(self.drains):
            drain = self.drains[self._turn % len(self.drains)]
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
            store.request_migration(realm.name, "", drain.name)

    def _next(self, store: Store, drain: Drain, asked: dict[str, int]) -> RealmView | None:
        limit = store.cluster.migration.sessions_per_machine
        for realm in _residents(store, drain.machines):
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

    def _block(self, store: Store, drain: Drain, realm: RealmView, one: Try) -> None:
        one.blocked = True
        verdict = admit(store, MigrationRequest(realm.name, "", drain.name, store.now_ns))
        rule, why = ("tries", f"{one.count} moves failed") if isinstance(verdict, Admitted) else verdict
        store.note(DrainBlocked(drain.name, realm.name, realm.machine, rule, why, one.count))

    def _left(self, store: Store, drain: Drain) -> bool:
        """Whether a Realm is left that is not blocked, or a session still has an end there."""
        here = _residents(store, drain.machines)
        open_tries = (not drain.tries.get(realm.name, Try()).blocked for realm in here)
        return any(open_tries) or any(store.sessions_on(machine) for machine in drain.machines)

    def _finish(self, store: Store, drain: Drain) -> None:
        blocked = len(_residents(store, drain.machines))
        self.drains.remove(drain)
        store.note(DrainFinished(drain.name, len(drain.tries) - blocked, blocked, drain.began_ns))
        if blocked:
            # nothing more will be tried: what stays may as well have company again
            for machine in drain.machines:
                store.uncordon(machine, drain.name)


def _residents(store: Store, machines: tuple[str, ...]) -> list[RealmView]:
    """Realms bound to these machines that still should run, by machine and name."""
    bound = [store.realms[name] for machine in machines for name in sorted(store.machines[machine].residents)]
    return [realm for realm in bound if realm.state not in _ENDED and not realm.stop_wanted]
