"""What is true of one execution only: versions, actors, wall time. Live runs export it; `metrics.om` does not hold it.

A finished run keeps these facts in its manifest, from where `metrics load` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from orchestrator.metrics.tally import Tally

_NS_PER_MS = 1_000_000


class Process(Struct, frozen=True, kw_only=True):
    """One execution: versions of what ran, actors (0: none, all in one process), work done, wall time in ns."""

    version: str
    python: str
    ray: str
    actors: int
    actor_restarts: int
    beats: int
    fleet_calls: int
    wall_ns: int


def tell(tally: Tally, process: Process) -> None:
    """Put the facts into a tally."""
    tally.set("build_info", 1, process.version, process.python, process.ray)
    tally.set("actors", process.actors)
    tally.set("actor_restarts_total", process.actor_restarts)
    tally.set("engine_beats_total", process.beats)
    tally.set("engine_fleet_calls_total", process.fleet_calls)
    tally.set("run_wall_seconds", process.wall_ns)


def from_manifest(manifest: Mapping[str, Any]) -> Process | None:
    """The facts that a finished run's manifest keeps; None for one that did not finish."""
    result = manifest.get("result")
    if result is None:
        return None
    versions, work = manifest["versions"], result["work"]
    return Process(
        version=versions["realmfleet"],
        python=versions["python"],
        ray=versions["ray"],
        actors=0 if result["fleet"] == "local" else result["actors"],
        actor_restarts=result["actor_restarts"],
        beats=work["beats"],
        fleet_calls=work["fleet_calls"],
        wall_ns=round(result["wall_s"] * 1000) * _NS_PER_MS,
    )
