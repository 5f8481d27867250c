"""The warden ends what a killed head leaves, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from node.warden import Process, Warden, alive, family

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the warden knows processes by /proc")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def only(pid: int) -> Process:
    [found] = [process for process in family(os.getpid()) if process.pid == pid]
    return found


HEAD = """
import os, signal, sys
from node.warden import Process, Warden
warden = Warden()
warden.note([Process(int(sys.argv[1]), int(sys.argv[2]))])
if sys.argv[3] == "dismissed":
    warden.dismiss()
else:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def head(process: Process, end: str) -> None:
    subprocess.run([sys.executable, "-c", HEAD, str(process.pid), str(process.started), end], check=False)


def test_what_a_killed_head_had_noted_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    head(only(sleeper.pid), "killed")
    assert sleeper.wait(timeout=20) == -9


def test_after_a_dismissal_nothing_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    head(only(sleeper.pid), "dismissed")
    assert alive(only(sleeper.pid))


def test_a_number_that_belongs_to_another_process_by_now_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    process = only(sleeper.pid)
    earlier = Process(process.pid, process.started - 1)
    assert not alive(earlier)
    warden = Warden()
    warden.note([earlier])
    assert warden._watcher.stdin is not None
    warden._watcher.stdin.close()  # as a killed head would
    assert warden._watcher.wait(timeout=20) == 0
    assert alive(process)


def test_a_family_holds_grandchildren(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in {process.pid for process in family(os.getppid())}
