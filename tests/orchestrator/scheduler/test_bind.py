"""Binding: the lazy heap chooses what a full look would choose, and every decision says how it came about."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan
from orchestrator.scheduler.bind import Round
from orchestrator.scheduler.filters import Wish, refusal
from orchestrator.scheduler.footprint import granules
from orchestrator.scheduler.scores import score
from orchestrator.store import Capacity, MachineState, Store

RMM = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
CLUSTER = Cluster.model_validate(
    {
        "version": 1,
        "name": "bind",
        "profiles": {
            "std": {"pes": 4, "memory": "256MiB", "firmware": "base"},
            "big": {"pes": 16, "memory": "1GiB", "firmware": "base"},
        },
        "racks": {
            "r1": {"machines": {"std": 3}},
            "r2": {"machines": {"std": 2, "big": 1}},
            "r3": {"machines": {"big": 1}},
        },
        "firmware": {"releases": {"base": {"components": {"RMM": RMM}}}},
        "images": {"web": {"size": "16KiB"}},
        "realms": {
            "web": {"image": "web", "count": 12, "memory": "16MiB"},
            "db": {"image": "web", "count": 6, "memory": "64MiB", "vcpus": 2, "spread": "machine"},
            "pair": {"image": "web", "count": 4, "memory": "32MiB", "spread": "rack"},
        },
    }
)
MADE = plan(CLUSTER, 1)


def fleet(free: list[int]) -> Store:
    store = opening_store(MADE)
    for machine, granule_count in zip(store.machines.values(), free, strict=True):
        machine.state = MachineState.ADMITTED
        machine.capacity = Capacity(granules=min(granule_count, machine.granules), vmids=5)
    return store


def full_look(store: Store, wish: Wish) -> str:
    """The best machine by asking everyone: highest score, then smaller name."""
    passed = [machine for machine in store.machines.values() if refusal(store, machine, wish) is None]
    best = sorted(passed, key=lambda machine: (-score(store, machine, wish).score, machine.name))
    return best[0].name if best else ""


@settings(max_examples=60, deadline=None)
@given(
    free=st.lists(st.integers(0, 260_000), min_size=7, max_size=7),
    order=st.permutations(sorted(name for name, _ in MADE.realms)),
    excluded=st.sampled_from([(), ("r1-std-01",), ("r2-big-01", "r3-big-01")]),
)
def test_the_lazy_heap_binds_as_a_full_look_at_every_machine_would(
    free: list[int], order: list[str], excluded: tuple[str, ...]
) -> None:
    store = fleet(free)
    placing = Round(store)
    for name in order:
        realm = store.realms[name]
        wish = Wish(realm.kind, excluded)
        expected = full_look(store, wish)
        choice = placing.place(realm, wish)
        assert choice.machine == expected == realm.machine
        assert choice.why.considered == 7


def test_equal_machines_are_taken_by_name(cluster_file: Any) -> None:
    store = fleet([60_000] * 7)
    for name in ("r2-big-01", "r3-big-01"):
        store.machines[name].state = MachineState.DOWN
    assert Round(store).choose(Wish("web")).machine == "r1-std-01"


def test_a_binding_takes_granules_and_a_vmid_at_once() -> None:
    store = fleet([60_000] * 7)
    choice = Round(store).place(store.realms["web-001"], Wish("web"))
    capacity = store.machines[choice.machine].capacity
    assert capacity == Capacity(60_000 - granules(CLUSTER.realms["web"]), 4)


def test_a_decision_keeps_counts_by_filter_a_few_samples_and_the_best_three() -> None:
    store = fleet([60_000, 60_000, 0, 0, 60_000, 60_000, 60_000])
    store.cordon("r1-std-01", "disk")
    why = Round(store).choose(Wish("web")).why
    assert why.considered == 7
    assert why.refused == {"cordon": 1, "granules": 2}
    assert why.samples["r1-std-01"] == "cordon: cordoned by operator: disk"
    assert [scored.score for scored in why.best] == sorted((s.score for s in why.best), reverse=True)
    assert all(scored.score == sum(scored.parts.values()) for scored in why.best)


def test_nowhere_is_an_answer_with_reasons() -> None:
    choice = Round(fleet([0] * 7)).choose(Wish("web"))
    assert choice.machine == ""
    assert choice.why.refused == {"granules": 7}
    assert len(choice.why.samples) == 4


def test_realms_of_a_kind_spread_before_they_pile_up() -> None:
    store = fleet([260_000] * 7)
    placing = Round(store)
    chosen = [placing.place(store.realms[f"web-{number:03d}"], Wish("web")).machine for number in range(1, 8)]
    assert len(set(chosen)) == 7
