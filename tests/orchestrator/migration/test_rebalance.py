"""Loads that are evened out or packed within a budget, by moves that admission allows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.migration.rebalance import moves
from orchestrator.store import DrainRequest, RealmState

REALMS = {"web": {"image": "web", "count": 6, "memory": "16MiB", "workload": {"cpu": "40%"}}}


@pytest.fixture
def uneven(world: Any) -> Any:
    """Six Realms on one machine, three machines empty: the others were cordoned while they were placed."""
    small = world(realms=REALMS)
    store = small.store
    for name in sorted(store.machines)[1:]:
        store.machines[name].cordons["test"] = "later"
    small.run(10)
    for name in sorted(store.machines)[1:]:
        del store.machines[name].cordons["test"]
    assert len(store.realms_on("r1-std-01")) == 6
    return small


def loads(small: Any) -> list[int]:
    return sorted(len(small.store.realms_on(name)) for name in small.store.machines)


def test_a_fleet_is_evened_out_within_the_budget(uneven: Any) -> None:
    uneven.store.request_drain(DrainRequest(goal="spread", budget=3))
    uneven.run(60)
    assert loads(uneven) == [1, 1, 1, 3]
    [(_, finished)] = uneven.records("drain.finished")
    assert (finished.drain, finished.moved, finished.blocked) == ("rebalance-001", 3, 0)
    assert {realm.state for realm in uneven.store.realms.values()} == {RealmState.SERVING}
    assert uneven.doubles() == []


def test_a_larger_budget_stops_where_no_move_helps(uneven: Any) -> None:
    assert len(moves(uneven.store, "spread", 100)) == 4


def test_packing_empties_machines_whole_or_not_at_all(uneven: Any) -> None:
    uneven.store.request_drain(DrainRequest(goal="spread", budget=100))
    uneven.run(60)
    assert loads(uneven) == [1, 1, 2, 2]
    assert moves(uneven.store, "pack", 0) == []
    uneven.store.request_drain(DrainRequest(goal="pack", budget=2))
    uneven.run(120)
    assert loads(uneven)[:2] == [0, 0]
    assert sum(loads(uneven)) == 6


def test_a_dry_run_moves_nothing_and_says_what_it_would(uneven: Any) -> None:
    uneven.store.request_drain(DrainRequest(goal="spread", budget=2, dry_run=True))
    uneven.run(30)
    assert loads(uneven) == [0, 0, 0, 6]
    assert [record.to != "" for _, record in uneven.records("drain.planned")] == [True, True]
    assert uneven.records("migration.started") == []


def test_machines_that_are_cordoned_take_no_part(uneven: Any) -> None:
    uneven.store.machines["r1-std-02"].cordons["test"] = "broken fan"
    assert "r1-std-02" not in {move.target for move in moves(uneven.store, "spread", 100)}
