"""Life of a Realm as the host of its machine runs it, as a table."""

from __future__ import annotations

from enum import StrEnum


class HostedState(StrEnum):
    """Where a hosted Realm stands."""

    BUILDING = "building"
    """RMI calls that make it are under way; nothing of it executes."""
    ATTESTING = "attesting"
    """Its RECs run; it has produced evidence and waits for its secret."""
    SERVING = "serving"
    """It opened its secret and does its work."""
    ATTESTING_LAPSED = "attesting-lapsed"
    """Paused while it waited for its secret: its lease ended."""
    SERVING_LAPSED = "serving-lapsed"
    """Paused while it served: its lease ended."""
    LEAVING = "leaving"
    """Paused for a migration (modelled): only a decision of the control plane ends this."""
    ARRIVING = "arriving"
    """A migration (modelled) brings it here; it has never run on this machine in this incarnation."""
    STOPPING = "stopping"
    """RMI calls that take it apart are under way."""


class HostedEvent(StrEnum):
    """What happens to a hosted Realm."""

    ENTERED = "entered"
    SECRET_OPENED = "secret-opened"
    LEASE_ENDED = "lease-ended"
    LEASE_RENEWED = "lease-renewed"
    EXPORT_PAUSED = "export-paused"
    EXPORT_RESUMED = "export-resumed"
    IMPORT_COMMITTED = "import-committed"
    STOP_ORDERED = "stop-ordered"


_S, _E = HostedState, HostedEvent

TABLE: dict[tuple[HostedState, HostedEvent], HostedState] = {
    (_S.BUILDING, _E.ENTERED): _S.ATTESTING,
    (_S.ATTESTING, _E.SECRET_OPENED): _S.SERVING,
    (_S.ATTESTING, _E.LEASE_ENDED): _S.ATTESTING_LAPSED,
    (_S.ATTESTING, _E.STOP_ORDERED): _S.STOPPING,
    (_S.ATTESTING_LAPSED, _E.SECRET_OPENED): _S.SERVING_LAPSED,
    (_S.ATTESTING_LAPSED, _E.LEASE_RENEWED): _S.ATTESTING,
    (_S.ATTESTING_LAPSED, _E.STOP_ORDERED): _S.STOPPING,
    (_S.SERVING, _E.SECRET_OPENED): _S.SERVING,
    (_S.SERVING, _E.LEASE_ENDED): _S.SERVING_LAPSED,
    (_S.SERVING, _E.EXPORT_PAUSED): _S.LEAVING,
    (_S.SERVING, _E.STOP_ORDERED): _S.STOPPING,
    (_S.SERVING_LAPSED, _E.LEASE_RENEWED): _S.SERVING,
    (_S.SERVING_LAPSED, _E.EXPORT_PAUSED): _S.LEAVING,
    (_S.SERVING_LAPSED, _E.STOP_ORDERED): _S.STOPPING,
    (_S.LEAVING, _E.EXPORT_RESUMED): _S.SERVING,
    (_S.LEAVING, _E.STOP_ORDERED): _S.STOPPING,
    (_S.ARRIVING, _E.IMPORT_COMMITTED): _S.SERVING,
    (_S.ARRIVING, _E.STOP_ORDERED): _S.STOPPING,
}
"""Every legal step; a pair that is missing is no step: the host refuses or ignores what would cause it."""

EXECUTING = frozenset({HostedState.ATTESTING, HostedState.SERVING})
"""States in which RECs are entered."""

LAPSED = frozenset({HostedState.ATTESTING_LAPSED, HostedState.SERVING_LAPSED})
"""States that end by a renewed lease."""


def after(state: HostedState, event: HostedEvent) -> HostedState | None:
    """The next state, or None when the table has no such step."""
    return TABLE.get((state, event))
