"""A gate before an ASGI application: a request body is whole, small and in time, or the application never sees it.

`read_body` and `replayed` are the gate itself; `BodyLimit` closes it with plain words, `orchestrator.serve.guard` with
problem details.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 10.0


class BodyLimit:
    """Reads the body within size (bytes) and time (seconds), and only then calls the application."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await read_body(scope, receive, self.max_bytes, self.timeout_s)
        if isinstance(body, HTTPStatus):
            await _close(body, WORDS[body])(scope, receive, send)
        elif body is not None:
            await self.app(scope, replayed(body, receive), send)


WORDS = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request body is too large",
    HTTPStatus.REQUEST_TIMEOUT: "request body took too long",
}
"""Why a body was not read, by the status that says so."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int, timeout_s: float) -> bytes | HTTPStatus | None:
    """The body; the status to answer with when it is too large or too slow; None when the client left."""
    if _announced(scope) > max_bytes:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    try:
        body = await asyncio.wait_for(_read(receive, max_bytes), timeout_s)
    except TimeoutError:
        return HTTPStatus.REQUEST_TIMEOUT
    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if body is not None and len(body) > max_bytes else body


def replayed(body: bytes, receive: Receive) -> Receive:
    """Where an application finds the body that was read before it."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The body up to one chunk beyond the limit; None when the client left."""
    body = bytearray()
    while len(body) <= max_bytes:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return bytes(body)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _close(status: int, text: str) -> PlainTextResponse:
    """An answer after which the connection ends, because the rest of the body is still on its way."""
    return PlainTextResponse(text, status, headers={"connection": "close"})
