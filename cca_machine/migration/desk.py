"""Where orders, parcels and ticks of migration sessions (modelled) go: to the source or the destination side."""

from __future__ import annotations

from typing import Any

import msgspec

from cca_machine import commands as c
from cca_machine.host.door import Refusal
from cca_machine.host.work import Work
from cca_machine.migration import wire
from cca_machine.migration.destination import Destination
from cca_machine.migration.rmm_calls import MigrationCalls
from cca_machine.migration.session import LOST, UNKNOWN, Session, Sessions
from cca_machine.migration.side import SOURCE_ROLE
from cca_machine.migration.source import Source
from cca_machine.migration.tables import CLOSED, HELD_FAST
from cca_machine.monitor.state import MonitorState


class MigrationDesk:
    """All sessions of a machine; implements `host.floor.Migration`."""

    closed = CLOSED | {UNKNOWN, LOST}

    def __init__(self, sessions: Sessions, calls: MigrationCalls, monitor: MonitorState) -> None:
        self._sessions = sessions
        self._calls = calls
        self._monitor = monitor

    def realm_of(self, body: Any) -> str | None:
        """The Realm of the session that an order or parcel names."""
        session = self._sessions.sessions.get(getattr(body, "session", ""))
        return None if session is None else session.realm

    def perform(self, work: Work, source: str, body: Any) -> bool:
        """Do an order of a session, or take a parcel that its peer sent; a stranger's is dropped. Raises Refusal."""
        match body:
            case c.OpenExport():
                self._source(work).open_export(body)
            case c.OpenImport():
                self._destination(work).open_import(body)
            case c.SettleSession():
                self._settle(work, body)
            case c.Parcel():
                self._parcel(work, source, body)
            case c.Nudge():
                session = self._sessions.sessions.get(body.session)
                if session is not None and session.tick == body.tick and session.state not in self.closed:
                    self._side(work, session).tick(session)
            case _:
                return False
        return True

    def stopped(self, work: Work, realm: str, incarnation: int) -> None:
        """The Realm is stopped by an order of its own. Raises Refusal: its session is not the host's to end."""
        session = self._sessions.of_realm(realm, incarnation, self.closed)
        if session is not None:
            self._side(work, session).realm_stopped(session)

    def make_way(self, work: Work, why: str) -> None:
        """Before the RMM is replaced or the machine reset: end what can still be ended here.

        Raises Refusal (migration-busy) and ends nothing when a session is past that.
        """
        sessions = [one for one in self._sessions.sessions.values() if one.state not in self.closed]
        for session in sessions:
            if session.state in HELD_FAST:
                raise Refusal("migration-busy", f"session {session.session} is {session.state} here")
        for session in sessions:
            self._side(work, session).give_up(session, why)

    def _settle(self, work: Work, order: c.SettleSession) -> None:
        session = self._sessions.sessions.get(order.session)
        if session is None:
            # orders may overtake each other: an opening that comes after this must not hold a Realm
            session = Session(session=order.session, role="", state=UNKNOWN, realm="", incarnation=0, peer="")
            self._sessions.open(session, self.closed)
        if session.state in (UNKNOWN, LOST):
            work.say(c.SessionClosed(order.session, session.state, session.why))
        else:
            self._side(work, session).settle(session, order)

    def _parcel(self, work: Work, source: str, parcel: c.Parcel) -> None:
        session = self._sessions.sessions.get(parcel.session)
        if session is None or session.state in (UNKNOWN, LOST) or source not in (session.peer, wire.WITNESS):
            return
        try:
            message = wire.decode(parcel.payload)
        except msgspec.MsgspecError:
            return  # garbage on the link is as good as lost
        if isinstance(message, wire.Challenge | wire.Decided) == (source == wire.WITNESS):
            self._side(work, session).receive(session, message)

    def _side(self, work: Work, session: Session) -> Source | Destination:
        return self._source(work) if session.role == SOURCE_ROLE else self._destination(work)

    def _source(self, work: Work) -> Source:
        return Source(work, self._sessions, self._calls, self._monitor.nonvolatile.boots)

    def _destination(self, work: Work) -> Destination:
        return Destination(work, self._sessions, self._calls, self._monitor.nonvolatile.boots)
