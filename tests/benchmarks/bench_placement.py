"""What a placement costs with the fleet's size, against a full look at every machine in the same run.

Machines of three sizes in racks of forty, half filled with Realms of three kinds; then Realms come and go one by one.
Every tenth decision is compared with that of the full look. Fixed seed; run it with
`python tests/benchmarks/bench_placement.py`.
"""

from __future__ import annotations

import random
from time import process_time_ns

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan
from orchestrator.scheduler.bind import Round
from orchestrator.scheduler.filters import Wish, refusal
from orchestrator.scheduler.scores import score
from orchestrator.store import Capacity, MachineState, RealmView, Store

SIZES = (10, 100, 1_000, 10_000)
DECISIONS = 2_000
COMPARED = 20
RACK = 40
AIM_MS = 0.1
"""What a decision over the largest fleet may take (issue 6)."""


def fleet(machines: int) -> Store:
    """A store of admitted machines."""
    racks = {
        f"r{place:03d}": {"machines": {"std": min(RACK, machines - place * RACK)}}
        for place in range(-(-machines // RACK))
    }
    rmm = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
    cluster = Cluster.model_validate(
        {
            "version": 1,
            "name": "bench",
            "profiles": {"std": {"pes": 64, "memory": "512GiB", "firmware": "base"}},
            "racks": racks,
            "firmware": {"releases": {"base": {"components": {"RMM": rmm}}}},
            "images": {"web": {"size": "16KiB"}},
            "realms": {
                "small": {"image": "web", "count": 1, "memory": "2GiB"},
                "middle": {"image": "web", "count": 1, "memory": "8GiB", "vcpus": 4},
                "apart": {"image": "web", "count": 1, "memory": "4GiB", "vcpus": 2, "spread": "machine"},
            },
        }
    )
    store = opening_store(plan(cluster, 1))
    for machine in store.machines.values():
        machine.state, machine.capacity = MachineState.ADMITTED, Capacity(machine.granules, 255)
    return store


def full_look(store: Store, wish: Wish) -> str:
    """The best machine by asking every one."""
    passed = [machine for machine in store.machines.values() if refusal(store, machine, wish) is None]
    best = min(passed, key=lambda machine: (-score(store, machine, wish).score, machine.name), default=None)
    return "" if best is None else best.name


def measure(machines: int) -> tuple[float, float]:
    """Milliseconds of processor time per decision, and per full look, over a fleet of this size."""
    store, draws = fleet(machines), random.Random(machines)
    kinds, bound = list(store.cluster.realms), []
    for kind in kinds:
        Round(store).choose(Wish(kind))
    spent = looked = 0
    for number in range(DECISIONS):
        realm = RealmView(f"realm-{number}", draws.choice(kinds), 0)
        wish = Wish(realm.kind)
        expected = ""
        compare = number % (DECISIONS // COMPARED) == 0
        if compare:
            start = process_time_ns()
            expected = full_look(store, wish)
            looked += process_time_ns() - start
        start = process_time_ns()
        choice = Round(store).place(realm, wish)
        spent += process_time_ns() - start
        if compare and choice.machine != expected:
            raise SystemExit(f"placed on {choice.machine}, a full look finds {expected}")
        if choice.machine:
            bound.append(realm)
        if len(bound) > machines * 2:
            store.unbind(bound.pop(draws.randrange(len(bound))))
    return spent / DECISIONS / 1e6, looked / COMPARED / 1e6


def main() -> None:
    """Print a row per size of fleet."""
    for machines in SIZES:
        decision_ms, look_ms = measure(machines)
        print(
            f"placement over {machines:>6} machines: {decision_ms:.3f} ms a decision (aim {AIM_MS}),"
            f" {look_ms:.3f} ms a full look, ratio {decision_ms / look_ms:.4f}"
        )


if __name__ == "__main__":
    main()
