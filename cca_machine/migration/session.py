"""What one side of a migration session (modelled) remembers."""

from __future__ import annotations

import msgspec

from cca_machine.migration.precopy import Progress, Round, Terms

KEPT_CLOSED = 64
"""Closed sessions that a machine remembers, to answer repeated orders."""


UNKNOWN = "unknown"
"""State of a session that nobody opened here and that nobody can open any more."""
LOST = "lost"
"""State of a session that was open when the RMM failed."""


class Kept(msgspec.Struct, array_like=True):
    """A parcel that the peer's host may ask for again, and what the link is charged for it."""

    payload: bytes
    modelled_bytes: int


class Export(msgspec.Struct):
    """A source's account: `counters` of the next bundle by stream, `crossed` the digest of each page with contents.

    `kept` are the parcels not yet known to have arrived, from sequence number `first` on. `under_way` is the round that
    crosses since `began_ns`; `granules` are those of the first one.
    """

    terms: Terms
    progress: Progress
    counters: list[int]
    epoch: int = 0
    bundles: int = 0
    crossed: dict[int, bytes] = {}
    first: int = 0
    kept: list[Kept] = []
    under_way: Round | None = None
    began_ns: int = 0
    granules: int = 0


class Import(msgspec.Struct):
    """A destination's account: `counters` as the source's; `early` parcels wait for the one numbered `upto`.

    `spans` are the page runs of the present epoch, of which none may come twice.
    """

    counters: list[int]
    epoch: int = 0
    bundles: int = 0
    upto: int = 0
    asked_upto: int = -1
    early: dict[int, bytes] = {}
    spans: list[tuple[int, int]] = []
    granules: int = 0
    recs: list[int] = []
    has_map: bool = False


class Session(msgspec.Struct, kw_only=True):
    """One side: `role` is source or destination, `state` a value of its table.

    `own_hello` and `peer_hello` are what was sent and accepted, `forward` and `backward` the keys of the two directions
    once agreed. `tick` is the hand of its clock that counts; `abort_bundle` what a failed destination can show.
    """

    session: str
    role: str
    state: str
    realm: str
    incarnation: int
    peer: str
    peer_rak: bytes = b""
    witness: bytes = b""
    generation: int = 0
    deadline_ns: int = 0
    own_hello: bytes = b""
    peer_hello: bytes = b""
    forward: bytes = b""
    backward: bytes = b""
    outgoing: Export | None = None
    incoming: Import | None = None
    transcript: bytes = b""
    sent_bytes: int = 0
    tick: int = 0
    abort_bundle: bytes = b""
    verdict: bytes = b""
    why: str = ""

    @property
    def lineage(self) -> str:
        """The Realm as the witness knows it: an incarnation is never revived, so it names a lineage."""
        return lineage_name(self.realm, self.incarnation)


def lineage_name(realm: str, incarnation: int) -> str:
    """The lineage of a Realm."""
    return f"{realm}/{incarnation}"


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

    def lose(self, closed: frozenset[str]) -> list[Session]:
        """The RMM is gone, and every open session with it; those that were open."""
        lost = [session for session in self.sessions.values() if session.state not in closed]
        for session in lost:
            session.state, session.why = LOST, "the RMM failed"
            session.forward = session.backward = b""
            session.outgoing = session.incoming = None
        return lost
