"""Leases: a Realm runs only as long as its host may run it, to the nanosecond.

The control plane renews leases with each heartbeat. A host that hears nothing pauses a Realm at the instant its lease
ends, and lets it go on when the lease is renewed. This is what makes it safe to restart a Realm elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from cca_machine.host.hosted import HostedRealm, HostState
from cca_machine.host.states import EXECUTING, LAPSED


def over(hosted: HostedRealm, now_ns: int) -> bool:
    """Whether the lease has ended at `now_ns`; the instant of its end is the first at which the Realm must not run."""
    return hosted.lease_until_ns <= now_ns


def ended(state: HostState, now_ns: int) -> list[HostedRealm]:
    """Realms that execute and must not any more, by name."""
    return [hosted for hosted in state.hosted() if hosted.state in EXECUTING and over(hosted, now_ns)]


def renew(state: HostState, leases: Iterable[tuple[str, int]], until_ns: int, now_ns: int) -> list[HostedRealm]:
    """Extend leases, never shorten them; the lapsed Realms that may go on now, by name."""
    resumed = []
    for realm, incarnation in sorted(leases):
        hosted = state.find(realm, incarnation)
        if hosted is not None:
            hosted.lease_until_ns = max(hosted.lease_until_ns, until_ns)
            if hosted.state in LAPSED and not over(hosted, now_ns):
                resumed.append(hosted)
    return resumed


def next_end_ns(state: HostState) -> int | None:
    """The earliest end of a lease among executing Realms."""
    return min((hosted.lease_until_ns for hosted in state.realms.values() if hosted.state in EXECUTING), default=None)
