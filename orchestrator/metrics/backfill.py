"""Load a finished run into a Prometheus data directory, so that a virtual day opens in Grafana like any other.

    backfill(run_dir, target)        promtool tsdb create-blocks-from openmetrics

The blocks lie at the virtual instants of the run, counted from the epoch in `metrics.om` or from another one. Start a
Prometheus on the directory with a retention that reaches back to it. Loading a run again, or another run at the same
epoch, into the same directory lays the series over each other: take another directory or another epoch.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from orchestrator.errors import UserMistake
from orchestrator.metrics.catalogue import CATALOGUE, Origin
from orchestrator.metrics.export import END, EPOCH_S, FILE, openmetrics
from orchestrator.metrics.process import Process, from_manifest, tell
from orchestrator.metrics.samples import Samples
from orchestrator.metrics.tally import Tally
from orchestrator.rundir import read_manifest

_CLOCK = "realmfleet_sim_time_seconds "
"""A metric that has a point at every instant."""
_MS = 1_000
_NS_PER_MS = 1_000_000
_OUT_OF_TIME_S = 600


class Backfilled(Struct, frozen=True):
    """What was loaded and where it lies: wall-clock milliseconds since 1970 of the first and the last sample."""

    target: str
    from_ms: int
    until_ms: int

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {"kind": "metrics-load", "target": self.target, "from_ms": self.from_ms, "until_ms": self.until_ms}

    def text(self) -> str:
        """What to do next."""
        return (
            f"loaded into {self.target}; look at it with\n"
            f"  prometheus --storage.tsdb.path={self.target} --storage.tsdb.retention.time=100y "
            f"--config.file=dashboards/prometheus/prometheus.yml\n"
            f"and in Grafana at ?from={self.from_ms}&to={self.until_ms}"
        )


def backfill(run_dir: Path, target: Path, epoch_s: int | None = None, promtool: str = "promtool") -> Backfilled:
    """Write the blocks of the run in `run_dir` into `target`, with virtual time 0 at `epoch_s` (seconds since 1970).

    What the manifest says about the execution (versions, actors) is loaded with it.

    Raises:
        UserMistake: no such run, it did not finish, `target` cannot be written, or promtool is missing or refuses.
    """
    process = from_manifest(read_manifest(run_dir))
    source = run_dir / FILE
    if process is None or not source.is_file():
        raise UserMistake(f"{run_dir} holds no metrics: the run did not finish", "let it finish, or run it again")
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix="loading-") as folder:
            shifted = Path(folder) / FILE
            with source.open(encoding="utf-8") as text, shifted.open("w", encoding="utf-8") as out:
                stamps_ms = _rewrite(text, out, 0 if epoch_s is None else (epoch_s - EPOCH_S) * _MS)
                out.writelines(_process_text(process, stamps_ms))
            _run_promtool(promtool, shifted, target)
    except OSError as error:
        raise UserMistake(f"cannot write {target}: {error.strerror}", "name a writable directory") from error
    return Backfilled(str(target), stamps_ms[0], stamps_ms[-1])


def parse_epoch(text: str) -> int:
    """Seconds since 1970 of what a user writes: a whole number, or an instant like 2026-11-01T00:00:00Z.

    Raises:
        UserMistake: it is neither, or lies before 1970; a time without zone is taken for UTC.
    """
    try:
        instant = datetime.fromisoformat(text) if not text.isdecimal() else datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise UserMistake(
            f"--epoch {text} is no instant", "write 2026-11-01T00:00:00Z, or seconds since 1970"
        ) from None
    epoch_s = int((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp())
    if epoch_s < 0:
        raise UserMistake(f"--epoch {text} lies before 1970", "write 2026-11-01T00:00:00Z, or seconds since 1970")
    return epoch_s


def _rewrite(text: Iterable[str], out: TextIO, by_ms: int) -> list[int]:
    """Copy the samples without the end mark, moved by `by_ms`; returns the instants (ms since 1970), in order."""
    stamps_ms = []
    for line in text:
        if line == END:
            break
        if line.startswith("#"):
            out.write(line)
            continue
        sample, _, stamp = line.rstrip("\n").rpartition(" ")
        stamp_ms = _milliseconds(stamp) + by_ms
        out.write(f"{sample} {stamp_ms // _MS}.{stamp_ms % _MS:03d}\n")
        if line.startswith(_CLOCK):
            stamps_ms.append(stamp_ms)
    return stamps_ms


def _milliseconds(stamp: str) -> int:
    seconds, _, fraction = stamp.partition(".")
    return int(seconds) * _MS + int(fraction or 0)


def _process_text(process: Process, stamps_ms: Iterable[int]) -> Iterator[str]:
    """The families about the execution at every instant. Of its counters only the totals are known: they are flat."""
    own = {metric.name: metric for metric in CATALOGUE if metric.origin is Origin.PROCESS}
    tally, samples = Tally(0, own), Samples()
    tell(tally, process)
    for stamp_ms in stamps_ms:
        samples.take(stamp_ms * _NS_PER_MS, tally)
    yield from openmetrics(samples, epoch_s=0)


def _run_promtool(promtool: str, source: Path, target: Path) -> None:
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_OUT_OF_TIME_S, check=False)
    except FileNotFoundError:
        hint = "install Prometheus (Debian: apt-get install prometheus), which brings promtool"
        raise UserMistake(f"{promtool} is not installed", hint) from None
    if done.returncode:
        raise UserMistake(f"promtool could not load {source.name}", (done.stderr or done.stdout).strip())
