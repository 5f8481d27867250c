"""The fleet's key broker and verifier on a socket of their own beside the API, for clients that speak their protocols.

They judge by what the fleet judges by: the anchors of its machines, its reference values, its release policy, and they
hold its secrets. Who may have one is decided by evidence alone, so no token is asked for; beyond loopback the answers
must not be read on their way, so there TLS is.
Nothing that happens here changes the run, so nothing of it is journaled.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec
import uvicorn

from attestation.kbs.exchange import AuditRecord
from orchestrator import rundir
from orchestrator.api import Run
from orchestrator.errors import UserMistake
from orchestrator.plan import trust_anchors
from orchestrator.realms.policy import release_policy, secrets
from orchestrator.serve import kbs
from orchestrator.serve.guard import Listen, parse_listen
from orchestrator.serve.server import GRACE_S, open_socket

OFF = "off"


class BrokerWish(msgspec.Struct, frozen=True):
    """Where the broker is to listen, and with which certificate and key (PEM files); both or neither."""

    listen: Listen
    cert: Path | None = None
    key: Path | None = None


def read_wish(listen: str, cert: Path | None, key: Path | None) -> BrokerWish | None:
    """The wish in words, None for `off`. Raises `UserMistake`."""
    if listen == OFF:
        return None
    wish = BrokerWish(parse_listen(listen, "--broker"), cert, key)
    if (cert is None) != (key is None):
        raise UserMistake("TLS needs both --broker-cert and --broker-key", "give both or neither")
    for file in (cert, key):
        if file is not None and not file.is_file():
            raise UserMistake(f"there is no file {file}", "check the path")
    if cert is None and not wish.listen.loopback:
        raise UserMistake(
            f"--broker {listen} can be reached from other machines, so it needs TLS",
            "add --broker-cert FILE --broker-key FILE, or listen at 127.0.0.1",
        )
    return wish


def bind(wish: BrokerWish) -> socket.socket:
    """Take the port. Raises `UserMistake`."""
    return open_socket(wish.listen, "--broker")


class FleetBroker:
    """Serves the run's broker and verifier from a thread of its own for as long as the context lasts.

    Every release and denial is kept for the API, and written to `broker-audit.jsonl` of the run's directory.
    """

    def __init__(self, run: Run, wish: BrokerWish, taken: socket.socket) -> None:
        made = run.plan
        self._wish = wish
        self._socket = taken
        self._file: TextIO | None = None
        self._path = run.path / rundir.BROKER_AUDIT
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="realmfleet-broker", daemon=True)
        self.room = kbs.room(
            secrets(made.cluster, made.secret),
            trust_anchors(made),
            run.assembly.control.references,
            policy=release_policy(made.cluster),
            keep=self._keep,
        )

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._wish.cert is None else "https"
        return f"{scheme}://{Listen('127.0.0.1' if host in ('0.0.0.0', '::') else host, port).text}"

    def audit(self) -> list[AuditRecord]:
        """Decisions so far, oldest first; bounded as the broker bounds them."""
        return list(self.room.broker.state.audit)

    def __enter__(self) -> FleetBroker:
        self._server = kbs.server(
            kbs.create_app(self.room), self._wish.listen.host, self._wish.listen.port, self._wish.cert, self._wish.key
        )
        try:
            self._server.config.load()  # a certificate that does not fit its key is told before anything runs
        except OSError as error:
            raise UserMistake(f"TLS cannot be set up: {error}", "a certificate and its key, in PEM") from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(GRACE_S + 3)
        self._socket.close()
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        assert self._server is not None
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def _keep(self, record: AuditRecord) -> None:
        """One line of the audit trail; the file begins with the first."""
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(json.dumps(msgspec.to_builtins(record)) + "\n")
        self._file.flush()
