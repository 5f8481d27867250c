"""Twins: one file and seed give one trace, in one process, on Ray, on any number of actors, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "clusters" / "quickstart.yaml"

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli", "run", str(QUICKSTART), "--json", *words]


def run(folder: Path, *words: str, hash_seed: str = "0") -> dict[str, object]:
    done = subprocess.run(
        command(*words),
        cwd=folder, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The quickstart in one process."""
    return run(tmp_path_factory.mktemp("straight"), "--fleet", "local", "--out", "run", hash_seed="1")


def test_the_quickstart_shows_everything_it_promises(straight: dict[str, object]) -> None:
    assert straight["machines"] == 9
    assert straight["realms_running"] == 24
    assert straight["migrations"] == 1
    assert straight["activations"] == 9
    assert straight["faults"] == 2
    assert straight["machines_lost"] == 1
    assert straight["virtual_s"] >= 600  # type: ignore[operator]
    assert set(straight["checkers"].values()) == {"pass"}  # type: ignore[attr-defined]


def test_every_beat_visited_gives_the_same_digest(straight: dict[str, object], tmp_path: Path) -> None:
    assert run(tmp_path, "--fleet", "local", "--no-skip")["trace_digest"] == straight["trace_digest"]


@pytest.mark.parametrize(("actors", "hash_seed"), [pytest.param("1", "2", marks=pytest.mark.long), ("4", "3")])
def test_ray_actors_give_the_same_digest(
    straight: dict[str, object], tmp_path: Path, actors: str, hash_seed: str
) -> None:
    result = run(tmp_path, "--fleet", "ray", "--actors", actors, hash_seed=hash_seed)
    assert result["actors"] == int(actors)
    assert result["trace_digest"] == straight["trace_digest"]


def test_a_killed_actor_is_replaced_and_nothing_changes(straight: dict[str, object], tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--fleet", "ray", "--actors", "2", "--speed", "90", "--out", "run"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    manifest = tmp_path / "run" / "manifest.json"
    pids: list[int] = []
    for _ in range(600):
        if manifest.exists() and (pids := json.loads(manifest.read_text())["actor_pids"]):
            break
        time.sleep(0.1)
    time.sleep(2)
    os.kill(pids[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    result = json.loads(out)
    assert result["actor_restarts"] >= 1
    assert result["trace_digest"] == straight["trace_digest"]
