"""What survival costs: snapshots in per cent of a run, and seconds from the kill of an actor to the next beat.

The fleet of small.yaml runs on two Ray actors, three times in the same process: without snapshots, with the cadence
that runs have, and with an actor killed by the kernel just before a snapshot would be due, so that the longest log is
replayed. Times are wall seconds; a beat's own time is the mean of the run without snapshots. Run it with
`python tests/benchmarks/bench_recovery.py`.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from orchestrator.api import open_file
from orchestrator.assembly import assemble
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.trace import Trace
from orchestrator.fleet.ray import RayFleet
from orchestrator.fleet.seats import SNAPSHOT_EVERY
from orchestrator.plan import plan

FILE = Path(__file__).resolve().parents[2] / "clusters" / "small.yaml"
ACTORS = 2
NEVER = 10**9


class Timed:
    """One run on Ray, from its first beat to its end."""

    def __init__(self, folder: Path, snapshot_every: int) -> None:
        cluster, _ = open_file(FILE)
        made = plan(cluster, cluster.seed)
        parts = assemble(made, lambda *token: None)
        specs = list(made.machines.values())
        self.end_ns = cluster.duration
        self.fleet = RayFleet(specs, ACTORS, log_path=folder / "ray.log", snapshot_every=snapshot_every)
        self.engine = Engine(
            cluster.control.beat, self.fleet, parts.control, parts.links, Trace(), MemoryJournal(), skip=True
        )

    def run(self) -> float:
        """Wall seconds to the end."""
        began = time.perf_counter()
        self.engine.run_until(self.end_ns)
        return time.perf_counter() - began

    def recover(self) -> tuple[float, str]:
        """Wall seconds from the kill of an actor to the end of the next beat that asks it; the digest at the end."""
        while self.engine.calls < SNAPSHOT_EVERY - 8:
            self.engine.step()
        os.kill(self.fleet.pids()[0], signal.SIGKILL)
        began = time.perf_counter()
        while not self.fleet.actor_restarts:
            self.engine.step()
        took = time.perf_counter() - began
        self.engine.run_until(self.end_ns)
        return took, self.engine.finish()


def main() -> None:
    """Print overhead and recovery."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        walls, digests = {}, set()
        for every in (NEVER, SNAPSHOT_EVERY, NEVER, SNAPSHOT_EVERY):
            timed = Timed(folder, every)
            with timed.fleet:
                walls.setdefault(every, []).append(timed.run())
                digests.add(timed.engine.finish())
                calls = timed.engine.calls
        bare, snapped = min(walls[NEVER]), min(walls[SNAPSHOT_EVERY])
        killed = Timed(folder, SNAPSHOT_EVERY)
        with killed.fleet:
            took, digest = killed.recover()
    assert digests == {digest}, "a run parted from its twin"
    beat_ms = bare / calls * 1000
    print(f"run of {calls} fleet calls on {ACTORS} actors: {bare:.2f} s without snapshots, {beat_ms:.2f} ms a call")
    print(f"snapshots, one in {SNAPSHOT_EVERY} advances of a machine: {100 * (snapped / bare - 1):+.1f} %")
    print(f"killed actor: {took:.2f} s to the next beat, as long as {took * 1000 / beat_ms:.0f} calls")


if __name__ == "__main__":
    main()
