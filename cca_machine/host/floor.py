"""The shop floor of the host: which command starts when, on which control PE, and what happens to Realms in between.

Commands and parcels wait in order of arrival. One starts when a control PE is free and nothing else is under way for
its Realm; an activation waits for all PEs and lets nobody pass. Heartbeats wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cca_machine import commands as c
from cca_machine.host import leases, lfa, orders, slots
from cca_machine.host.door import Refusal
from cca_machine.host.fluid import accrue
from cca_machine.host.fronts.choice import FRONTS
from cca_machine.host.happenings import (
    Arrived,
    BlackoutEnd,
    Built,
    Gone,
    Happen,
    Happening,
    LeaseTimer,
    Reset,
    Say,
    Wake,
)
from cca_machine.host.hosted import HostedRealm, HostState
from cca_machine.host.states import EXECUTING, HostedEvent, HostedState, after
from cca_machine.host.teardown import release
from cca_machine.host.work import Site, Work


class Clockwork(Protocol):
    """The machine's agenda and mouth."""

    def later(self, at_ns: int, what: Happening) -> None:
        """Put something on the agenda."""
        ...

    def say(self, said: Say) -> None:
        """Something leaves now."""
        ...

    def tell(self, record: c.Record) -> None:
        """A line for the trace, now."""
        ...

    def lose_rmm(self) -> None:
        """The RMM is gone."""
        ...

    def watch_rmm(self) -> None:
        """An RMM image was entered."""
        ...


class Bench(Protocol):
    """The part of the machine's state that says who waits and who works."""

    queue: list[Arrived]
    pes: list[int]
    locks: dict[str, int]
    faults: list[str]


class Migration(Protocol):
    """Orders and parcels of migration sessions (modelled)."""

    def realm_of(self, body: Any) -> str | None:
        """The Realm that an order or parcel of a session is about; None if the session is unknown here."""
        ...

    def perform(self, work: Work, source: str, body: Any) -> bool:
        """Do an order or take a parcel; False when it is neither."""
        ...

    def stopped(self, work: Work, realm: str, incarnation: int) -> None:
        """The Realm is being stopped: close the session that holds it, if any. Raises Refusal."""
        ...

    def make_way(self, work: Work, why: str) -> None:
        """The RMM will be replaced, or the machine reset: end sessions. Raises Refusal when one must not end here."""
        ...


RMM = "RMM"
FIRMWARE = "firmware"
"""Lock of everything about firmware; no Realm can have this name, as its own begin with a slash."""


