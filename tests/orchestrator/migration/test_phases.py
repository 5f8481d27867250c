"""A session's phases as a table: complete, one decision, and no way back from it."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.migration.phases import IGNORED, TABLE, TERMINAL, UNDECIDED, Effect, Event, move
from orchestrator.store import SessionPhase, SessionView

PAIRS = [(phase, event) for phase in SessionPhase for event in Event]


def session(phase: SessionPhase = SessionPhase.OPENING) -> SessionView:
    return SessionView("s", "r", 1, "a", "b", "test", 0, 1, 1, 1, phase=phase)


@pytest.mark.parametrize(("phase", "event"), PAIRS)
def test_every_event_in_every_phase_either_moves_or_is_ignored(phase: SessionPhase, event: Event) -> None:
    assert ((phase, event) in TABLE) != ((phase, event) in IGNORED)
    view = session(phase)
    effect = move(view, event)
    assert (view.phase, effect) == TABLE.get((phase, event), (phase, None))


def test_every_phase_can_be_reached_and_the_terminal_one_is_never_left() -> None:
    reached = {SessionPhase.OPENING}
    while True:
        more = {to for (phase, _), (to, _) in TABLE.items() if phase in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(SessionPhase)
    assert not [pair for pair in TABLE if pair[0] in TERMINAL]


def test_whatever_happens_in_whatever_order_one_outcome_is_believed_at_most() -> None:
    for events in itertools.product(Event, repeat=4):
        view = session()
        effects = [move(view, event) for event in events]
        decisions = [effect for effect in effects if effect in (Effect.COMMIT, Effect.ABORT)]
        assert len(decisions) <= 1
        if decisions == [Effect.ABORT]:
            assert Effect.HAND_OVER not in effects


def test_only_the_witness_says_how_a_session_ended() -> None:
    told = {(phase, event): effect for (phase, event), (_, effect) in TABLE.items()}
    commits = {pair for pair, effect in told.items() if effect is Effect.COMMIT}
    aborts = {pair for pair, effect in told.items() if effect is Effect.ABORT}
    assert commits == {(phase, Event.GRANTED) for phase in UNDECIDED}
    assert aborts == {(phase, Event.ABORTED) for phase in UNDECIDED} | {(SessionPhase.OPENING, Event.HELD)}
