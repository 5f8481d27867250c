"""Futures of a fleet as it stands: the run is brought to an instant once, and every future is a fork of that process.

A fork shares everything up to the instant with the run it came from: machines, belief, faults in force, messages under
way. What lies behind is fixed; futures of one strategy differ in which machines fail to activate, drawn by the seed,
and in the beat at which the rollout begins. Nothing is written, and the run itself, or the live session whose directory
it is, is not touched. Works where the operating system can fork a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import msgspec

from orchestrator import inputs as i
from orchestrator.assembly import Assembly, assemble
from orchestrator.branch_point import Standing, cluster_of_text
from orchestrator.chaos.history import read
from orchestrator.cluster.names import machine_names
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import Cluster, RolloutEvent
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.streams import Stream, run_seed
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.errors import UserMistake
from orchestrator.firmware.outcome import RolloutOutcome, outcome
from orchestrator.firmware.phases import AT_REST
from orchestrator.firmware.rehearsal import STRIDE_NS, Forecast, Odds, horizon
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.store import RealmState

PPM = 1_000_000


class Present(NamedTuple):
    """A run in this process, brought to the instant of its branch point."""

    cluster: Cluster
    engine: Engine
    assembly: Assembly
    sink: MemorySink


def rehearse_from(
    standing: Standing,
    deed: dict[str, Any],
    seeds: Sequence[int],
    odds: Odds,
    strategies: Sequence[str],
    watch: Callable[[str, int], None] = lambda strategy, seed: None,
) -> list[Forecast]:
    """Every strategy under every seed for the rollout `deed` (as the cluster file writes it, without kind and at).

    Raises:
        UserMistake: the fleet refuses the rollout, with its reason.
    """
    cluster = cluster_of_text(standing.cluster_text, standing.file)
    made = plan(cluster, standing.seed)
    with closing(LocalFleet(list(made.machines.values()))) as fleet:
        parts, sink = assemble(made, lambda *token: None), MemorySink()
        witnessed = WitnessedFleet(fleet, witness_of(made.secret))
        engine = Engine(
            cluster.control.beat, witnessed, parts.control, parts.links, Trace(sink), MemoryJournal(),
            recorded=standing.entries(),
        )  # fmt: skip
        engine.run_until(standing.at_ns)
        present = Present(cluster, engine, parts, sink)
        forecasts = []
        for strategy in strategies:
            futures = []
            for place, seed in enumerate(seeds):
                begin = partial(_future, present, {**deed, "strategy": strategy}, place, seed, odds)
                futures.append(_in_a_fork(begin))
                watch(strategy, seed)
            forecasts.append(Forecast(strategy, tuple(futures)))
    return forecasts


def _in_a_fork(run: Callable[[], RolloutOutcome]) -> RolloutOutcome:
    """Run it in a copy of this process; the copy leaves nothing but its answer."""
    sys.stdout.flush()
    sys.stderr.flush()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"!it did not come to an end"
        try:
            answer = b"." + msgspec.msgpack.encode(run())
        except UserMistake as mistake:
            answer = b"!" + str(mistake).encode()
        except BaseException as error:
            answer = f"!{type(error).__name__}: {error}".encode()
        finally:
            with os.fdopen(writes, "wb") as pipe:
                pipe.write(answer)
            os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if answer[:1] != b".":
        raise UserMistake(
            answer[1:].decode() or "a future ended without an answer", "choose another instant or release"
        )
    return msgspec.msgpack.decode(answer[1:], type=RolloutOutcome)


def _future(present: Present, deed: dict[str, Any], place: int, seed: int, odds: Odds) -> RolloutOutcome:
    cluster, engine, assembly, sink = present
    engine.run_until(engine.now_ns + place * cluster.control.beat)
    number = engine.admit(i.StartRollout(deed))
    engine.run_until(engine.now_ns + cluster.control.beat)
    answer = next(one for one in assembly.desk.take_answers() if one.number == number)
    if answer.rule:
        raise UserMistake(f"the fleet refuses the rollout: {answer.what}", answer.hint)
    rollout = assembly.rollouts.rollouts[-1]
    end_ns = engine.now_ns + horizon(cluster, rollout.event.model_copy(update={"at": 0, "windows": [], "freezes": []}))
    _doom(cluster, engine, rollout.event, seed, odds, end_ns)
    quiet_ns = 0
    while engine.now_ns < end_ns and quiet_ns < cluster.recover_within:
        engine.run_until(min(engine.now_ns + STRIDE_NS, end_ns))
        realms = assembly.control.store.realms.values()
        serving = all(realm.state in (RealmState.SERVING, RealmState.STOPPED) for realm in realms)
        quiet_ns = quiet_ns + STRIDE_NS if serving and rollout.state.stage in AT_REST else 0
    engine.finish()
    found = outcome(read(line.entry for line in sink.lines), engine.now_ns, rollout.goal.rollout)
    if found is None:
        raise UserMistake("the rollout never began: another one has machines under way", "choose another instant")
    return found


def _doom(cluster: Cluster, engine: Engine, event: RolloutEvent, seed: int, odds: Odds, end_ns: int) -> None:
    """One draw per machine, the same for every strategy."""
    for name in sorted(place.name for place in machine_names(cluster)):
        if Stream.named(run_seed(seed), "rehearsal", "activation-failure", name).chance(odds.activation_failure_ppm):
            lasts = format_duration(end_ns - engine.now_ns)
            deed = {"fault": "firmware.activation-failure", "select": {"machine": name}, "for": lasts}
            engine.admit(i.InjectFault(deed))


def deed_of(cluster: Cluster, release: str | None) -> dict[str, Any]:
    """The rollout to rehearse: the file's first, or one of `release` with a canary, a third, and the rest.

    Raises:
        UserMistake: the file has no rollout and no release was named.
    """
    events = [event for event in cluster.events if isinstance(event, RolloutEvent)]
    event = min(events, key=lambda one: one.at, default=None)
    if release is None and event is None:
        raise UserMistake("there is no rollout in the cluster file of that run", "name a release with --release")
    deed: dict[str, Any] = {"release": release or (event.release if event is not None else "")}
    if event is None:
        return {**deed, "waves": [{"machines": 1}, {"share": "30%"}, {"share": "100%"}]}
    waves = [
        {"machines": wave.machines} if wave.machines is not None else {"share": f"{(wave.share or 0) / 10_000:g}%"}
        for wave in event.waves
    ]
    deed |= {"component": event.component, "waves": waves, "bake": format_duration(event.bake)}
    return {**deed, "max_failures": event.max_failures}
