"""What placing keeps from decision to decision is told of everything that changes in a fleet under faults."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.assembly import assemble
from orchestrator.cluster.load import load_text
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.scheduler.bind import Round
from orchestrator.scheduler.filters import Wish, refusal

QUICKSTART = Path(__file__).resolve().parents[3] / "clusters" / "quickstart.yaml"


def test_after_every_beat_of_the_quickstart_refusals_are_those_of_a_full_look() -> None:
    cluster = load_text(QUICKSTART.read_bytes(), "quickstart.yaml").value
    assert cluster is not None
    made = plan(cluster, 1)
    parts = assemble(made, lambda *token: None)
    seen: set[str] = set()
    with contextlib.closing(LocalFleet(list(made.machines.values()))) as machines:
        engine = Engine(
            cluster.control.beat, WitnessedFleet(machines, witness_of(made.secret)), parts.control, parts.links,
            Trace(MemorySink()), MemoryJournal(), rest=parts.heartbeats,
        )  # fmt: skip
        while (at_ns := engine.step()) is not None and at_ns < cluster.duration:
            store = parts.control.store
            for kind in cluster.realms:
                wish = Wish(kind)
                counts: dict[str, int] = {}
                for machine in store.machines.values():
                    refused = refusal(store, machine, wish)
                    if refused is not None:
                        counts[refused.filter] = counts.get(refused.filter, 0) + 1
                assert Round(store).choose(wish).why.refused == counts, at_ns
                seen |= set(counts)
    assert {"state", "report", "cordon", "affinity"} <= seen
