"""TCB recovery: firmware is revoked at an instant, and Realms are without trust until their machine proves better.

At its instant a revocation reaches the verifier: from then on no evidence over the revoked images passes. Machines that
are believed to run one are appraised again at once, over the token they gave, so those lose trust after one verdict.
Their Realms go on (their secrets are out already) or are made to attest at once (`realms: reattest`), which stops those
whose evidence is refused. Trust is regained by fresh evidence over a machine that the verifier accepts again, never by
time. Machines are not told: what they accept is fixed by their own signing policy and their counters.

A Realm of a machine without trust cannot be moved: its migration key rests on the key that was revoked. It regains
trust where it is, by live activation, or starts anew elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from orchestrator.cluster.schema import RevokeEvent
from orchestrator.controller import Decision
from orchestrator.engine.ports import Delivery
from orchestrator.store import MachineState, MachineView, RealmState, RealmView, Store

TRUSTED_STATES = frozenset({RealmState.SERVING, RealmState.MIGRATING})
"""States in which a Realm has its secret, so that somebody relies on it."""


class TcbRevoked(Struct, frozen=True, tag="tcb.revoked"):
    """From now on the verifier refuses these images (release/component); `machines` are believed to run one."""

    component: str
    version: str
    signer: str
    images: tuple[str, ...]
    machines: tuple[str, ...]
    realms: int


class TrustLost(Struct, frozen=True, tag="trust.lost"):
    """Nobody may rely on the Realm any more: its machine's firmware is revoked."""

    realm: str
    incarnation: int
    machine: str
    why: str


class TrustRegained(Struct, frozen=True, tag="trust.regained"):
    """Fresh evidence of the Realm passed over firmware that is good, after so long (virtual ns)."""

    realm: str
    incarnation: int
    machine: str
    after_ns: int


class TrustEnded(Struct, frozen=True, tag="trust.ended"):
    """The Realm is gone for good before it regained trust."""

    realm: str
    after_ns: int


TcbRecord = TcbRevoked | TrustLost | TrustRegained | TrustEnded


class RevokedImage(Struct, frozen=True):
    """An image that a revocation hits, with what measured boot records of it."""

    release: str
    component: str
    version: str
    measurement: bytes


class Revoking(Protocol):
    """The part of the verifier service that revocations need."""

    def revoke(self, measurements: Collection[bytes]) -> None:
        """Refuse evidence over components with these digests from now on."""
        ...


class Without(Struct):
    """A Realm without trust: since when (virtual ns)."""

    realm: str
    since_ns: int


class TcbRecovery:
    """The controller of revocations.

    `hit` gives the images that an event revokes; it is asked with every earlier revocation in force.
    """

    name = "tcb-recovery"

    def __init__(
        self,
        events: Sequence[RevokeEvent],
        verifier: Revoking,
        hit: Callable[[Sequence[RevokeEvent]], Sequence[RevokedImage]],
    ) -> None:
        self._coming = sorted(events, key=lambda event: event.at)
        self._verifier = verifier
        self._hit = hit
        self._in_force: list[RevokeEvent] = []
        self._revoked: dict[tuple[str, str], None] = {}
        self._without: dict[str, Without] = {}

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Nothing: what it watches stands in the store."""

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Revoke what is due, then see which Realms lost trust and which have it back."""
        decision = Decision()
        wanted, store.revocations_wanted = store.revocations_wanted, []
        while self._coming and self._coming[0].at <= now_ns:
            wanted.append(self._coming.pop(0))
        for event in wanted:
            self._revoke(store, event, decision)
        if self._revoked:
            self._follow(store, decision)
        if self._coming:
            decision.due(self._coming[0].at)
        return decision

    def _revoke(self, store: Store, event: RevokeEvent, decision: Decision) -> None:
        self._in_force.append(event)
        images = self._hit(self._in_force)
        self._revoked = {(image.component, image.version): None for image in images}
        store.revoked_firmware = dict(self._revoked)
        self._verifier.revoke([image.measurement for image in images])
        machines = [view for view in store.machines.values() if self._runs_revoked(view)]
        realms = [realm for view in machines for realm in store.realms_on(view.name)]
        decision.records.append(
            TcbRevoked(
                event.component or "",
                event.version or "",
                event.signer or "",
                tuple(f"{image.release}/{image.component}" for image in images),
                tuple(view.name for view in machines),
                len(realms),
            )
        )
        for view in machines:
            store.request_reappraisal(view.name)
        if event.realms == "reattest":
            for realm in realms:
                if realm.state is RealmState.SERVING:
                    store.request_attestation(realm.name, "firmware revoked")

    def _runs_revoked(self, view: MachineView) -> bool:
        return any(view.versions.get(component) == version for component, version in self._revoked)

    def _follow(self, store: Store, decision: Decision) -> None:
        """Compare the belief with who is known to be without trust."""
        for view in store.machines.values():
            if view.state is MachineState.REFUSED and self._runs_revoked(view):
                for realm in store.realms_on(view.name):
                    if realm.state in TRUSTED_STATES and realm.name not in self._without:
                        self._without[realm.name] = Without(realm.name, store.now_ns)
                        lost = TrustLost(realm.name, realm.incarnation, view.name, view.distrusted)
                        decision.records.append(lost)
        for without in list(self._without.values()):
            realm = store.realms[without.realm]
            since_ns = store.now_ns - without.since_ns
            if realm.state in (RealmState.STOPPED, RealmState.FAILED):
                decision.records.append(TrustEnded(realm.name, since_ns))
            elif _proven(realm, store.machines, without.since_ns):
                # the verdict's own instant, finer than the beat
                after_ns = realm.attested_ns - without.since_ns
                decision.records.append(TrustRegained(realm.name, realm.incarnation, realm.machine, after_ns))
            else:
                continue
            del self._without[without.realm]


def _proven(realm: RealmView, machines: Mapping[str, MachineView], since_ns: int) -> bool:
    """Whether its evidence passed since, and its machine is one that the verifier accepts."""
    if realm.state is not RealmState.SERVING or realm.attested_ns <= since_ns:
        return False
    return machines[realm.machine].state is MachineState.ADMITTED
