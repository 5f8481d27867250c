"""What one side of a migration session (modelled) remembers."""

from __future__ import annotations

import msgspec

from cca_machine.migration.precopy import Terms

KEPT_CLOSED = 64
"""Closed sessions that a machine remembers, to answer repeated orders."""


class Session(msgspec.Struct, kw_only=True):
    """One side: `role` is source or destination, `state` a value of its table.

    `share` is the private ephemeral scalar, `own_hello` and `peer_hello` what was sent and accepted, `key` the traffic
    key once agreed. `next_counter` is that of the next bundle to seal or open; what came early waits in `early`.
    `complete` says that measurements and vCPUs arrived. `terms` are those of a pre-copy, if it is one.
    """

    session: str
    role: str
    state: str
    realm: str
    incarnation: int
    peer: str
    peer_rak: bytes
    share: bytes = b""
    own_hello: bytes = b""
    peer_hello: bytes = b""
    key: bytes = b""
    next_counter: int = 0
    early: dict[int, bytes] = {}
    transcript: bytes = b""
    received_granules: int = 0
    complete: bool = False
    sent_bytes: int = 0
    why: str = ""
    terms: Terms | None = None


class Sessions(msgspec.Struct):
    """All sessions of a machine by name, in order of opening."""

    sessions: dict[str, Session] = {}

    def open(self, session: Session, closed: frozenset[str]) -> None:
        """Take in a session; the oldest closed ones are forgotten."""
        old = [name for name, one in self.sessions.items() if one.state in closed]
        for name in old[: max(len(old) - KEPT_CLOSED, 0)]:
            del self.sessions[name]
        self.sessions[session.session] = session

    def of_realm(self, realm: str, incarnation: int, closed: frozenset[str]) -> Session | None:
        """The open session that holds this Realm, if any."""
        for session in self.sessions.values():
            if (session.realm, session.incarnation) == (realm, incarnation) and session.state not in closed:
                return session
        return None
