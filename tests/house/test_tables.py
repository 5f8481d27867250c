"""Every life cycle is a table, and every table is whole: nothing unreachable, nothing unused, no way out of an end."""

from __future__ import annotations

import pytest

from orchestrator.tables import LIFE_CYCLES, LifeCycle

cycles = pytest.mark.parametrize("cycle", LIFE_CYCLES, ids=[cycle.name for cycle in LIFE_CYCLES])


@cycles
def test_rows_are_pairs_of_a_state_and_an_input_and_lead_to_a_state(cycle: LifeCycle) -> None:
    for state, given, after, _ in cycle.steps():
        assert isinstance(state, cycle.states)
        assert isinstance(given, cycle.inputs)
        assert isinstance(after, cycle.states)


@cycles
def test_every_state_is_reached_from_a_start(cycle: LifeCycle) -> None:
    reached, frontier = set(cycle.starts), list(cycle.starts)
    while frontier:
        here = frontier.pop()
        for state, _, after, _ in cycle.steps():
            if state is here and after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(cycle.states)


@cycles
def test_every_state_but_an_end_can_be_left(cycle: LifeCycle) -> None:
    left = {state for state, _, after, _ in cycle.steps() if after is not state}
    assert left == set(cycle.states) - cycle.ends


@cycles
def test_every_input_moves_something_or_is_refused_with_a_status(cycle: LifeCycle) -> None:
    assert {given for _, given, _, _ in cycle.steps()} | cycle.refused == set(cycle.inputs)


@cycles
def test_an_end_is_in_reach_from_everywhere_when_there_is_one(cycle: LifeCycle) -> None:
    if not cycle.ends:
        return
    ending = set(cycle.ends)
    while more := {state for state, _, after, _ in cycle.steps() if after in ending} - ending:
        ending |= more
    assert ending == set(cycle.states)
