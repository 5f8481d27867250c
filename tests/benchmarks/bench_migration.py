"""What migration (modelled) costs: sealing against bare AES-256-GCM of pages, and evacuations per wall second.

The floor is AES-256-GCM over as many pages, one call each, in the same run. Run it with
`python tests/benchmarks/bench_migration.py [--quick]`; the evacuation runs in this process.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cca_machine.migration import bundles
from cca_machine.migration.content import Memory, PageOp, PageRun, decode, encode
from orchestrator.assembly import assemble
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.loop import Engine
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan

PAGE, PAGES = 4096, 512
S = 1_000_000_000


def sealing(rounds: int) -> tuple[float, float]:
    """MiB a second through the whole bundle path, sealed and opened again, and of bare calls page by page."""
    pages = [bytes([index % 251]) * PAGE for index in range(PAGES)]
    memory = Memory((PageRun(1 << 30, PAGES, PageOp.NEW, tuple(enumerate(pages))),))
    keys = bundles.StreamKeys(bytes(32))
    began = perf_counter_ns()
    for counter in range(rounds):
        plain = encode(memory)
        session, lineage = bundles.session_id("s"), bundles.lineage_id("r/1")
        header = bundles.Header(session, lineage, 0, bundles.BundleType.MEM, 1, counter, 0, len(plain))
        bundle = bundles.seal(keys, header, plain)
        bundles.extend(b"", bundle)
        decode(bundles.open_bundle(keys, bundles.read_header(bundle), bundle))
    through_ns = perf_counter_ns() - began
    cipher = AESGCM(bytes(32))
    began = perf_counter_ns()
    for counter in range(rounds):
        for index, page in enumerate(pages):
            nonce = (counter * PAGES + index).to_bytes(12, "little")
            cipher.decrypt(nonce, cipher.encrypt(nonce, page, None), None)
    bare_ns = perf_counter_ns() - began
    size = rounds * PAGES * PAGE / (1 << 20)
    return size * S / through_ns, size * S / bare_ns


def evacuation(machines: int) -> tuple[int, float, list[int]]:
    """Evacuate one of two racks of `machines` machines: moves, wall seconds, virtual downtimes in ns."""
    part = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
    document: dict[str, Any] = {
        "version": 1,
        "name": "evacuation",
        "duration": "10min",
        "profiles": {"std": {"pes": 8, "memory": "1GiB", "firmware": "base"}},
        "racks": {name: {"machines": {"std": machines // 2}} for name in ("r1", "r2")},
        "firmware": {"releases": {"base": {"components": dict.fromkeys(("BL2", "BL31", "RMM"), part)}}},
        "images": {"web": {"size": "64KiB"}},
        "realms": {"web": {"image": "web", "count": machines, "memory": "64MiB"}},
        "migration": {"mode": "pre-copy", "sessions": 50},
        "events": [{"kind": "drain", "at": "60s", "rack": "r1"}],
    }
    cluster = Cluster.model_validate(document)
    made = plan(cluster, 1)
    parts, sink = assemble(made, lambda *_: None), MemorySink()
    fleet = WitnessedFleet(LocalFleet(list(made.machines.values())), witness_of(made.secret))
    engine = Engine(cluster.control.beat, fleet, parts.control, parts.links, Trace(sink), MemoryJournal())
    engine.run_until(60 * S)
    began = perf_counter_ns()
    while (parts.control.store.drains or engine.now_ns < 62 * S) and engine.now_ns < cluster.duration:
        engine.run_until(engine.now_ns + S)
    wall_s = (perf_counter_ns() - began) / S
    still: dict[str, int] = {}
    downtimes, moved = [], 0
    for line in sink.lines:
        if line.kind == "realm.still" and line.entry.what.why == "migration":
            still[line.entry.what.realm] = line.entry.at_ns
        elif line.kind == "realm.live" and line.entry.what.realm in still:
            downtimes.append(line.entry.at_ns - still.pop(line.entry.what.realm))
        moved += line.kind == "migration.committed"
    return moved, wall_s, sorted(downtimes)


def main() -> None:
    """Print the table."""
    quick = "--quick" in sys.argv
    through, bare = sealing(4 if quick else 40)
    print(
        f"sealing and opening through bundles   {through:7.0f} MiB/s, bare pages {bare:.0f} MiB/s: {through / bare:.2f}"
    )
    machines = 20 if quick else 500
    moved, wall_s, downtimes = evacuation(machines)
    median, high = downtimes[len(downtimes) // 2], downtimes[len(downtimes) * 99 // 100]
    print(f"evacuation of {machines // 2} of {machines} machines   ", end=" ")
    print(f"{moved} moves in {wall_s:.1f} s: {moved / wall_s:.1f} a second")
    print(f"virtual downtime (modelled)           median {median / 1e6:.0f} ms, p99 {high / 1e6:.0f} ms")
    print("published                             median 50 ms, p99 300 ms (Google, VEE 2018)")


if __name__ == "__main__":
    main()
