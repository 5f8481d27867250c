"""`realmfleet verify-determinism FILE`: the same run in every way that must not matter, and where it parts if it does.

The first twin is the measure: one process, straight through. Each other differs from it in one thing: the hash seed of
the interpreter, visiting every beat, sending every heartbeat, all machines restored from their snapshots half-way, or
Ray actors. Twins are runs in processes of their own; only the restored one runs here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from cca_machine.commands import MachineSpec
from orchestrator import rundir
from orchestrator.assembly import assemble
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import Delivery, MachineReport
from orchestrator.engine.replay import first_difference
from orchestrator.engine.run_store import RunReader
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.errors import UserMistake
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan

LOCAL: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("one process", ("--fleet", "local"), "1"),
    ("one process, another hash seed", ("--fleet", "local"), "20261"),
    ("one process, every beat visited", ("--fleet", "local", "--no-skip"), "1"),
    ("one process, every heartbeat sent", ("--fleet", "local", "--every-heartbeat"), "1"),
)
RAY: tuple[tuple[str, tuple[str, ...], str], ...] = tuple(
    (f"Ray, {actors} actor{'s' if actors > 1 else ''}", ("--fleet", "ray", "--actors", str(actors)), str(actors))
    for actors in (1, 2, 5)
)
RESTORED = "one process, restored half-way"


class Twin(Struct, frozen=True):
    """One way of running, its digest, and, where it parts from the first twin, the first record that differs."""

    name: str
    trace_digest: str
    records: int
    difference: str = ""
    source: str = ""
    """Machine or other source of the first differing record; empty when none differs."""
    at_ns: int | None = None


class Twins(Struct, frozen=True):
    """All twins of a file and a seed; the first is what the others are held to."""

    file: str
    seed: int
    until_ns: int
    twins: tuple[Twin, ...]

    @property
    def same(self) -> bool:
        """Whether every twin has the digest of the first."""
        return len({twin.trace_digest for twin in self.twins}) == 1


def verify(
    file: Path, cluster: Cluster, seed: int, until_ns: int, folder: Path, *, ray: bool, say: Callable[[str], None]
) -> Twins:
    """Run all twins, their directories under `folder`; raises `UserMistake` when one cannot run at all."""
    first: Path | None = None
    twins: list[Twin] = []
    for number, (name, words, hash_seed) in enumerate(LOCAL + (RAY if ray else ())):
        say(name)
        path = folder / f"twin-{number}"
        digest = _run(file, seed, until_ns, path, words, hash_seed)
        first = first or path
        with RunReader(first / rundir.DATABASE) as measure, RunReader(path / rundir.DATABASE) as reader:
            twins.append(held_to(measure.trace(), list(reader.trace()), name, digest))
    assert first is not None
    say(RESTORED)
    lines, digest = restored(cluster, seed, until_ns)
    with RunReader(first / rundir.DATABASE) as measure:
        twins.append(held_to(measure.trace(), lines, RESTORED, digest))
    return Twins(str(file), seed, until_ns, tuple(twins))


def held_to(measure: Iterator[bytes], lines: Sequence[bytes], name: str, digest: str) -> Twin:
    """A twin compared with the lines of the first, record by record."""
    parted = first_difference(measure, lines)
    if parted is None:
        return Twin(name, digest, len(lines))
    return Twin(name, digest, len(lines), parted.sentence(), parted.source, parted.at_ns)


def _run(file: Path, seed: int, until_ns: int, path: Path, words: Sequence[str], hash_seed: str) -> str:
    """Run one twin in a process of its own; returns its digest."""
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(file), "--seed", str(seed)]
    command += ["--until", f"{until_ns}ns", "--out", str(path), "--json", *words]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False
    )
    try:
        return str(json.loads(done.stdout)["trace_digest"])
    except (ValueError, KeyError, TypeError):
        last = done.stderr.strip().splitlines()[-3:]
        raise UserMistake(f"the twin '{' '.join(words)}' did not run: {' / '.join(last)}") from None


class RestoredFleet:
    """A local fleet that is replaced, at the first call that reaches beyond `half_ns`, by one made of its snapshots."""

    def __init__(self, specs: Sequence[MachineSpec], half_ns: int) -> None:
        self._specs = specs
        self._half_ns = half_ns
        self._fleet = LocalFleet(specs)
        self.restored = False

    def machines(self) -> Sequence[str]:
        """Names of all machines, sorted."""
        return self._fleet.machines()

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        """As the local fleet; the state that crosses `half_ns` is what the snapshots hold and nothing else."""
        if until_ns > self._half_ns and not self.restored:
            states = self._fleet.snapshots()
            self._fleet = LocalFleet(self._specs)
            self._fleet.restore(states)
            self.restored = True
        return self._fleet.advance(until_ns, inbox, only)


def restored(cluster: Cluster, seed: int, until_ns: int) -> tuple[list[bytes], str]:
    """Lines and digest of a run whose machines are all restored from their snapshots half-way."""
    made = plan(cluster, seed)
    parts = assemble(made, lambda *token: None)
    sink = MemorySink()
    fleet = RestoredFleet(list(made.machines.values()), until_ns // 2)
    engine = Engine(
        cluster.control.beat,
        WitnessedFleet(fleet, witness_of(made.secret)),
        parts.control,
        parts.links,
        Trace(sink),
        MemoryJournal(),
        rest=parts.heartbeats,
    )
    engine.run_until(until_ns)
    digest = engine.finish()
    return [line.line for line in sink.lines], digest
