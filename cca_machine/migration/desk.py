"""Where orders and parcels of migration sessions (modelled) go: to the source or the destination side."""

from __future__ import annotations

from typing import Any

from cca_machine import commands as c
from cca_machine.host.work import Work
from cca_machine.migration.destination import Destination
from cca_machine.migration.rmm_calls import MigrationCalls
from cca_machine.migration.session import Session, Sessions
from cca_machine.migration.side import SOURCE_ROLE
from cca_machine.migration.source import Source
from cca_machine.migration.tables import CLOSED
from cca_machine.monitor.state import MonitorState


class MigrationDesk:
    """All sessions of a machine; implements `host.floor.Migration`."""

    closed = CLOSED

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
            case c.ResumeExport():
                self._source(work).resume(body)
            case c.DiscardExport():
                self._source(work).discard(body)
            case c.OpenImport():
                self._destination(work).open_import(body)
            case c.CommitImport():
                self._destination(work).commit(body)
            case c.AbortImport():
                self._destination(work).abort(body)
            case c.Parcel():
                session = self._sessions.sessions.get(body.session)
                if session is not None and session.peer == source:
                    self._side(work, session).receive(session, body.payload)
            case _:
                return False
        return True

    def stopped(self, work: Work, realm: str, incarnation: int) -> None:
        """The Realm is stopped by an order of its own."""
        session = self._sessions.of_realm(realm, incarnation, CLOSED)
        if session is not None:
            self._side(work, session).realm_stopped(session)

    def _side(self, work: Work, session: Session) -> Source | Destination:
        return self._source(work) if session.role == SOURCE_ROLE else self._destination(work)

    def _source(self, work: Work) -> Source:
        return Source(work, self._sessions, self._calls, self._monitor.nonvolatile.boots)

    def _destination(self, work: Work) -> Destination:
        return Destination(work, self._sessions, self._calls, self._monitor.nonvolatile.boots)
