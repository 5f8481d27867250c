"""A small process that outlives a killed head just long enough to end the Ray processes the head had started.

Ray's daemons die with the process that started them, but two of their children linger for most of a minute, waiting for
a control store that is gone. The warden holds the reading end of a pipe whose writing end only the head has: when it
closes without a word of dismissal, the head is dead, and what it had noted is ended. A process is known by its id and
its start time, so a number that was given to someone else meanwhile is left alone.

Linux only, by `/proc`; elsewhere nothing is noted, and Ray's own clean-up has to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

DISMISSED = "dismissed"


class Process(NamedTuple):
    """A process that cannot be mistaken for another: `started` is in clock ticks since the kernel booted."""

    pid: int
    started: int


def family(ancestor: int) -> set[Process]:
    """All processes below `ancestor`, itself excluded."""
    children: dict[int, list[Process]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(Process(int(folder.name), int(fields[19])))
    found: set[Process] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child.pid)
    return found


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    fields = _stat(process.pid)
    return bool(fields) and int(fields[19]) == process.started and fields[0] != "Z"


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (proc(5)); empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Warden:
    """The head's side: notes what it started, and dismisses the warden after having ended it."""

    def __init__(self) -> None:
        self._watcher = subprocess.Popen(
            [sys.executable, "-m", "node.warden"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # an interrupt at the terminal is for the head to handle
        )

    def note(self, processes: Iterable[Process]) -> None:
        """Have these ended should this process be killed."""
        self._say("\n".join(f"{process.pid} {process.started}" for process in sorted(processes)))

    def dismiss(self) -> None:
        """All is cleaned up; the warden goes home."""
        self._say(DISMISSED)
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()

    def _say(self, text: str) -> None:
        if self._watcher.stdin is not None:
            self._watcher.stdin.write(text + "\n")
            self._watcher.stdin.flush()


def watch(lines: TextIO) -> None:
    """Read notes until the pipe closes; then end what was noted, unless dismissed."""
    noted: list[Process] = []
    for line in lines:
        if line.strip() == DISMISSED:
            return
        if line.strip():
            pid, started = line.split()
            noted.append(Process(int(pid), int(started)))
    for process in noted:
        with suppress(ProcessLookupError):
            if alive(process):
                os.kill(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
