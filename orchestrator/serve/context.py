"""What the routes share: the session, what was read of its trace, the picture, and the task that keeps them fresh."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from attestation.kbs.exchange import AuditRecord
from orchestrator.live import LiveSession
from orchestrator.serve.chronicle import Chronicle
from orchestrator.serve.state import Picture
from orchestrator.serve.views import Snapshot

FRESH_EVERY_S = 0.05
REST = 29
"""Rest behind a refresh, in lengths of it: the engine shares the interpreter, so large fleets are read less often."""
STALE_S = 1.0
"""Longest rest all the same."""
LINES_AT_ONCE = 2_000
"""Lines folded before other requests get their turn."""


class BrokerView(Protocol):
    """What the API tells of the fleet's key broker."""

    @property
    def url(self) -> str:
        """Where it is reached."""
        ...

    def audit(self) -> list[AuditRecord]:
        """Its decisions, oldest first."""
        ...


class Context:
    """Everything of the server's thread; nothing here is touched by the engine's."""

    def __init__(self, session: LiveSession, address: str, broker: BrokerView | None = None) -> None:
        self.session = session
        self.broker = broker
        """The fleet's key broker on its own socket, if there is one."""
        self.address = address
        """Host and port under which it is reached."""
        self.chronicle = Chronicle(machine.name for machine in session.snapshot.machines)
        self.picture = Picture()
        self._pictured = 0
        self._moved = asyncio.Event()

    @property
    def shot(self) -> Snapshot:
        """The last snapshot."""
        return self.session.snapshot

    async def keep_fresh(self) -> None:
        """Follow the session until it ends; wakes whoever waits in `moved`."""
        while True:
            began_s = time.monotonic()
            await self.refresh()
            took_s = time.monotonic() - began_s
            await asyncio.sleep(min(max(FRESH_EVERY_S, REST * took_s), STALE_S))

    async def refresh(self) -> None:
        """Read what was settled and published since the last time."""
        shot = self.shot
        while self.chronicle.read < shot.lines:
            start = self.chronicle.read
            self.chronicle.take(self.session.lines[start : min(start + LINES_AT_ONCE, shot.lines)])
            await asyncio.sleep(0)
        if shot.number != self._pictured:
            self._pictured = shot.number
            self.picture.take(shot, self.chronicle.truth, self.chronicle.executes)
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    async def moved(self, within_s: float) -> None:
        """Return when there is something new, or after `within_s`."""
        try:
            await asyncio.wait_for(self._moved.wait(), within_s)
        except TimeoutError:
            return
