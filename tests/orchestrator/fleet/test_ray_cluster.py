"""A cluster of several raylets: nodes are spread over it, and a raylet that is killed changes nothing in the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_run import RunUnderWay

ROOT = Path(__file__).resolve().parents[3]
TOY = ROOT / "tests" / "toys" / "ray_cluster.py"
SMALL = ROOT / "clusters" / "small.yaml"

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the run in one process."""
    run = RunUnderWay(tmp_path_factory.mktemp("straight"), SMALL, "--fleet", "local")
    return str(run.result()["trace_digest"])


@pytest.fixture
def cluster() -> Iterator[dict[str, Any]]:
    """Three raylets with two cores each, in a process of their own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, str(TOY), "3", "2"], env={**ours, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())
    process.communicate(timeout=60)


def test_nodes_are_spread_and_a_killed_raylet_changes_nothing(
    cluster: dict[str, Any], straight: str, tmp_path: Path
) -> None:
    words = ("--fleet", "ray", "--ray-address", cluster["address"], "--actors", "3", "--speed", "60")
    words += ("--every-heartbeat",)  # a fleet that rests would not miss a raylet
    run = RunUnderWay(tmp_path, SMALL, *words)
    manifest = run.manifest()
    assert len(set(manifest["actor_hosts"])) == 3
    run.pass_beats(300)
    os.kill(cluster["raylets"][2], signal.SIGKILL)
    result = run.result()
    assert result["actor_restarts"] >= 1
    assert result["trace_digest"] == straight
    assert len(set(run.manifest()["actor_hosts"])) == 2
