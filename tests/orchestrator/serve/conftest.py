"""A live fleet behind a real loopback port: the engine in one thread, the server in another, tests in a third."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.api import RunResult, open_cluster
from orchestrator.live import LiveSession
from orchestrator.serve.guard import parse_listen
from orchestrator.serve.server import Server, bind

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "clusters" / "small.yaml"
TOKEN = "correct-horse-battery-staple"


class Up:
    """A fleet that is up, and a client of its API."""

    def __init__(self, session: LiveSession, server: Server, client: httpx.Client) -> None:
        self.session, self.server, self.client = session, server, client
        self.result: RunResult | None = None

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(path, params=query)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1{path}", json=body or None)

    def wait(self, true: Callable[[], bool], within_s: float = 20.0) -> None:
        """Let the fleet go on until something is true."""
        until = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < until, "it never came true"
            threading.Event().wait(0.01)

    def serving(self) -> bool:
        found = self.get("/api/v1/status").json()
        return bool(found["realms_serving"] == found["realms_wanted"])


@contextmanager
def fleet_up(folder: Path, speed: float, token: str = "", listen: str = "127.0.0.1:0") -> Iterator[Up]:
    """Bring the small fleet up; it ends with the block."""
    made: list[LiveSession] = []
    ready = threading.Event()
    results: list[RunResult] = []

    def engine() -> None:
        with open_cluster(SMALL, out=folder / "run") as run:
            made.append(LiveSession(run, speed))
            ready.set()
            results.append(made[0].run())

    thread = threading.Thread(target=engine)
    thread.start()
    assert ready.wait(20)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with ExitStack() as stack:
            server = stack.enter_context(Server(made[0], bind(parse_listen(listen), token), token))
            client = stack.enter_context(httpx.Client(base_url=server.url, headers=headers, timeout=20))
            up = Up(made[0], server, client)
            yield up
            made[0].stop()
            thread.join(20)
            up.result = results[0]
    finally:
        made[0].stop()
        thread.join(20)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A fleet that all tests of a module share, at twenty times the wall clock."""
    with fleet_up(tmp_path_factory.mktemp("live"), 20.0) as fleet:
        fleet.wait(fleet.serving)
        yield fleet


@pytest.fixture
def bring_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Brings up a fleet of the test's own."""
    with ExitStack() as stack:

        def build(speed: float = 20.0, token: str = "", listen: str = "127.0.0.1:0") -> Up:
            return stack.enter_context(fleet_up(tmp_path, speed, token, listen))

        yield build
