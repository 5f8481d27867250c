"""What the host of a machine remembers: its Realms, its free memory, and what its agents are busy with."""

from __future__ import annotations

import msgspec

from cca_machine.commands import RealmSpec
from cca_machine.host.donor import GranulePool
from cca_machine.host.footprint import Footprint
from cca_machine.host.states import HostedState
from cca_machine.layout import PRIVATE

KEPT_TOKENS = 256
"""Realms of which a host keeps the first token it saw."""


class HostedRealm(msgspec.Struct, kw_only=True):
    """One Realm on this machine. `running` says whether its RECs are entered at this moment.

    `served` whole requests and `rest` (in 10^-15 requests) were served here since it came; `lease_until_ns` ends its
    right to run (virtual ns).
    """

    spec: RealmSpec
    footprint: Footprint
    lease_until_ns: int
    state: HostedState = HostedState.BUILDING
    running: bool = False
    built: bool = False
    served: int = 0
    rest: int = 0
    session: str = ""

    @property
    def name(self) -> tuple[str, int]:
        """(realm, incarnation)."""
        return self.spec.realm, self.spec.incarnation


class HostState(msgspec.Struct, kw_only=True):
    """Volatile state of the host. `blackout` says that all PEs are held by an activation.

    `accrued_ns` is the instant up to which served requests are counted, `lease_timer_ns` the instant for which the
    lease timer is set (0: not set). `mec_contexts` are the memory encryption contexts that the RMM has for one Realm
    each. `first_tokens` holds the first token ever forwarded of each Realm, `first_nonce` the first nonce that came
    since the boot.
    """

    pool: GranulePool
    realms: dict[str, HostedRealm] = {}
    accrued_ns: int = 0
    lease_timer_ns: int = 0
    blackout: bool = False
    mec_contexts: int = 0
    first_tokens: dict[str, bytes] = {}
    first_nonce: str = ""

    def hosted(self) -> list[HostedRealm]:
        """All Realms here, by name."""
        return [self.realms[name] for name in sorted(self.realms)]

    def find(self, realm: str, incarnation: int) -> HostedRealm | None:
        """The Realm, if just this incarnation of it is here."""
        hosted = self.realms.get(realm)
        return hosted if hosted is not None and hosted.spec.incarnation == incarnation else None

    def used_vmids(self) -> set[int]:
        """VMIDs that the host has given to Realms here."""
        return {hosted.footprint.vmid for hosted in self.realms.values()}

    def private_contexts(self) -> int:
        """Realms here that have a memory encryption context of their own."""
        return sum(hosted.footprint.created and hosted.spec.mec == PRIVATE for hosted in self.realms.values())

    def remember_token(self, realm: str, token: bytes) -> None:
        """Keep the first token ever seen of a Realm; the oldest is forgotten when there are too many."""
        if realm not in self.first_tokens:
            while len(self.first_tokens) >= KEPT_TOKENS:
                del self.first_tokens[next(iter(self.first_tokens))]
            self.first_tokens[realm] = token