class Floor:
    """Works for the machine whose agenda it is given."""

    def __init__(self, site: Site, bench: Bench, migration: Migration, clockwork: Clockwork) -> None:
        self.site = site
        self.bench = bench
        self.migration = migration
        self.clockwork = clockwork

    @property
    def _state(self) -> HostState:
        return self.site.state

    def meet(self, what: Happening, now_ns: int) -> None:
        """What is due now happens."""
        if isinstance(what, Arrived):
            self._arrive(what, now_ns)
        elif isinstance(what, Happen):
            hosted = self._state.find(what.realm, what.incarnation)
            if hosted is not None:
                self._step(hosted, what.event, what.why, now_ns)
        elif isinstance(what, Built):
            self._built(what)
        elif isinstance(what, Gone):
            self._gone(what)
        elif isinstance(what, LeaseTimer):
            self._lease_timer(now_ns)
        elif isinstance(what, BlackoutEnd):
            self._set_blackout(False, now_ns)
        elif isinstance(what, Wake):
            self.dispatch(now_ns)

    # -- who works ---------------------------------------------------------------------------------------------------

    def _arrive(self, arrived: Arrived, now_ns: int) -> None:
        if isinstance(arrived.body, c.RenewLeases):
            self._renew(arrived.body.leases, arrived.body.until_ns, now_ns)
            answered_ns = now_ns + self.site.spec.timing["host.heartbeat"]
            self.clockwork.later(answered_ns, Say(c.CONTROL, self._heartbeat(), arrived.number))
            return
        if isinstance(arrived.body, c.LeasesKept):
            self._renew(arrived.body.leases, arrived.body.until_ns, now_ns)
            return
        self.bench.queue.append(arrived)
        self.dispatch(now_ns)

    def dispatch(self, now_ns: int) -> None:
        """Start whatever can start now."""
        bench = self.bench
        for name in [name for name, until in bench.locks.items() if until <= now_ns]:
            del bench.locks[name]
        at = 0
        while at < len(bench.queue):
            waiting = bench.queue[at]
            idle = [pe for pe, until in enumerate(bench.pes) if until <= now_ns]
            alone = isinstance(waiting.body, c.Activate | c.Reboot)
            if isinstance(waiting.body, c.Reboot) and self.bench.locks:
                return
            if not idle or (alone and (at > 0 or len(idle) < len(bench.pes))):
                return
            lock = self._lock_of(waiting.body)
            if lock in bench.locks:
                at += 1
                continue
            del bench.queue[at]
            self._start(waiting, lock, idle if alone else idle[:1], now_ns)
            at = 0

    def _start(self, waiting: Arrived, lock: str, pes: list[int], now_ns: int) -> None:
        answers = waiting.number if waiting.source == c.CONTROL else 0
        work = Work(self.site, now_ns, answers, frozenset(self.bench.faults))
        if isinstance(waiting.body, c.Activate):
            self._set_blackout(True, now_ns)
        lost = False
        try:
            self._perform(work, waiting)
            if isinstance(waiting.body, c.Activate) and waiting.body.component == RMM:
                self.clockwork.watch_rmm()
        except Refusal as refusal:
            lost = isinstance(refusal, lfa.ActivationLost)
            self._refuse(work, waiting.body, refusal)
        if isinstance(waiting.body, c.Activate) and not any(isinstance(what, BlackoutEnd) for _, what in work.agenda):
            work.later(BlackoutEnd())
        asked = work.rmi_calls()
        if asked is not None:
            self.clockwork.tell(asked)
        if lost:
            self.clockwork.lose_rmm()
        for at_ns, what in work.agenda:
            self.clockwork.later(at_ns, what)
        for pe in pes:
            self.bench.pes[pe] = work.pe_until_ns
        self.bench.locks[lock] = work.at_ns
        for at_ns in sorted({work.pe_until_ns, work.at_ns}):
            self.clockwork.later(at_ns, Wake())

    def _perform(self, work: Work, waiting: Arrived) -> None:
        body = waiting.body
        handler = _ORDERS.get(type(body))
        if isinstance(body, c.Activate):
            self.migration.make_way(work, "firmware activation")
        if handler is not None:
            handler(work, body)
        elif isinstance(body, c.Reboot):
            self._reboot(work, body)
        elif isinstance(body, c.Stop):
            hosted = orders.known(work, body.realm, body.incarnation)
            self.migration.stopped(work, *hosted.name)
            orders.stop(work, body)
        else:
            self.migration.perform(work, waiting.source, body)

    def _reboot(self, work: Work, order: c.Reboot) -> None:
        """Stop every Realm by RMI, one after the other, and reset."""
        boot = self.site.truth.boots()
        if order.boot != boot:
            raise Refusal("stale-order", f"the machine is in boot {boot}, not in boot {order.boot}")
        self.migration.make_way(work, "reboot")
        for hosted in self._state.hosted():
            if after(hosted.state, HostedEvent.STOP_ORDERED) is not None:
                orders.remove(work, hosted, "reboot")
        work.say(c.Rebooting(boot))
        work.later(Reset())

    def _refuse(self, work: Work, body: c.Input, refusal: Refusal) -> None:
        tag = str(type(body).__struct_config__.tag)
        subject, incarnation = _subject(body)
        work.tell(c.CommandRefused(tag, subject, refusal.code, refusal.why))
        work.say(c.Refused(tag, subject, refusal.code, refusal.why, incarnation))

    def _lock_of(self, body: c.Input) -> str:
        if isinstance(body, c.Prime | c.Activate | c.Cancel | c.StageFirmware | c.UnstageFirmware | c.Reboot):
            return FIRMWARE
        if isinstance(body, c.Launch | c.OpenImport):
            return "/" + body.realm.realm
        if isinstance(body, c.Attest | c.DeliverSecret | c.Stop | c.OpenExport):
            return "/" + body.realm
        return "/" + (self.migration.realm_of(body) or "")

    # -- what happens to Realms --------------------------------------------------------------------------------------

    def _step(self, hosted: HostedRealm, event: HostedEvent, why: str, now_ns: int) -> None:
        """Move a Realm along its table; if it may not run when it would, its lease ends at once."""
        was, state = hosted.state, after(hosted.state, event)
        if state is None:
            return
        accrue(self._state, now_ns, self.site.spec.pes)
        if self.site.spec.leases and state in EXECUTING and leases.over(hosted, now_ns):
            state = after(state, HostedEvent.LEASE_ENDED) or state
            why = "lease-ended"
        hosted.state = state
        self._settle(hosted, why, began_serving=was is HostedState.ATTESTING and state is HostedState.SERVING)
        self._arm_lease_timer()

    def _settle(self, hosted: HostedRealm, why: str, *, began_serving: bool = False) -> None:
        """Make execution follow the state, and trace where it begins or ends."""
        run = hosted.state in EXECUTING and not self._state.blackout
        realm, incarnation = hosted.name
        serving = hosted.state is HostedState.SERVING
        if run and (not hosted.running or began_serving):
            self.clockwork.tell(c.RealmLive(realm, incarnation, serving, why))
        elif hosted.running and not run:
            self.clockwork.tell(c.RealmStill(realm, incarnation, hosted.served, why))
        hosted.running = run

    def _built(self, built: Built) -> None:
        hosted = self._state.find(built.realm, built.incarnation)
        if hosted is not None:
            hosted.built = True
            granules = hosted.footprint.granules()
            self.clockwork.tell(c.RealmBuilt(built.realm, built.incarnation, built.rim, built.calls, granules))

    def _gone(self, gone: Gone) -> None:
        hosted = self._state.find(gone.realm, gone.incarnation)
        release(self._state.pool, list(gone.granules))
        if hosted is not None:
            del self._state.realms[gone.realm]
            if hosted.built:
                self.clockwork.tell(c.RealmDestroyed(gone.realm, gone.incarnation, gone.granules))

    def _set_blackout(self, dark: bool, now_ns: int) -> None:
        accrue(self._state, now_ns, self.site.spec.pes)
        self._state.blackout = dark
        for hosted in self._state.hosted():
            self._settle(hosted, "activation")

    # -- leases ------------------------------------------------------------------------------------------------------

    def end_leases(self, now_ns: int) -> None:
        """Pause every Realm whose lease has ended."""
        if self.site.spec.leases:
            for hosted in leases.ended(self._state, now_ns):
                self._step(hosted, HostedEvent.LEASE_ENDED, "lease-ended", now_ns)

    def _lease_timer(self, now_ns: int) -> None:
        if self._state.lease_timer_ns <= now_ns:
            # a timer that fell due in a freeze comes late
            self._state.lease_timer_ns = 0
        self.end_leases(now_ns)
        self._arm_lease_timer()

    def _arm_lease_timer(self) -> None:
        end_ns = leases.next_end_ns(self._state) if self.site.spec.leases else None
        armed_ns = self._state.lease_timer_ns
        if end_ns is not None and (armed_ns == 0 or end_ns < armed_ns):
            self._state.lease_timer_ns = end_ns
            self.clockwork.later(end_ns, LeaseTimer())

    def _renew(self, renewed: tuple[tuple[str, int], ...], until_ns: int, now_ns: int) -> None:
        for hosted in leases.renew(self._state, renewed, until_ns, now_ns):
            self._step(hosted, HostedEvent.LEASE_RENEWED, "lease-renewed", now_ns)

    def _heartbeat(self) -> c.Heartbeat:
        state, site = self._state, self.site
        taken = sum(1 for hosted in state.realms.values() if hosted.footprint.created)
        return c.Heartbeat(
            boot=site.truth.boots(),
            free_granules=state.pool.free,
            free_vmids=(1 << site.spec.vmid_bits) - FRONTS[site.spec.edition].reserved_vmids - taken,
            rmm_alive=site.truth.rmm_alive(),
            versions=site.firmware.versions,
            realms=tuple(c.RealmStatus(*hosted.name, hosted.state) for hosted in state.hosted()),
            free_mecids=state.mec_contexts - state.private_contexts(),
        )


_ORDERS: dict[type[Any], Callable[[Work, Any], None]] = {
    c.Launch: orders.launch,
    c.Attest: orders.attest,
    c.DeliverSecret: orders.deliver_secret,
    c.Prime: lfa.prime,
    c.Activate: lfa.activate,
    c.Cancel: lfa.cancel,
    c.StageFirmware: slots.stage,
    c.UnstageFirmware: slots.unstage,
}


def _subject(body: Any) -> tuple[str, int]:
    """What a command is about, and the incarnation it names."""
    if isinstance(body, c.Launch):
        return body.realm.realm, body.realm.incarnation
    if isinstance(body, c.Attest | c.DeliverSecret | c.Stop):
        return body.realm, body.incarnation
    if isinstance(body, c.OpenExport):
        return body.session, body.incarnation
    if isinstance(body, c.OpenImport):
        return body.session, body.realm.incarnation
    if isinstance(body, c.Activate | c.Cancel | c.UnstageFirmware):
        return body.component, 0
    return getattr(body, "session", ""), 0
