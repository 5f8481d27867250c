"""What the control plane believes: binding keeps its counts, requests are noticed, cordons belong to who set them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan
from orchestrator.store import RealmState, Store, rack_key


@pytest.fixture
def store(cluster_file: Any) -> Store:
    return opening_store(plan(Cluster.model_validate(cluster_file()), 1))


def test_binding_elsewhere_moves_residence_demand_and_counts(store: Store) -> None:
    realm = store.realms["web-001"]
    store.bind(realm, "r1-std-01")
    store.bind(realm, "r2-std-01")
    assert list(store.machines["r1-std-01"].residents) == []
    assert list(store.machines["r2-std-01"].residents) == ["web-001"]
    assert (store.machines["r1-std-01"].demand_ppm, store.machines["r2-std-01"].demand_ppm) == (0, 200_000)
    assert store.kinds_on["web", rack_key("r1")] == 0
    assert store.kinds_on["web", rack_key("r2")] == store.kinds_on["web", "r2-std-01"] == 1


def test_a_realm_that_is_bound_but_not_yet_ordered_is_not_hosted(store: Store) -> None:
    realm = store.realms["web-001"]
    store.bind(realm, "r1-std-01")
    realm.state = RealmState.PLACED
    assert store.realms_on("r1-std-01") == []
    realm.state = RealmState.LAUNCHING
    assert store.realms_on("r1-std-01") == [realm]


def test_a_cordon_ends_only_when_everybody_took_theirs_back(store: Store) -> None:
    store.cordon("r1-std-01", "disk", by="operator")
    store.cordon("r1-std-01", "rollout", by="firmware")
    store.uncordon("r1-std-01", by="firmware")
    assert store.machines["r1-std-01"].cordons == {"operator": "disk"}
    assert [type(note.what).__name__ for note in store.notes] == ["MachineCordoned"] * 2 + ["MachineUncordoned"]


def test_taking_back_a_cordon_that_was_never_set_says_nothing(store: Store) -> None:
    store.uncordon("r1-std-01")
    assert store.notes == []
