"""The life of a hosted Realm, walked."""

from __future__ import annotations

import pytest

from cca_machine.host.states import EXECUTING, LAPSED, TABLE, HostedEvent, HostedState, after

S, E = HostedState, HostedEvent


def reachable(starts: set[HostedState]) -> set[HostedState]:
    seen = set(starts)
    while more := {after for (state, _), after in TABLE.items() if state in seen} - seen:
        seen |= more
    return seen


def test_every_state_can_be_reached_and_all_but_the_last_can_be_left() -> None:
    assert reachable({S.BUILDING, S.ARRIVING}) == set(S)
    assert {state for state, _ in TABLE} == set(S) - {S.STOPPING}


def test_a_realm_that_executes_loses_that_at_the_end_of_its_lease() -> None:
    for state in EXECUTING:
        lapsed = after(state, E.LEASE_ENDED)
        assert lapsed in LAPSED
        assert after(lapsed, E.LEASE_RENEWED) is state


@pytest.mark.parametrize("event", [event for event in E if event is not E.EXPORT_RESUMED])
def test_a_paused_copy_of_a_moving_realm_runs_again_only_by_order(event: HostedEvent) -> None:
    assert after(S.LEAVING, event) not in EXECUTING


@pytest.mark.parametrize("event", [event for event in E if event is not E.IMPORT_COMMITTED])
def test_an_arriving_realm_runs_only_after_the_commit(event: HostedEvent) -> None:
    assert after(S.ARRIVING, event) not in EXECUTING


def test_nothing_but_its_secret_or_a_migration_makes_a_realm_serve() -> None:
    ways = {(state, event) for (state, event), into in TABLE.items() if into is S.SERVING}
    assert {event for state, event in ways if state not in (S.SERVING, S.SERVING_LAPSED)} == {
        E.SECRET_OPENED, E.EXPORT_RESUMED, E.IMPORT_COMMITTED
    }  # fmt: skip
