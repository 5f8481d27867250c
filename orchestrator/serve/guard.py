"""Who may ask: where the API listens, who has the token, and which pages may speak to it.

On loopback everybody on this machine may. Any other address needs a token, in `Authorization: Bearer`. A browser is
kept from being made a tool of other sites: the Host must be ours while there is no token, and an Origin must be the
Host, so a foreign page can neither rebind a name to us nor post to us.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from http import HTTPStatus
from typing import NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.errors import UserMistake
from orchestrator.serve.body_limit import BODY_TIMEOUT_S, WORDS, read_body, replayed
from orchestrator.serve.problems import answer

SHORTEST_TOKEN = 16
LARGEST_BODY = 2 << 20
"""Bytes of a request: a cluster file of the largest size, written as JSON, fits."""
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
TOKEN_VARIABLE = "REALMFLEET_TOKEN"

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
"""Paths that tell nothing about the fleet; the page's own files are open too."""
PAGE_PREFIX = "/page/"

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<host>[A-Za-z0-9.-]*)):(?P<port>[0-9]{1,5})")


class Listen(NamedTuple):
    """An address to listen at; port 0 takes a free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def text(self) -> str:
        """As it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str, option: str = "--listen") -> Listen:
    """An address as `HOST:PORT`; `:PORT` is every address of this machine. Raises `UserMistake`."""
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise UserMistake(f"{option} {text} is not an address", "write for example 127.0.0.1:9464 or [::1]:9464")
    return Listen(match["six"] or match["host"] or "0.0.0.0", int(match["port"]))


def check_token(listen: Listen, token: str) -> None:
    """Refuse an address that others can reach without a token, and a token that is easily guessed."""
    if not token and not listen.loopback:
        raise UserMistake(
            f"--listen {listen.text} can be reached from other machines, so it needs a token",
            f"add --token-file FILE or set {TOKEN_VARIABLE}; or listen at 127.0.0.1",
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UserMistake("the token is too short or not plain text", f"at least {SHORTEST_TOKEN} ASCII characters")


Refused: TypeAlias = tuple[HTTPStatus, str, str]
"""Status, detail and hint of a problem."""


class Guard:
    """ASGI middleware: lets a request through, or answers it with a problem."""

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refused = self._refused(request)
        if refused is None and request.method in WITH_BODY:
            body = await read_body(scope, receive, LARGEST_BODY, BODY_TIMEOUT_S)
            if body is None:
                return
            if isinstance(body, HTTPStatus):
                refused = body, f"{WORDS[body]}: {LARGEST_BODY} bytes within {BODY_TIMEOUT_S:g} s are read", ""
            else:
                receive = replayed(body, receive)
        if refused is None:
            await self._app(scope, receive, send)
            return
        status, detail, hint = refused
        await answer(status, "refused", detail, hint, instance=request.url.path)(scope, receive, send)

    def _refused(self, request: Request) -> Refused | None:
        host = request.headers.get("host", "")
        if not self._token and not _loopback_name(host):
            return HTTPStatus.MISDIRECTED_REQUEST, f"this is not {host}", "use the address that `up` printed"
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return HTTPStatus.FORBIDDEN, f"pages of {origin} may not speak to this fleet", ""
        if self._token and not self._open(request.url.path):
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                hint = "send Authorization: Bearer TOKEN; on the command line --token-file or " + TOKEN_VARIABLE
                return HTTPStatus.UNAUTHORIZED, "the token is missing or wrong", hint
        return None

    @staticmethod
    def _open(path: str) -> bool:
        return path in OPEN_PATHS or path.startswith(PAGE_PREFIX)


def _loopback_name(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":[0-9]+$", host) else host
    name = name.removeprefix("[").removesuffix("]")
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
