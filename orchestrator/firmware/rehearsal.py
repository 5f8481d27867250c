"""Simulated futures of a rollout: each strategy under many seeds, with distributions and an advice that follows them.

A future is a whole run of the cluster file in this process under another seed; it ends when the rollout has nothing
left to do and every Realm serves again, at the latest at the horizon. Nothing of it is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from cca_machine.costs import reference_timing
from orchestrator.assembly import Assembly, assemble
from orchestrator.chaos.history import read
from orchestrator.cluster.names import machine_names
from orchestrator.cluster.schema import Cluster, MachineFault, RolloutEvent
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.streams import Stream, run_seed
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.firmware.gates import outside
from orchestrator.firmware.outcome import RolloutOutcome, outcome
from orchestrator.firmware.waves import PPM, at_once
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.store import RealmState

STRATEGIES: Final = ("live", "drain", "reboot")
STRIDE_NS: Final = 60_000_000_000
"""How often a future is asked whether it is over."""
SURE_PPM: Final = 950_000
"""Share of futures that must reach every machine for a strategy to be called dependable."""


class Odds(Struct, frozen=True):
    """What the planner assumes besides the file: the share of machines whose live activation fails."""

    activation_failure_ppm: int = 0


class Forecast(Struct, frozen=True):
    """All futures of one strategy, by seed."""

    strategy: str
    futures: tuple[RolloutOutcome, ...]

    @property
    def complete_ppm(self) -> int:
        """Share of futures in which every machine got the release."""
        return sum(future.complete for future in self.futures) * PPM // len(self.futures)

    def spread(self, value: Callable[[RolloutOutcome], int | None]) -> tuple[int | None, int | None, int | None]:
        """Lowest, median and highest by nearest rank; a value that never came stands above all others, as None."""
        found = [value(future) for future in self.futures]
        ranked: list[int | None] = [*sorted(each for each in found if each is not None)]
        ranked += [None] * (len(found) - len(ranked))
        return ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]


class Advice(Struct, frozen=True):
    """The strategy to take, and why."""

    strategy: str
    why: str


def rollout_of(cluster: Cluster) -> RolloutEvent | None:
    """The first rollout of the file, by its instant."""
    events = [event for event in cluster.events if isinstance(event, RolloutEvent)]
    return min(events, key=lambda event: event.at, default=None)


def variant(cluster: Cluster, strategy: str, seed: int, odds: Odds) -> Cluster:
    """The cluster with its first rollout under another strategy and a horizon that is long enough for it."""
    event = rollout_of(cluster)
    assert event is not None
    # nobody can be asked about a future, so gates that ask the outside are left out
    gates = [gate for gate in event.gates if not outside(gate)]
    changes = {"strategy": strategy, "gates": gates}
    events = [each.model_copy(update=changes) if each is event else each for each in cluster.events]
    horizon_ns = max(cluster.duration, horizon(cluster, event.model_copy(update={"strategy": strategy})))
    faults = [*cluster.faults, *_failing(cluster, event, seed, odds, horizon_ns)]
    return cluster.model_copy(update={"events": events, "duration": horizon_ns, "faults": faults})


def horizon(cluster: Cluster, event: RolloutEvent) -> int:
    """Time for every machine in turn, twice over."""
    timing = reference_timing(cluster.timing.scale, cluster.timing.override)
    boot_ns = sum(cost_ns for cost, cost_ns in timing.items() if cost.startswith("boot."))
    machines = sum(sum(rack.machines.values()) for rack in cluster.racks.values())
    rounds = -(-machines // at_once(event, machines)) + len(event.waves)
    each_ns = (0 if event.strategy == "live" else boot_ns) + 3 * cluster.control.order_timeout + event.bake
    latest_ns = max([event.at, *(window.end for window in event.windows), *(freeze.end for freeze in event.freezes)])
    whole_ns = latest_ns + 2 * rounds * each_ns + cluster.recover_within
    return whole_ns - whole_ns % cluster.control.beat


def _failing(cluster: Cluster, event: RolloutEvent, seed: int, odds: Odds, horizon_ns: int) -> list[MachineFault]:
    """One draw per machine, the same for every strategy."""
    drawn = []
    for name in sorted(place.name for place in machine_names(cluster)):
        if Stream.named(run_seed(seed), "rehearsal", "activation-failure", name).chance(odds.activation_failure_ppm):
            given = {"fault": "firmware.activation-failure", "at": "1ns", "for": "1ns", "select": {"machine": name}}
            fault = MachineFault.model_validate(given)
            drawn.append(fault.model_copy(update={"at": event.at, "during": horizon_ns - event.at}))
    return drawn


def future(cluster: Cluster, seed: int) -> RolloutOutcome:
    """Run one future to its end.

    Raises:
        ValueError: the cluster file has no rollout, or it never begins.
    """
    made = plan(cluster, seed)
    fleet = LocalFleet(list(made.machines.values()))
    sink = MemorySink()
    try:
        assembly = assemble(made, lambda *_: None)
        engine = Engine(
            cluster.control.beat,
            WitnessedFleet(fleet, witness_of(made.secret)),
            assembly.control,
            assembly.links,
            Trace(sink),
            MemoryJournal(),
            rest=assembly.heartbeats,
        )
        quiet_ns = 0
        while engine.now_ns < cluster.duration and quiet_ns < cluster.recover_within:
            engine.run_until(min(engine.now_ns + STRIDE_NS, cluster.duration))
            quiet_ns = quiet_ns + STRIDE_NS if over(cluster, assembly) else 0
        engine.finish()
    finally:
        fleet.close()
    found = outcome(read(line.entry for line in sink.lines), engine.now_ns)
    if found is None:
        raise ValueError("the rollout never began")
    return found


def over(cluster: Cluster, assembly: Assembly) -> bool:
    """Whether nothing more will come of it: the rollout ended, no fault is still to come, and every Realm serves."""
    store = assembly.control.store
    struck = max([0, *(fault.at for fault in cluster.faults)])
    serving = all(realm.state in (RealmState.SERVING, RealmState.STOPPED) for realm in store.realms.values())
    return assembly.rollouts.idle and store.now_ns >= struck and serving


def rehearse(
    cluster: Cluster,
    seeds: Sequence[int],
    odds: Odds,
    strategies: Sequence[str] = STRATEGIES,
    watch: Callable[[str, int], None] = lambda strategy, seed: None,
) -> list[Forecast]:
    """Every strategy under every seed, on the same faults; `watch` hears of each future that is done."""
    forecasts = []
    for strategy in strategies:
        futures = []
        for seed in seeds:
            futures.append(future(variant(cluster, strategy, seed, odds), seed))
            watch(strategy, seed)
        forecasts.append(Forecast(strategy, tuple(futures)))
    return forecasts


def advise(forecasts: Sequence[Forecast]) -> Advice:
    """The dependable strategy with the least downtime, then the fastest; if there is none, the most complete one."""
    dependable = [each for each in forecasts if each.complete_ppm >= SURE_PPM]
    if not dependable:
        best = max(forecasts, key=lambda each: (each.complete_ppm, -_total(each)))
        percent = best.complete_ppm // 10_000
        return Advice(
            best.strategy, f"no strategy is dependable; this one reaches every machine in {percent}% of futures"
        )
    best = min(dependable, key=lambda each: (_total(each), _slowest(each)))
    left = " and ".join(each.strategy for each in forecasts if each not in dependable)
    why = f"it reaches every machine and costs the least downtime ({_total(best) // len(best.futures) // 1_000_000} ms)"
    return Advice(best.strategy, why + (f"; not dependable: {left}" if left else ""))


def _total(forecast: Forecast) -> int:
    return sum(each.downtime_ns for each in forecast.futures)


def _slowest(forecast: Forecast) -> int:
    return max(each.time_to_ns[-1] or 0 for each in forecast.futures)
