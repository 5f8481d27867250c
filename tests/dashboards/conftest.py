"""A real quickstart run in a real Prometheus, started once for all tests that ask it something."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.api import open_cluster
from orchestrator.chaos.checkers import judge
from orchestrator.chaos.verdict import facts_of
from orchestrator.engine.run_store import RunReader
from orchestrator.metrics.backfill import Backfilled, backfill
from orchestrator.metrics.collect import Carried, collect
from orchestrator.metrics.export import FILE, write_metrics
from orchestrator.metrics.fleet_facts import fleet_facts
from orchestrator.rundir import DATABASE

ROOT = Path(__file__).resolve().parents[2]
NO_CONFIG = "global: {}\n"
READY_WITHIN_S = 20.0


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of promtool; a host without it skips what needs it."""
    return _installed("promtool")


def _installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install prometheus)")
    return found


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of `clusters/quickstart.yaml`, with its metrics."""
    run_dir = tmp_path_factory.mktemp("runs") / "quickstart"
    carried = Carried()
    with open_cluster(ROOT / "clusters" / "quickstart.yaml", out=run_dir) as run:
        while run.now_ns < run.until_ns:
            run.run_until(min(run.until_ns, carried.next_ns))
            carried.note(run.now_ns, run.engine.delivered)
        run.finish()
    if not (run_dir / FILE).is_file():
        with RunReader(run_dir / DATABASE) as reader:
            lines = list(reader.trace())
        verdicts = judge(lines, facts_of(run.cluster, run.now_ns, run.plan.firmware.anchors))
        facts = fleet_facts(run.cluster, run.seed)
        write_metrics(run_dir / FILE, collect(lines, facts, run.now_ns, verdicts=verdicts, carried=carried))
    return run_dir


class Prometheus(NamedTuple):
    """A server that holds one run; instants in seconds since 1970."""

    url: str
    loaded: Backfilled

    def over_the_run(self, expr: str) -> list[dict[str, Any]]:
        """Series that the expression gives over the whole run, each 15 s."""
        start_s, end_s = self.loaded.from_ms // 1000, -(-self.loaded.until_ms // 1000)
        return self._ask("query_range", query=expr, start=start_s, end=end_s, step=15)

    def at_the_end(self, expr: str) -> list[dict[str, Any]]:
        """Series that the expression gives at the last sample."""
        return self._ask("query", query=expr, time=self.loaded.until_ms / 1000)

    def _ask(self, endpoint: str, **arguments: object) -> list[dict[str, Any]]:
        body = urllib.parse.urlencode(arguments).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{endpoint}", body, timeout=10) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{arguments['query']}: {json.load(error)['error']}")
        assert answer["status"] == "success"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@pytest.fixture(scope="session")
def prometheus(quickstart: Path, promtool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus on a free port of loopback with the quickstart run in it; ended whatever happens."""
    program = _installed("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    loaded = backfill(quickstart, folder / "tsdb", promtool=promtool)
    (folder / "prometheus.yml").write_text(NO_CONFIG, encoding="utf-8")
    port = _free_port()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url, server, folder / "log")
            yield Prometheus(url, loaded)
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        if server.poll() is not None:
            pytest.fail(f"Prometheus ended with {server.returncode}: {log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"Prometheus was not ready within {READY_WITHIN_S} s: {log.read_text()}")
