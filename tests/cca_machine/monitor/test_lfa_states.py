from __future__ import annotations

import itertools

import pytest

from cca_machine.abi.lfa import LfaStatus
from cca_machine.monitor.lfa_states import (
    IMPOSSIBLE,
    REFUSALS,
    TF_A_TRANSITIONS,
    TRANSITIONS,
    LfaInput,
    advance,
)
from cca_machine.monitor.state import Activation, LfaState

PAIRS = list(itertools.product(LfaState, LfaInput))


@pytest.mark.parametrize(("state", "given"), PAIRS, ids=lambda value: value.value)
def test_every_pair_of_state_and_input_is_in_exactly_one_table(state: LfaState, given: LfaInput) -> None:
    pair = (state, given)
    assert [pair in TRANSITIONS, pair in REFUSALS, pair in IMPOSSIBLE].count(True) == 1


def reachable(start: LfaState) -> set[LfaState]:
    found = {start}
    while True:
        more = {row.state for (state, _), row in TRANSITIONS.items() if state in found} | found
        if more == found:
            return found
        found = more


def test_every_state_is_reachable_from_idle_and_leads_back_to_it() -> None:
    assert reachable(LfaState.IDLE) == set(LfaState)
    assert all(LfaState.IDLE in reachable(state) for state in LfaState)


@pytest.mark.parametrize(("pair", "status"), list(REFUSALS.items()))
def test_a_refusal_names_a_failure_and_leaves_the_record_alone(
    pair: tuple[LfaState, LfaInput], status: LfaStatus
) -> None:
    record = Activation(state=pair[0], component="RMM", bound_digest=b"x")
    assert advance(record, pair[1]) is status
    assert status is not LfaStatus.SUCCESS
    assert record == Activation(state=pair[0], component="RMM", bound_digest=b"x")


@pytest.mark.parametrize("pair", sorted(IMPOSSIBLE))
def test_an_impossible_input_is_a_loud_fault_of_ours(pair: tuple[LfaState, LfaInput]) -> None:
    with pytest.raises(KeyError):
        advance(Activation(state=pair[0]), pair[1])


def test_the_quirk_rows_only_replace_refusals() -> None:
    assert all(pair in REFUSALS for pair in TF_A_TRANSITIONS)


# cca-1.1 facts, section 3.5: the agent state of TF-A, row by row (state, input, next state or status)
FACTS = [
    ("idle", "prime-other", "started"),
    ("started", "load-done", "complete"),
    ("started", "load-again", "started"),
    ("started", "load-failed", "started"),
    ("started", "prime-other", LfaStatus.WRONG_STATE),
    ("complete", "activate", "activating"),
    ("complete", "notify-failed", "complete"),
    ("activating", "activate", "activating"),
    ("activating", "last-arrived", "locked"),
    ("activating", "cancel", "idle"),
    ("locked", "cancel", LfaStatus.BUSY),
    ("skipping", "cancel", LfaStatus.BUSY),
    ("locked", "step-done", "idle"),
    ("locked", "step-again", "locked"),
    ("locked", "step-failed", "idle"),
    ("started", "cancel", "idle"),
    ("complete", "cancel", "idle"),
]


@pytest.mark.parametrize(("state", "given", "expected"), FACTS)
def test_the_table_says_what_the_agent_of_tf_a_does(state: str, given: str, expected: str | LfaStatus) -> None:
    record = Activation(state=LfaState(state))
    answer = advance(record, LfaInput(given))
    assert (answer if isinstance(expected, LfaStatus) else record.state.value) == expected
