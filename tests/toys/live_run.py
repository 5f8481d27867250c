"""A run in a process of its own, watched from outside while it goes on: what a user has in a second terminal."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class RunUnderWay:
    """`realmfleet run FILE WORDS`, begun; `prefix` goes before the command, as in `ip netns exec NAME`.

    A fresh shell has nothing of the Ray of this process but what `environment` says; unless told, Ray is to speak on
    loopback alone.
    """

    def __init__(
        self,
        folder: Path,
        file: Path,
        *words: str,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] = LOOPBACK,
    ) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        folder.mkdir(parents=True, exist_ok=True)
        self.run_dir = folder / "run"
        command = [sys.executable, "-m", "orchestrator.cli", "run", str(file), "--json", "--out", str(self.run_dir)]
        self.process = subprocess.Popen(
            [*prefix, *command, *words], cwd=folder, env={**ours, **environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def manifest(self) -> dict[str, Any]:
        """The run's manifest, as soon as it stands."""
        path = self.run_dir / "manifest.json"
        self._await(path.exists, "its manifest")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def pass_beats(self, count: int) -> None:
        """Wait until the run has committed so many visited beats."""
        self.manifest()

        def passed() -> bool:
            with sqlite3.connect(f"file:{self.run_dir / 'run.db'}?mode=ro", uri=True) as connection:
                return int(connection.execute("SELECT count(*) FROM beats").fetchone()[0]) >= count

        self._await(passed, f"{count} beats")

    def result(self) -> dict[str, Any]:
        """What the run printed at its end, which must be a good one."""
        out, err = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def _await(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not there():
            assert self.process.poll() is None, f"the run ended before {what}: {self.process.communicate()[1]}"
            assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S} s"
            time.sleep(0.05)
