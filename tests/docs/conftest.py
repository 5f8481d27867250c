"""Runs what a page of the documentation tells its reader to type, in the order of the page, in an empty directory.

Blocks of `console` are commands behind `$ ` with the output that the reader is promised: a line of the promise must be
found in the output, in order, `...` standing for anything. Blocks of `python` are saved under the name that the text
before them gives, like "Save this as `again.py`", or run at once. Comments steer what a reader does by hand:

    <!-- in the background -->                   the next block is another terminal
    <!-- until COMMAND shows PATTERN -->         ask until the output matches
    <!-- end what is in the background -->       Ctrl-C there
    <!-- not run: WHY -->                        the next block is left out
    <!-- first COMMAND -->                       done before coming here; the `text` block that follows is its output
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 200.0
_PART = re.compile(
    r"<!-- (?P<comment>.*?) -->"
    r"|^```(?P<kind>console|python|yaml|text)\n(?P<body>.*?)^```"
    r"|[Ss]ave this as `(?P<file>[\w.-]+)`",
    re.MULTILINE | re.DOTALL,
)


_WALL = re.compile(r"(virtual s in )[0-9.]+")
"""The one number of a run's report that is another each time."""


class Walk:
    """A reader with a terminal, who follows a page to the letter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self._first = ""
        self._ports = {"9464": _free_port(), "9090": _free_port()}
        self._behind: list[subprocess.Popen[str]] = []
        for name in ("clusters", "dashboards", "docs"):
            (folder / name).symlink_to(ROOT / name)
        programs = folder / ".programs"
        programs.mkdir()
        for name, command in (("realmfleet", "-m orchestrator.cli"), ("python", ""), ("pytest", _pytest())):
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command} "$@"\n')
            (programs / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "REALMFLEET_ADDRESS": f"127.0.0.1:{self._ports['9464']}",
            "COLUMNS": "160",
        }

    def follow(self, page: Path) -> None:
        """Do everything that the page says."""
        behind = skipped = False
        file = ""
        for part in _PART.finditer(page.read_text(encoding="utf-8")):
            comment, kind, body = part["comment"], part["kind"], part["body"] or ""
            if part["file"]:
                file = part["file"]
            elif comment is not None:
                behind, skipped = behind or comment == "in the background", skipped or comment.startswith("not run: ")
                self._steer(comment)
            else:
                if not skipped:
                    self._block(kind, body, file, behind)
                behind, skipped, file = False, False, ""

    def close(self) -> None:
        """End what is in the background, as Ctrl-C does."""
        for process in reversed(self._behind):
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self._behind.clear()

    def _block(self, kind: str, body: str, file: str, behind: bool) -> None:
        if kind == "text" and self._first:
            self._run(self._first, [_WALL.sub(r"\1...", line) for line in body.splitlines() if line.strip()])
            self._first = ""
        elif kind == "console":
            for command, promise in _commands(body):
                self._start(command) if behind else self._run(command, promise)
        elif file:
            (self.folder / file).write_text(body, encoding="utf-8")
        elif kind == "python":
            (self.folder / "snippet.py").write_text(body, encoding="utf-8")
            self._run("python snippet.py", [])

    def _steer(self, comment: str) -> None:
        if comment == "end what is in the background":
            self.close()
        elif done := re.fullmatch(r"first (.+)", comment):
            self._first = done[1]
        elif asked := re.fullmatch(r"until (.+?) shows (.+)", comment):
            self._until(asked[1], asked[2])

    def _run(self, command: str, promise: list[str]) -> None:
        done = self._do(command)
        told = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, told
        lines, place = done.stdout.splitlines(), 0
        for line in promise:
            pattern = ".*".join(re.escape(piece.strip()) for piece in re.split(r"\.\.\.", line))
            pattern = re.sub(r"(\\ )+", r"\\s+", pattern)
            while line.strip() != "...":
                assert place < len(lines), f"{line!r} was promised\n{told}"
                place += 1
                if re.search(pattern, lines[place - 1]):
                    break
        self.ran.append(command)

    def _until(self, command: str, pattern: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, (done := self._do(command)).stdout):
            ended = [process.args for process in self._behind if process.poll() is not None]
            assert not ended, f"{ended} is over"
            assert time.monotonic() < deadline, f"{command} never showed {pattern}: {done.stdout}{done.stderr}"

    def _start(self, command: str) -> None:
        program, *words = shlex.split(self._ported(command))
        found = shutil.which(program, path=self._environment["PATH"])
        if found is None:
            pytest.skip(f"{program} is not installed")
        if program == "realmfleet":
            words += ["--listen", self._environment["REALMFLEET_ADDRESS"]]
        self._behind.append(
            subprocess.Popen(
                [found, *words], cwd=self.folder, env=self._environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            )
        )  # fmt: skip
        self.ran.append(command)

    def _do(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._ported(command), shell=True, cwd=self.folder, env=self._environment,
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip

    def _ported(self, command: str) -> str:
        for port, free in self._ports.items():
            command = command.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        return command


def _commands(body: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of a console block, each with the lines promised for it."""
    command, promise = "", list[str]()
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, promise
            command, promise = re.sub(r"\s+# .*$", "", line[2:]), []
        elif line.strip():
            promise.append(line)
    if command:
        yield command, promise


def _pytest() -> str:
    from importlib.metadata import entry_points

    known = any(point.name == "realmfleet" for point in entry_points(group="pytest11"))
    return "-m pytest" + ("" if known else " -p orchestrator.scripting.pytest_plugin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """A reader in an empty directory; what was left running is ended."""
    reader = Walk(tmp_path)
    yield reader
    reader.close()
