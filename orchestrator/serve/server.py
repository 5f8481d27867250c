"""The server's thread: it has its own event loop, and the port is taken before anything else is begun."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from types import TracebackType

import uvicorn

from orchestrator.errors import UserMistake
from orchestrator.live import LiveSession
from orchestrator.serve.app import create_app
from orchestrator.serve.context import BrokerView, Context
from orchestrator.serve.guard import Listen, check_token

GRACE_S = 2
"""Wall time that open requests get when the fleet ends."""


def bind(listen: Listen, token: str) -> socket.socket:
    """Take the port, or say why not: in use, not ours, or open to others without a token."""
    check_token(listen, token)
    return open_socket(listen, "--listen")


def open_socket(listen: Listen, option: str) -> socket.socket:
    """Listen at an address that `option` named. Raises `UserMistake`."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((listen.host, listen.port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            hint = f"another fleet may be up there; choose another port with {option}, or {option} 127.0.0.1:0"
            raise UserMistake(f"port {listen.port} is in use", hint) from error
        raise UserMistake(f"cannot listen at {listen.text}: {error.strerror}", f"choose another {option}") from error
    return taken


class Server:
    """Serves one session from a thread of its own for as long as the context lasts."""

    def __init__(
        self, session: LiveSession, taken: socket.socket, token: str = "", broker: BrokerView | None = None
    ) -> None:
        host, port = taken.getsockname()[:2]
        self.listen = Listen(host, port)
        self._socket = taken
        self._session = session
        self._token = token
        self._broker = broker
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="realmfleet-serve", daemon=True)

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        if self.listen.host in ("0.0.0.0", "::"):
            return f"http://127.0.0.1:{self.listen.port}"
        return f"http://{self.listen.text}"

    def __enter__(self) -> Server:
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(GRACE_S + 3)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        context = Context(self._session, self.listen.text, self._broker)
        app = create_app(context, self._token)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            h11_max_incomplete_event_size=64 * 1024,
        )
        self._server = uvicorn.Server(config)
        following = asyncio.create_task(context.keep_fresh())
        self._ready.set()
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            following.cancel()
