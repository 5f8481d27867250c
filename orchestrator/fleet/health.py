"""Heartbeats: asking every machine, renewing its leases, and noticing by missed replies alone that one is gone.

Every `control.heartbeat` each machine is asked (`orchestrator.fleet.heartbeats`). One that stays silent for
`suspect_after` is suspect: it gets no new Realm and no more lease. Once its last lease is over it is down, and its
Realms may run elsewhere. A boot message with a higher count, or a host that reports a dead RMM, says at once that its
Realms are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from cca_machine.commands import Activated, Booted, Heartbeat, Refused
from orchestrator.controller import Decision, Order
from orchestrator.engine.ports import Delivery
from orchestrator.fleet import leases
from orchestrator.fleet.heartbeats import Heartbeats, Round, renewal
from orchestrator.fleet.inventory import Effect, Sign, move
from orchestrator.records import (
    MachineAdmitted,
    MachineBack,
    MachineDistrusted,
    MachineDown,
    MachineSuspect,
    OrderRefused,
)
from orchestrator.store import Capacity, MachineState, MachineView, RealmView, Store

UNDER_APPRAISAL = "its new platform token is with the verifier"
"""Why a machine whose former token was refused stays untrusted after it changed its firmware, for the time being."""


class PlatformVerdict(Struct, frozen=True):
    """What the verifier says of a platform token, and the exact instants (virtual ns) of its arrival and its reply."""

    machine: str
    boot: int
    token_sha256: str
    rak: bytes
    passed: bool
    reason: str
    why: str
    arrived_ns: int
    replied_ns: int


class PlatformVerifier(Protocol):
    """The part of the verifier service that machines need (`orchestrator.realms.attestation`)."""

    def appraise_platform(
        self, machine: str, boot: int, platform_token: bytes, rak: bytes, arrived_ns: int
    ) -> PlatformVerdict:
        """Judge a platform token that arrived at `arrived_ns`; never raises for evidence, however bad."""
        ...

    def reappraise_platform(self, machine: str, boot: int, now_ns: int) -> PlatformVerdict | None:
        """Judge the token that the machine was last accepted with once more; None when there is none."""
        ...


class Health:
    """The controller of machines: inventory, heartbeats, leases."""

    name = "health"

    def __init__(
        self, verifier: PlatformVerifier, footprint: Callable[[Store, RealmView], int], heartbeats: Heartbeats
    ) -> None:
        self.heartbeats = heartbeats
        self._verifier = verifier
        self._footprint = footprint
        self._verdicts: list[PlatformVerdict] = []
        self._probe: dict[str, None] = {}
        self._scan_ns: int | None = None

    # -- learning ------------------------------------------------------------------------------------------------------

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Take any message as a sign of life, and read boots, heartbeats and activations."""
        message = delivery.message
        machine = store.machines.get(message.source)
        if machine is None:
            return
        store.touch(machine.name)
        body = message.body
        if isinstance(body, Booted):
            self._booted(store, machine, body, delivery)
        elif isinstance(body, Heartbeat):
            self._heartbeat(store, machine, body, message.sent_ns)
            self.heartbeats.answered(machine.name, body, delivery)
        else:
            self._heard(store, machine, message.sent_ns)
        if isinstance(body, Activated):
            machine.heartbeat_ns = max(machine.heartbeat_ns, message.sent_ns)
            machine.versions = dict(body.versions)
            machine.platform_token_sha256, machine.rak = "", b""
            if machine.distrusted:
                machine.distrusted = UNDER_APPRAISAL
            self._appraise(machine, body.platform_token, body.rak, delivery.arrives_ns)
        elif isinstance(body, Refused):
            where = (machine.name, body.command, body.subject, body.incarnation)
            store.note(OrderRefused(*where, body.code, body.why))

    def _heard(self, store: Store, machine: MachineView, sent_ns: int) -> None:
        if sent_ns + store.cluster.control.suspect_after <= store.now_ns:
            return  # long under way: it proves that the machine lived then, not that it lives
        silent_ns = store.now_ns - machine.last_heard_ns
        machine.last_heard_ns = max(machine.last_heard_ns, sent_ns)
        self._watch(machine.last_heard_ns + store.cluster.control.suspect_after)
        was = machine.state
        sign = Sign.HEARD_DISTRUSTED if machine.distrusted else Sign.HEARD
        if move(machine, sign, store.now_ns) is Effect.RETURN:
            store.note(MachineBack(machine.name, was, machine.boot, rebooted=False, silent_ns=silent_ns))
            self._probe[machine.name] = None
            store.room = True
            for realm in store.realms_on(machine.name):
                store.request_attestation(realm.name, "machine back")

    def _booted(self, store: Store, machine: MachineView, body: Booted, delivery: Delivery) -> None:
        if body.boot < machine.boot:
            return
        self._new_boot(store, machine, body.boot, delivery.message.sent_ns)
        machine.versions = dict(body.versions)
        move(machine, Sign.BOOTED, store.now_ns)
        self._appraise(machine, body.platform_token, body.rak, delivery.arrives_ns)
        self._probe[machine.name] = None

    def _new_boot(self, store: Store, machine: MachineView, boot: int, sent_ns: int) -> None:
        """A higher boot count: nothing volatile survived, so every Realm there is gone, lease or no lease."""
        if boot > machine.boot:
            if machine.boot:
                silent_ns = store.now_ns - machine.last_heard_ns
                store.note(MachineBack(machine.name, machine.state, boot, rebooted=True, silent_ns=silent_ns))
            machine.boot = boot
            machine.platform_token_sha256, machine.rak, machine.distrusted = "", b"", ""
            machine.activity = ""
            machine.rmm_dead = False
            machine.capacity = None
            self._lose_all(store, machine, "rebooted")
        machine.last_heard_ns = max(machine.last_heard_ns, sent_ns)
        self._watch(machine.last_heard_ns + store.cluster.control.suspect_after)

    def _heartbeat(self, store: Store, machine: MachineView, body: Heartbeat, sent_ns: int) -> None:
        if body.boot < machine.boot or sent_ns < machine.heartbeat_ns:
            return
        machine.heartbeat_ns = sent_ns
        if body.boot > machine.boot:
            self._new_boot(store, machine, body.boot, sent_ns)
            if move(machine, Sign.REBOOTED, store.now_ns) is Effect.ADMIT:
                self._admit(store, machine, sent_ns, store.now_ns)
        if machine.versions != body.versions:
            # an activation whose answer was lost: the accepted token and its RAK are of other firmware
            machine.platform_token_sha256, machine.rak = "", b""
            machine.versions = dict(body.versions)
        before, machine.capacity = machine.capacity, self._capacity(store, machine, body)
        if before is None or before.has_less_than(machine.capacity):
            store.room = True
        if body.rmm_alive:
            self._heard(store, machine, sent_ns)
            return
        machine.last_heard_ns = max(machine.last_heard_ns, sent_ns)
        machine.rmm_dead = True
        if move(machine, Sign.RMM_DEAD, store.now_ns) is Effect.LOSE:
            self._down(store, machine, "rmm-dead")

    def _capacity(self, store: Store, machine: MachineView, body: Heartbeat) -> Capacity:
        """What the host reports free, less what is bound there and not yet built as far as the host could know."""
        counted = {(status.realm, status.incarnation) for status in body.realms}
        capacity = Capacity(body.free_granules, body.free_vmids, body.free_mecids)
        coming = [store.realms[name] for name in machine.residents]
        coming += [store.realms[s.realm] for s in store.sessions_on(machine.name) if s.target == machine.name]
        for realm in coming:
            if (realm.name, realm.incarnation) not in counted:
                capacity.granules -= self._footprint(store, realm)
                capacity.vmids -= 1
                capacity.mecids -= store.cluster.realms[realm.kind].mec == "private"
        return capacity

    def _appraise(self, machine: MachineView, platform_token: bytes, rak: bytes, arrived_ns: int) -> None:
        verdict = self._verifier.appraise_platform(machine.name, machine.boot, platform_token, rak, arrived_ns)
        self._verdicts.append(verdict)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Act on verdicts and on silence, and ask machines that are back at once; rounds come after every decision."""
        decision = Decision()
        again, store.reappraisals_wanted = store.reappraisals_wanted, []
        for name in again:
            verdict = self._verifier.reappraise_platform(name, store.machines[name].boot, now_ns)
            if verdict is not None:
                self._verdicts.append(verdict)
        self._take_verdicts(store, decision)
        if self._scan_ns is not None and self._scan_ns <= now_ns:
            self._scan(store)
        if self.heartbeats.next_ns > now_ns:
            decision.orders = [Order(name, renewal(store, store.machines[name])) for name in sorted(self._probe)]
        self._probe = {}
        return decision

    def close_step(self, store: Store, touched: Iterable[str]) -> Round:
        """The last word of a step: heartbeats, now that it is known who gets orders or strikes (`touched`)."""
        held = self.heartbeats.close_step(store, touched)
        for machine in held.ended:
            self._watch(store.machines[machine].last_heard_ns + store.cluster.control.suspect_after)
        return held

    def dues(self) -> tuple[int, int | None]:
        """When the next round is due, and the next look for silence (virtual ns); as of the end of the step."""
        return self.heartbeats.next_ns, self._scan_ns

    def _take_verdicts(self, store: Store, decision: Decision) -> None:
        """Apply the verdicts whose reply falls into the beat that begins now; the rest wait for theirs."""
        beat = store.cluster.control.beat
        waiting = []
        for verdict in self._verdicts:
            if verdict.replied_ns >= store.now_ns + beat:
                waiting.append(verdict)
                decision.due(verdict.replied_ns - beat + 1)
            else:
                self._apply(store, verdict)
        self._verdicts = waiting

    def _apply(self, store: Store, verdict: PlatformVerdict) -> None:
        machine = store.machines[verdict.machine]
        if verdict.boot != machine.boot:
            return
        store.touch(machine.name)
        if not verdict.passed:
            machine.distrusted = verdict.why
            machine.platform_token_sha256, machine.rak = "", b""
            move(machine, Sign.DISTRUSTED, store.now_ns)
            why = MachineDistrusted(machine.name, machine.boot, verdict.reason, verdict.why)
            store.note(why, verdict.replied_ns)
            return
        machine.distrusted = ""
        machine.platform_token_sha256, machine.rak = verdict.token_sha256, verdict.rak
        effect = move(machine, Sign.VOUCHED, store.now_ns)
        if effect in (Effect.ADMIT, Effect.VOUCH):
            self._admit(store, machine, verdict.arrived_ns, verdict.replied_ns)

    def _admit(self, store: Store, machine: MachineView, arrived_ns: int, replied_ns: int) -> None:
        digest = machine.platform_token_sha256
        record = MachineAdmitted(
            machine.name, machine.boot, bool(digest), dict(machine.versions), digest, arrived_ns, replied_ns
        )
        store.note(record, replied_ns)
        store.room = True

    def _watch(self, at_ns: int) -> None:
        if self._scan_ns is None or at_ns < self._scan_ns:
            self._scan_ns = at_ns

    def _scan(self, store: Store) -> None:
        """Look for silence at machines that do not rest; remember when the next look is due at the earliest."""
        self._scan_ns = None
        control = store.cluster.control
        for machine in map(store.machines.__getitem__, self.heartbeats.restless):
            if machine.heard:
                if machine.last_heard_ns + control.suspect_after > store.now_ns:
                    self._watch(machine.last_heard_ns + control.suspect_after)
                    continue
                store.touch(machine.name)
                move(machine, Sign.SILENT, store.now_ns)
                store.note(MachineSuspect(machine.name, machine.last_heard_ns, machine.lease_until_ns))
            if machine.state is MachineState.SUSPECT:
                if leases.over_ns(store, machine) > store.now_ns:
                    self._watch(leases.over_ns(store, machine))
                elif move(machine, Sign.LEASES_OVER, store.now_ns) is Effect.LOSE:
                    store.touch(machine.name)
                    self._down(store, machine, "silent" if control.leases else "silent, without leases")

    def _down(self, store: Store, machine: MachineView, why: str) -> None:
        lost = self._lose_all(store, machine, why)
        store.note(MachineDown(machine.name, why, machine.last_heard_ns, machine.lease_until_ns, lost))

    def _lose_all(self, store: Store, machine: MachineView, why: str) -> int:
        realms = store.realms_on(machine.name)
        for realm in realms:
            store.lose(realm, why)
        return len(realms)
