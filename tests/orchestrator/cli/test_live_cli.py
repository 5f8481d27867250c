"""`up` and the commands that speak to it, as real processes with real exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "clusters" / "small.yaml"
TOKEN = "correct-horse-battery-staple"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli", *map(str, words)]


class Terminal:
    """A fleet that is up, and a second terminal beside it."""

    def __init__(self, process: subprocess.Popen[str], address: str, run: Path) -> None:
        self.process, self.address, self.run = process, address, run

    def say(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "REALMFLEET_ADDRESS": self.address, "NO_COLOR": "1"}
        done = subprocess.run(command(*words), capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def json(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self.say(*words, "--json", code=code).stdout)


def start(folder: Path, *words: str) -> Terminal:
    run = folder / "run"
    process = subprocess.Popen(
        command("up", SMALL, "--fleet", "local", "--listen", "127.0.0.1:0", "--out", run, "--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"http://([0-9.:]+)/", line)
    assert found, line + process.stderr.read()
    return Terminal(process, found[1], run)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    up = start(tmp_path_factory.mktemp("up"), "--speed", "2")
    yield up
    up.process.kill()
    up.process.communicate()


def test_status_and_lists_show_the_fleet(terminal: Terminal) -> None:
    status = terminal.json("status")
    assert (status["cluster"], sum(status["machines"].values())) == ("small", 6)
    assert len(terminal.json("machine", "list")["items"]) == 6
    plain = terminal.say("realm", "list").stdout.splitlines()
    assert plain[0].split()[:3] == ["name", "kind", "state"]
    assert len(plain) == 1 + 9


def test_what_is_asked_for_is_done_or_refused_with_the_reason(terminal: Terminal) -> None:
    (name,) = terminal.json("realm", "launch", "web")["subjects"]
    assert terminal.json("realm", "stop", name)["accepted"] is True
    refused = terminal.json("realm", "stop", name, code=1)
    assert refused["accepted"] is False
    assert "did you mean 'web-001'?" in terminal.say("realm", "stop", "web-01", code=2).stderr
    assert terminal.json("fault", "inject", "machine.freeze", "--machine", "r1-std-01", "--for", "5s")["accepted"]
    assert "no fault is called" in terminal.say("fault", "inject", "machine.fry", "--rack", "r1", code=2).stderr
    started = terminal.json("rollout", "start", "rmm-1.0.1", "--wave", "1", "--wave", "100%", "--bake", "2h")
    assert started["subjects"] == ["rollout-2"]
    options = ("--max-unavailable", "2", "--window", "1h..2h", "--freeze", "80min..90min", "--max-failures", "1")
    calendar = terminal.json("rollout", "start", "rmm-1.0.1", *options)
    assert calendar["accepted"] is True
    assert terminal.json("rollout", "abort", calendar["subjects"][0])["accepted"] is True
    assert "FROM..TO" in terminal.say("rollout", "start", "rmm-1.0.1", "--window", "1h", code=2).stderr
    assert "is not a duration" in terminal.say("rollout", "start", "rmm-1.0.1", "--freeze", "a..b", code=2).stderr
    assert terminal.json("rollout", "pause", "rollout-2")["accepted"] is True
    assert terminal.json("rollout", "status", "rollout-2")["stage"] == "paused"
    assert terminal.json("rollout", "abort", "rollout-2")["accepted"] is True
    assert "realms.web.count: 6 to 8" not in terminal.say("apply", SMALL, "--dry-run").stdout


def test_top_shows_every_machine(terminal: Terminal) -> None:
    shown = terminal.say("top", "--count", "1").stdout
    assert all(f"r{rack}-std-0{number}" in shown for rack in (1, 2, 3) for number in (1, 2))
    assert len(terminal.say("top", "--count", "2", "--every", "0.1", "--json").stdout.splitlines()) == 2


def test_an_interrupt_ends_the_fleet_cleanly_and_the_run_replays_to_its_digest(tmp_path: Path) -> None:
    up = start(tmp_path, "--speed", "5")
    up.json("scale", "web", "3")
    up.json("realm", "migrate", "db-001")
    # a Realm on its way when the end comes leaves a checker undecided, which is exit 4 and right
    deadline = time.monotonic() + 40
    while (told := up.json("status"))["realms_serving"] != told["realms_wanted"] and time.monotonic() < deadline:
        time.sleep(0.1)
    up.process.send_signal(signal.SIGINT)
    out, err = up.process.communicate(timeout=30)
    assert up.process.returncode == 0, err
    result = json.loads(out)
    assert result["interrupted"] is False
    assert result["repeat"] == f"realmfleet replay {up.run}"
    again = up.json("replay", up.run)
    assert (again["same"], again["trace_digest"], again["inputs"]) == (True, result["trace_digest"], 2)
    assert "no fleet answers" in up.say("status", code=2).stderr


def test_a_fleet_may_end_by_itself(tmp_path: Path) -> None:
    up = start(tmp_path, "--speed", "1000", "--until", "10s")
    out, _ = up.process.communicate(timeout=30)
    assert (up.process.returncode, json.loads(out)["virtual_s"]) == (0, 10)


def test_a_port_in_use_is_one_message_and_leaves_no_run_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = command("up", SMALL, "--fleet", "local", "--listen", f"127.0.0.1:{port}", "--out", tmp_path / "run")
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"realmfleet: port {port} is in use\n")
    assert not (tmp_path / "run").exists()


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    words = command("up", SMALL, "--fleet", "local", "--listen", "0.0.0.0:0", "--out", tmp_path / "run")
    clean = {key: value for key, value in os.environ.items() if key != "REALMFLEET_TOKEN"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=clean)
    assert done.returncode == 2
    assert "it needs a token" in done.stderr
    assert not (tmp_path / "run").exists()
