"""The event stream (`text/event-stream`): records of the trace as they are settled, and changes of the picture.

Every reader has a place of its own in the trace and takes what is there when its connection has room, so a slow one
waits for itself alone. A reader that comes back names the last line it has (`Last-Event-ID`) and goes on behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from orchestrator.serve.context import Context

BATCH = 500
BEAT_S = 10.0
"""A comment at least this often, so that both ends notice a lost connection."""

_EVENT = b"id: %d\nevent: record\ndata: %b\n\n"


def routes(context: Context) -> APIRouter:
    """The stream's route."""
    router = APIRouter(prefix="/api/v1", tags=["events"])

    @router.get("/events", response_class=StreamingResponse)
    async def events(
        request: Request,
        after: Annotated[int | None, Query(ge=-1, description="Place of the last line that is known; -1: all.")] = None,
        state: Annotated[bool, Query(description="Send the picture of the fleet and its changes too.")] = False,
        follow: Annotated[bool, Query(description="False ends the stream at the newest line.")] = True,
        last_event_id: Annotated[int | None, Header(ge=-1)] = None,
    ) -> StreamingResponse:
        """Trace records from now on, or from a place in the past; each event's id is its place in the trace."""
        await context.refresh()
        start = last_event_id if last_event_id is not None else after
        place = context.shot.lines if start is None else start + 1
        return StreamingResponse(
            _events(context, place, state, follow),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return router


async def _events(context: Context, place: int, state: bool, follow: bool) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    place, pictured = min(place, context.chronicle.read), 0
    while True:
        lines = context.session.lines[place : min(place + BATCH, context.chronicle.read)]
        if lines:
            yield b"".join(_EVENT % (place + number, line.line) for number, line in enumerate(lines))
            place += len(lines)
            continue
        changes, whole = context.picture.since(pictured) if state else ([], False)
        pictured = context.picture.number
        name = b"state" if whole else b"change"
        yield b"".join(b"event: %b\ndata: %b\n\n" % (name, change) for change in changes) or b": still here\n\n"
        if not follow:
            return
        if context.session.stopping:
            yield b"event: end\ndata: {}\n\n"
            return
        await context.moved(BEAT_S)
