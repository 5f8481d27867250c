"""The two tables of a session, and the one property that matters over all their interleavings."""

from __future__ import annotations

from cca_machine.migration.tables import (
    CLOSED,
    DESTINATION,
    SOURCE,
    DestinationEffect,
    DestinationInput,
    DestinationState,
    SourceEffect,
    SourceInput,
    SourceState,
)

S, D = SourceState, DestinationState
RUNS_ON_SOURCE = {S.HELLO, S.RESUMED, S.FAILED}


def test_every_state_is_reached_and_open_ones_are_left() -> None:
    assert {after for after, _ in SOURCE.values()} | {S.NEW} == set(S)
    assert {after for after, _ in DESTINATION.values()} | {D.NEW} == set(D)
    assert {state for state, _ in SOURCE} == {state for state in S if state not in CLOSED}
    assert {state for state, _ in DESTINATION} - {D.LIVE} == {state for state in D if state not in CLOSED}


def test_only_an_order_ends_what_was_relinquished() -> None:
    left = {given for (state, given), (after, _) in SOURCE.items() if state is S.RELINQUISHED and after is not state}
    assert left == {SourceInput.RESUME, SourceInput.DISCARD, SourceInput.STOP}


def test_only_an_order_ends_what_is_ready() -> None:
    left = {given for (state, given), (after, _) in DESTINATION.items() if state is D.READY and after is not state}
    assert left == {DestinationInput.COMMIT, DestinationInput.ABORT, DestinationInput.STOP}


def test_the_realm_runs_in_one_place_whatever_comes_as_long_as_one_decision_is_taken() -> None:
    """All interleavings of both tables under a control plane that orders commit or resume, never both."""
    start = (S.HELLO, D.HELLO, "", False)
    seen, frontier = {start}, [start]
    while frontier:
        source, destination, decision, exported = frontier.pop()
        steps = []
        for given in SourceInput:
            row = SOURCE.get((source, given))
            allowed = {SourceInput.RESUME: decision != "commit", SourceInput.DISCARD: decision == "commit"}
            if row is None or not allowed.get(given, True):
                continue
            chosen = "resume" if given is SourceInput.RESUME else decision
            steps.append((row[0], destination, chosen, exported or row[1] is SourceEffect.EXPORT))
        for given in DestinationInput:
            entry = DESTINATION.get((destination, given))
            if entry is None or (given is DestinationInput.COMMIT and decision == "resume"):
                continue
            if entry[1] is DestinationEffect.READY and not exported:
                continue
            chosen = "commit" if given is DestinationInput.COMMIT else decision
            steps.append((source, entry[0], chosen, exported))
        for step in steps:
            assert not (step[0] in RUNS_ON_SOURCE and step[1] is D.LIVE), step
            if step not in seen:
                seen.add(step)
                frontier.append(step)
    assert any(destination is D.LIVE for _, destination, _, _ in seen)
    assert any(source is S.RESUMED and exported for source, _, _, exported in seen)


def test_a_commit_is_never_undone() -> None:
    assert {given for state, given in DESTINATION if state is D.LIVE} == {DestinationInput.COMMIT}
