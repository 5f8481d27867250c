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


def look_at_all(store: Store, wish: Wish) -> tuple[list[Any], dict[str, int], dict[str, str]]:
    """Everything a decision says, by asking every machine: the best three, refusals by filter, the first four."""
    told = {name: refusal(store, machine, wish) for name, machine in sorted(store.machines.items())}
    scored = [score(store, store.machines[name], wish) for name, refused in told.items() if refused is None]
    counts: dict[str, int] = {}
    for refused in told.values():
        if refused is not None:
            counts[refused.filter] = counts.get(refused.filter, 0) + 1
    samples = [(name, f"{refused.filter}: {refused.why}") for name, refused in told.items() if refused is not None]
    return sorted(scored, key=lambda each: (-each.score, each.machine))[:3], counts, dict(samples[:4])


EXCLUDED = st.sampled_from([(), ("r1-std-01",), ("r2-big-01", "r3-big-01")])
MACHINES = sorted(MADE.machines)
CHANGES = st.one_of(
    st.tuples(st.just("place"), st.sampled_from(sorted(name for name, _ in MADE.realms)), EXCLUDED),
    st.tuples(st.just("leave"), st.integers(0, 30), st.none()),
    st.tuples(st.sampled_from(["down", "admitted", "cordon", "uncordon", "busy", "free"]),
              st.sampled_from(MACHINES), st.none()),
    st.tuples(st.just("heartbeat"), st.sampled_from(MACHINES), st.integers(0, 260_000)),
)  # fmt: skip


def change(store: Store, what: str, whom: Any, how: Any) -> None:
    """Something that makes placing look again, done as the control plane does it."""
    if what == "leave":
        bound = [realm for realm in store.realms.values() if realm.machine]
        if bound:
            store.unbind(bound[whom % len(bound)])
    elif what in ("down", "admitted"):
        store.machines[whom].state = MachineState(what)
        store.touch(whom)
    elif what == "heartbeat":
        store.machines[whom].capacity = Capacity(min(how, store.machines[whom].granules), 5)
        store.touch(whom)
    elif what == "cordon":
        store.cordon(whom, "test")
    elif what == "uncordon":
        store.uncordon(whom)
    elif what == "busy":
        store.occupy(whom, "prime")
    else:
        store.vacate(whom)


@settings(max_examples=150, deadline=None)
@given(free=st.lists(st.integers(0, 260_000), min_size=7, max_size=7), changes=st.lists(CHANGES, max_size=40))
def test_every_decision_is_that_of_a_full_look_whatever_changed_in_between(free: list[int], changes: list[Any]) -> None:
    store = fleet(free)
    for what, whom, how in changes:
        if what != "place":
            change(store, what, whom, how)
            continue
        realm = store.realms[whom]
        wish = Wish(realm.kind, how)
        best, counts, samples = look_at_all(store, wish)
        choice = Round(store).choose(wish)
        assert list(choice.why.best) == best
        assert choice.why.refused == counts
        assert choice.why.samples == samples
        assert choice.why.considered == 7
        if not realm.machine:
            assert Round(store).place(realm, wish).machine == choice.machine == (best[0].machine if best else "")


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


def test_where_the_last_realm_of_a_spread_kind_left_the_next_may_go() -> None:
    for kind, apart in (("db", 7), ("pair", 3)):
        store = fleet([260_000] * 7)
        realms = [store.realms[f"{kind}-{number:03d}"] for number in range(1, min(apart, 4) + 1)]
        placing = Round(store)
        assert len({placing.place(realm, Wish(kind)).machine for realm in realms[:3]}) == 3
        before = placing.choose(Wish(kind)).why.refused
        left = realms[0].machine
        store.unbind(realms[0])
        why = Round(store).choose(Wish(kind)).why
        assert sum(why.refused.values()) < sum(before.values())
        assert left in [scored.machine for scored in why.best] or kind == "db"
        assert (list(why.best), why.refused, why.samples) == look_at_all(store, Wish(kind))
