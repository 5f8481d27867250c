"""What a beat costs: milliseconds per beat in process and on Ray, against floors measured in the same run.

The floor of a local beat is what the machines themselves take in that very run; the rest is engine, links and trace.
The floor of a beat on Ray is a call to each of the same actors that runs one idle instant of one machine. Machines are
toys (`tests/toys`), so that the numbers are about the engine and not about firmware. Fixed seed; run it with
`python tests/benchmarks/bench_engine.py [--no-ray]`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

TOYS = Path(__file__).resolve().parents[1] / "toys"
sys.path.insert(0, str(TOYS))
os.environ["PYTHONPATH"] = os.pathsep.join([str(TOYS), *filter(None, [os.environ.get("PYTHONPATH")])])

from toy_machine import FACTORY, ToyMachine, toy_spec  # noqa: E402 - the path above comes first
from toy_run import BEAT, Deed, ToyRun  # noqa: E402

from cca_machine.commands import Advance, MachineSpec  # noqa: E402
from orchestrator.engine.instant import MS, S  # noqa: E402
from orchestrator.fleet.local import LocalFleet  # noqa: E402
from orchestrator.fleet.ray import RayFleet  # noqa: E402
from orchestrator.fleet.seats import SeatedFleet  # noqa: E402

MACHINES = 100
BEATS = 100
ACTORS = 2


def busy_fleet() -> list[MachineSpec]:
    """Machines that each do something about every beat, and know ten others."""
    names = [f"m{number}" for number in range(MACHINES)]
    return [
        toy_spec(name, [names[(place + step) % MACHINES] for step in range(1, 11)], 50 * MS)
        for place, name in enumerate(names)
    ]


def elapsed_ms(work: Callable[[], object]) -> float:
    """Wall time of `work` in milliseconds."""
    start = perf_counter_ns()
    work()
    return (perf_counter_ns() - start) / 1e6


class TimedToy(ToyMachine):
    """A toy that notes how long it runs."""

    spent_ns = 0

    def run_until(self, until_ns: int) -> Advance:
        start = perf_counter_ns()
        advance = super().run_until(until_ns)
        TimedToy.spent_ns += perf_counter_ns() - start
        return advance


def local_beat_ms() -> tuple[float, float, int]:
    """A beat of the whole engine in process, what its machines took of it, and the records made."""
    run = ToyRun(LocalFleet(busy_fleet(), 1, f"{__name__}:TimedToy"))
    TimedToy.spent_ns = 0
    spent_ms = elapsed_ms(lambda: run.run(BEATS * BEAT)) / BEATS
    return spent_ms, TimedToy.spent_ns / 1e6 / BEATS, len(run.lines)


def coupled_window_ms() -> tuple[float, float]:
    """A call of the fleet while ten pairs of machines are coupled, and how many calls a beat then takes."""
    plan = [Deed(0, "couple", f"m{2 * pair}", f"m{2 * pair + 1}") for pair in range(10)]
    run = ToyRun(LocalFleet(busy_fleet(), 1, FACTORY), plan)
    spent_ms = elapsed_ms(lambda: run.run(BEATS * BEAT))
    return spent_ms / run.engine.calls, run.engine.calls / BEATS


def idle_hour_ms() -> float:
    """An hour of virtual time in which nothing is due."""
    run = ToyRun(LocalFleet([toy_spec("m0", [], 0)], 1, FACTORY))
    return elapsed_ms(lambda: run.engine.run_until(3600 * S))


def ray_beats(fleet: SeatedFleet) -> tuple[float, float]:
    """A beat on Ray, and its floor: a call to each of the same actors that runs one idle instant of one machine."""
    one_per_actor = list(fleet.machines())[: fleet.actors]

    def empty_calls() -> None:
        for instant in range(BEATS):
            fleet.advance(instant, {}, one_per_actor)

    empty_calls()  # the first calls pay for imports in the actors

    floor_ms = elapsed_ms(empty_calls) / BEATS
    run = ToyRun(fleet)
    spent_ms = elapsed_ms(lambda: run.run(BEATS * BEAT)) / BEATS
    return spent_ms, floor_ms


def main(arguments: list[str]) -> None:
    """Print one line per measurement: name, value, unit, and the ratio to its floor."""
    beat_ms, machines_ms, records = local_beat_ms()
    print(f"{MACHINES} toy machines, {BEATS} beats of 100 ms, {records} trace records, {os.cpu_count()} cores")
    print(f"local beat           {beat_ms:8.3f} ms   {beat_ms / machines_ms:5.2f} x machines ({machines_ms:.3f} ms)")
    window_ms, calls = coupled_window_ms()
    print(f"coupled call         {window_ms:8.3f} ms   {window_ms / beat_ms:5.2f} x a local beat; {calls:.0f} a beat")
    idle_ms = idle_hour_ms()
    print(f"an idle hour         {idle_ms:8.3f} ms   {idle_ms / beat_ms:5.2f} x a local beat")
    if "--no-ray" in arguments:
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        RayFleet(busy_fleet(), ACTORS, log_path=Path(folder) / "ray.log", factory=FACTORY) as fleet,
    ):
        spent_ms, floor_ms = ray_beats(fleet)
    print(
        f"Ray beat, {ACTORS} actors   {spent_ms:8.3f} ms   {spent_ms / floor_ms:5.2f} x its calls ({floor_ms:.3f} ms)"
    )
    print(f"Ray against local                   {spent_ms / beat_ms:5.2f} x a local beat")


if __name__ == "__main__":
    main(sys.argv[1:])
