"""The life of a Realm as a table: complete, reachable, and with one door only to serving."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.schema import Cluster
from orchestrator.plan import opening_store, plan
from orchestrator.realms.lifecycle import IGNORED, TABLE, TERMINAL, Step, move
from orchestrator.store import HOSTED, RealmState, Store

PAIRS = [(state, step) for state in RealmState for step in Step]


@pytest.fixture
def store(cluster_file: Any) -> Store:
    return opening_store(plan(Cluster.model_validate(cluster_file()), 1))


@pytest.mark.parametrize(("state", "step"), PAIRS)
def test_every_step_in_every_state_either_moves_or_is_ignored(store: Store, state: RealmState, step: Step) -> None:
    assert ((state, step) in TABLE) != ((state, step) in IGNORED)
    realm = store.realms["web-001"]
    realm.state = state
    effect = move(store, realm, step, "test")
    to, wanted = TABLE.get((state, step), (state, None))
    assert (realm.state, effect) == (to, wanted)
    assert len(store.notes) == (to is not state)


def test_every_state_can_be_reached_and_terminal_ones_are_never_left() -> None:
    reached = {RealmState.AWAITED}
    while True:
        more = {to for (state, _), (to, _) in TABLE.items() if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(RealmState)
    assert not [pair for pair in TABLE if pair[0] in TERMINAL]


def test_nothing_but_an_opened_secret_after_a_passed_verdict_makes_a_realm_serve() -> None:
    entries = {(state, step) for (state, step), (to, _) in TABLE.items() if to is RealmState.SERVING is not state}
    assert entries == {
        (RealmState.RELEASING, Step.OPENED),
        (RealmState.MIGRATING, Step.MOVED),
        (RealmState.MIGRATING, Step.STAYED),
    }
    to_releasing = {pair for pair, (to, _) in TABLE.items() if to is RealmState.RELEASING}
    assert to_releasing == {(RealmState.VERIFYING, Step.PASSED)}


def test_a_copy_is_left_behind_only_when_it_is_gone_or_was_never_built() -> None:
    leaving = {step for (state, step), (to, _) in TABLE.items() if state in HOSTED and to not in HOSTED}
    assert leaving == {Step.LOST, Step.GONE, Step.GONE_SPENT, Step.NOT_BUILT}
