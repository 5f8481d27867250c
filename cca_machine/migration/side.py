"""What both sides of a session (modelled) have in common while they work on an order or a parcel."""

from __future__ import annotations

from attestation.keys import SigningKey
from cca_machine.commands import Nudge, Parcel, SessionClosed, SessionStep
from cca_machine.host.door import Refusal
from cca_machine.host.happenings import Arrived
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.work import Work
from cca_machine.migration import wire
from cca_machine.migration.bundles import Header, StreamKeys, lineage_id, seal, session_id
from cca_machine.migration.content import TYPES, Content, encode
from cca_machine.migration.handshake import fresh_share, make_hello
from cca_machine.migration.rmm_calls import MigrationCalls
from cca_machine.migration.session import Session, Sessions
from cca_machine.migration.tables import CLOSED
from cca_machine.migration.wire import FRAME_BYTES, WITNESS, Freightage

SOURCE_ROLE = "source"
DESTINATION_ROLE = "destination"
CONTROL_STREAM = 0
MEMORY_STREAMS = 2
"""Streams of page bundles (QEMU's multifd default); stream 0 carries control bundles only."""
PATIENCE_NS = 1_000_000_000
"""How long an end waits before it says something again."""
GAP_NS = 100_000_000
"""How long a destination waits for what is missing before it asks for it."""


class Side:
    """One piece of work within the sessions of a machine; `boot` keeps key shares of different boots apart."""

    def __init__(self, work: Work, sessions: Sessions, calls: MigrationCalls, boot: int) -> None:
        self.work = work
        self.sessions = sessions
        self.calls = calls
        self.boot = boot

    # -- sessions ------------------------------------------------------------------------------------------------------

    def open(self, session: Session) -> Session:
        """Enter a session that is new here. Raises Refusal: session-known."""
        if session.session in self.sessions.sessions:
            raise Refusal("session-known", f"session {session.session} was opened here before")
        self.sessions.open(session, CLOSED)
        return session

    def is_repeated(self, name: str, role: str) -> bool:
        """Whether an opening order came again: refusing it would tell the control plane that this side is through."""
        session = self.sessions.sessions.get(name)
        return session is not None and session.role == role and session.state not in CLOSED

    def hosted(self, session: Session) -> HostedRealm | None:
        """The Realm of the session, if it is here."""
        return self.work.site.state.find(session.realm, session.incarnation)

    # -- handshake -----------------------------------------------------------------------------------------------------

    def share(self, session: Session) -> SigningKey:
        """The ephemeral key of this side."""
        return fresh_share(self.work.site.spec.seed, self.boot, session.session, session.role)

    def greet(self, session: Session) -> None:
        """Send the key share, signed; the same bytes whenever it is repeated."""
        if not session.own_hello:
            self.work.meter.charge("crypto.p384-sign")
            session.own_hello = make_hello(
                session.session, session.role, session.realm, session.incarnation, self.share(session), self.calls.rak()
            )
        self.send(session, wire.Handshake(f"hello-{session.role}", session.own_hello))

    # -- bundles -------------------------------------------------------------------------------------------------------

    def sealed(self, session: Session, key: bytes, content: Content, stream: int, counter: int, epoch: int) -> bytes:
        """A bundle of this session."""
        plain = encode(content)
        header = Header(
            session_id(session.session), lineage_id(session.lineage), session.generation, TYPES[type(content)], stream,
            counter, epoch, len(plain),
        )  # fmt: skip
        return seal(StreamKeys(key), header, plain)

    # -- what leaves ---------------------------------------------------------------------------------------------------

    def send(self, session: Session, message: Freightage) -> None:
        """Put a message for the peer on the link."""
        payload = wire.encode(message)
        self.send_payload(session, payload, len(payload) + FRAME_BYTES)

    def send_payload(self, session: Session, payload: bytes, modelled_bytes: int) -> None:
        """Put a parcel for the peer on the link, charged with what it stands for."""
        session.sent_bytes += modelled_bytes
        self.work.send(session.peer, Parcel(session.session, payload, modelled_bytes))

    def tell_witness(self, session: Session, message: Freightage) -> None:
        """Send a message to the lineage witness."""
        payload = wire.encode(message)
        self.work.send(WITNESS, Parcel(session.session, payload, len(payload) + FRAME_BYTES))

    def nudge(self, session: Session, after_ns: int = PATIENCE_NS) -> None:
        """Wind the session's clock: it will be looked at again, unless it is wound anew before."""
        session.tick += 1
        site = self.work.site
        nudge = Arrived(site.spec.name, session.tick, Nudge(session.session, session.tick))
        self.work.agenda.append((self.work.at_ns + after_ns, nudge))

    def step(self, session: Session, why: str = "") -> None:
        """Record the state that the session has come to."""
        self.work.tell(
            SessionStep(
                session.session, session.realm, session.incarnation, session.role, session.state, session.sent_bytes,
                why,
            )
        )  # fmt: skip

    def close(self, session: Session, why: str = "") -> None:
        """Forget keys, record the end and tell the control plane."""
        session.forward = session.backward = b""
        session.outgoing = session.incoming = None
        session.tick += 1
        session.why = why
        if session.realm:
            self.step(session, why)
        self.closed(session, asked=False)

    def closed(self, session: Session, *, asked: bool = True) -> None:
        """Say that the session is over here."""
        self.work.say(SessionClosed(session.session, session.state, session.why), asked=asked)
