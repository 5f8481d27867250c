"""What both sides of a session (modelled) have in common while they work on an order or a parcel."""

from __future__ import annotations

from attestation.keys import SigningKey
from cca_machine.commands import Parcel, SessionClosed, SessionStep
from cca_machine.host.door import Refusal
from cca_machine.host.hosted import HostedRealm
from cca_machine.host.work import Work
from cca_machine.migration.handshake import fresh_share, make_hello
from cca_machine.migration.rmm_calls import MigrationCalls
from cca_machine.migration.sealing import HEADER_BYTES
from cca_machine.migration.session import Session, Sessions
from cca_machine.migration.tables import CLOSED

SOURCE_ROLE = "source"
DESTINATION_ROLE = "destination"


class Side:
    """One piece of work within the sessions of a machine; `boot` keeps key shares of different boots apart."""

    def __init__(self, work: Work, sessions: Sessions, calls: MigrationCalls, boot: int) -> None:
        self.work = work
        self.sessions = sessions
        self.calls = calls
        self.boot = boot

    def open(self, role: str, session: Session) -> Session:
        """Enter a session that is new here. Raises Refusal: session-known."""
        if session.session in self.sessions.sessions:
            raise Refusal("session-known", f"session {session.session} was opened here before")
        self.sessions.open(session, CLOSED)
        return session

    def known(self, name: str, role: str) -> Session:
        """The session in which this machine plays `role`. Raises Refusal: unknown-session."""
        session = self.sessions.sessions.get(name)
        if session is None or session.role != role:
            raise Refusal("unknown-session", f"this machine is not the {role} of session {name}")
        return session

    def known_or_new(self, name: str, role: str, new: str) -> Session:
        """As `known`; a session that nobody opened here is entered without a Realm, so that it cannot be opened later.

        Orders may overtake each other: without this, an opening that comes after its own end would hold a Realm.
        """
        if name not in self.sessions.sessions:
            self.sessions.open(
                Session(session=name, role=role, state=new, realm="", incarnation=0, peer="", peer_rak=b""), CLOSED
            )
        return self.known(name, role)

    def is_repeated(self, name: str, role: str) -> bool:
        """Whether an opening order came again: refusing it would tell the control plane that this side is through."""
        session = self.sessions.sessions.get(name)
        return session is not None and session.role == role and session.state not in CLOSED

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
        self.send(session, session.own_hello, len(session.own_hello))

    def send(self, session: Session, payload: bytes, modelled_bytes: int) -> None:
        """Put a parcel on the link, charged with what it stands for."""
        size = modelled_bytes + HEADER_BYTES
        session.sent_bytes += size
        self.work.send(session.peer, Parcel(session.session, payload, size))

    def step(self, session: Session, state: str) -> None:
        """Record the state that the session has come to."""
        self.work.tell(
            SessionStep(session.session, session.realm, session.incarnation, session.role, state, session.sent_bytes)
        )

    def close(self, session: Session, how: str, why: str = "", *, asked: bool = True) -> None:
        """Forget secrets, record the end and tell the control plane."""
        session.key = b""
        session.early = {}
        session.why = why
        if session.realm:
            self.step(session, session.state)
        self.work.say(SessionClosed(session.session, how, why), asked=asked)

    def hosted(self, session: Session) -> HostedRealm | None:
        """The Realm of the session, if it is here."""
        return self.work.site.state.find(session.realm, session.incarnation)
