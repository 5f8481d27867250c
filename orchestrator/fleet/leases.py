"""Leases: how long a host may run a Realm without hearing from the control plane, and when a Realm may run elsewhere.

A lease granted in an order sent at s ends at s + `control.lease`, whenever the order arrives: it names an instant, not
a duration. So the control plane knows, from what it sent alone, when no unreachable host runs a Realm any more. With
`leases: false` nobody waits, and a partition makes two live copies; the checkers are there to show it.
"""

from __future__ import annotations

from orchestrator.store import MachineView, RealmState, RealmView, Store

RENEWED = frozenset(
    {RealmState.LAUNCHING, RealmState.VERIFYING, RealmState.RELEASING, RealmState.SERVING, RealmState.MIGRATING}
)
"""States whose lease every heartbeat renews; a copy that is to stop gets no more time."""


def grant(store: Store, realm: RealmView) -> int:
    """Grant the Realm's present copy a lease from now on, and remember it; returns its end (virtual ns)."""
    until_ns = store.now_ns + store.cluster.control.lease
    realm.lease_until_ns = max(realm.lease_until_ns, until_ns)
    machine = store.machines[realm.machine]
    machine.lease_until_ns = max(machine.lease_until_ns, until_ns)
    return until_ns


def renewed(store: Store, machine: MachineView, leases: tuple[tuple[str, int], ...], until_ns: int) -> None:
    """Remember renewals up to `until_ns` (virtual ns) that came with heartbeats nobody sent one by one."""
    machine.lease_until_ns = max(machine.lease_until_ns, until_ns)
    for name, incarnation in leases:
        realm = store.realms[name]
        if (realm.machine, realm.incarnation) == (machine.name, incarnation):
            realm.lease_until_ns = max(realm.lease_until_ns, until_ns)


def grant_at(store: Store, machine: MachineView) -> int:
    """Grant a Realm that may come to `machine` a lease there from now on; returns its end (virtual ns)."""
    until_ns = store.now_ns + store.cluster.control.lease
    machine.lease_until_ns = max(machine.lease_until_ns, until_ns)
    return until_ns


def renewals(store: Store, machine: MachineView) -> tuple[tuple[str, int], ...]:
    """The (realm, incarnation) pairs that a heartbeat to `machine` renews, granted; none to a silent machine."""
    if not machine.heard:
        return ()
    lost = {loss.realm for loss in store.losses}
    residents = store.realms_on(machine.name)
    granted = [realm for realm in residents if realm.state in RENEWED and realm.name not in lost]
    for realm in granted:
        grant(store, realm)
    coming = [one for one in store.sessions_on(machine.name) if one.target == machine.name and not one.committed_ns]
    if coming:
        # it may run here from the instant at which the witness grants it, which nobody will announce beforehand
        grant_at(store, machine)
    names = [(realm.name, realm.incarnation) for realm in granted]
    return tuple(names + [(session.realm, session.incarnation) for session in coming])


def over_ns(store: Store, machine: MachineView) -> int:
    """Instant (virtual ns) from which a silent machine runs no Realm any more, margin included.

    Counted from the last lease granted there, and never before a margin after the machine became suspect.
    """
    control = store.cluster.control
    last = machine.lease_until_ns if control.leases else 0
    return max(last, machine.since_ns) + control.lease_margin
