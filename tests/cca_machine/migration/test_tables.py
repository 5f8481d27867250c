"""The tables of a session's two sides and of its witness: what they must never allow, read off their rows."""

from __future__ import annotations

from cca_machine.migration.tables import (
    CLOSED,
    DESTINATION,
    SOURCE,
    WITNESS,
    DestinationInput,
    DestinationState,
    SourceInput,
    SourceState,
    WitnessEffect,
    WitnessInput,
    WitnessState,
)

S, D, W = SourceState, DestinationState, WitnessState


def test_every_state_is_reached_and_open_ones_are_left() -> None:
    assert {after for after, _ in SOURCE.values()} | {S.NEW} == set(S)
    assert {after for after, _ in DESTINATION.values()} | {D.NEW} == set(D)
    assert {after for after, _ in WITNESS.values()} == set(W)
    assert {state for state, _ in SOURCE} == {state for state in S if state not in CLOSED}
    assert {state for state, _ in DESTINATION} == {state for state in D if state not in CLOSED}


def test_only_the_witness_or_proof_of_failure_ends_what_was_relinquished() -> None:
    left = {given for (state, given) in SOURCE if state is S.RELINQUISHED}
    assert left == {SourceInput.GRANTED, SourceInput.ABORTED, SourceInput.ABORT_BUNDLE, SourceInput.STOP}


def test_only_the_witness_ends_what_is_ready() -> None:
    left = {given for (state, given) in DESTINATION if state is D.READY}
    assert left == {DestinationInput.GRANTED, DestinationInput.ABORTED}


def test_only_a_destination_that_answers_a_challenge_is_granted_anything() -> None:
    grants = {key for key, (_, effect) in WITNESS.items() if effect is WitnessEffect.GRANT}
    assert grants == {(W.REGISTERED, WitnessInput.CONFIRM)}


def test_every_decision_of_the_witness_ends_the_session() -> None:
    decided = [after for after, effect in WITNESS.values() if effect in (WitnessEffect.GRANT, WitnessEffect.ABORT)]
    assert set(decided) == {W.HELD}


def test_a_registered_destination_loses_to_its_end_or_its_silence_only() -> None:
    ends = {given for (state, given), (after, _) in WITNESS.items() if state is W.REGISTERED and after is W.HELD}
    assert ends == {WitnessInput.CONFIRM, WitnessInput.FENCED, WitnessInput.UNREACHABLE}
