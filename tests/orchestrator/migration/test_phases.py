"""A session's phases as a table: complete, one decision, and no way back from it."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.migration.phases import IGNORED, TABLE, TERMINAL, UNDECIDED, Effect, Event, move
from orchestrator.store import SessionPhase, SessionView

PAIRS = [(phase, event) for phase in SessionPhase for event in Event]


def session(phase: SessionPhase = SessionPhase.OPEN) -> SessionView:
    return SessionView("s", "r", 1, "a", "b", "test", 0, 1, 1, 1, phase=phase)


@pytest.mark.parametrize(("phase", "event"), PAIRS)
def test_every_event_in_every_phase_either_moves_or_is_ignored(phase: SessionPhase, event: Event) -> None:
    assert ((phase, event) in TABLE) != ((phase, event) in IGNORED)
    view = session(phase)
    effect = move(view, event)
    assert (view.phase, effect) == TABLE.get((phase, event), (phase, None))


def test_every_phase_can_be_reached_and_the_terminal_one_is_never_left() -> None:
    reached = {SessionPhase.OPEN}
    while True:
        more = {to for (phase, _), (to, _) in TABLE.items() if phase in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(SessionPhase)
    assert not [pair for pair in TABLE if pair[0] in TERMINAL]


def test_whatever_happens_in_whatever_order_the_decision_falls_at_most_once() -> None:
    for events in itertools.product(Event, repeat=4):
        view = session()
        effects = [move(view, event) for event in events]
        decisions = [effect for effect in effects if effect in (Effect.COMMIT, Effect.ABORT)]
        assert len(decisions) <= 1
        if decisions == [Effect.ABORT]:
            assert Effect.HAND_OVER not in effects


def test_only_an_import_that_is_ready_commits() -> None:
    commits = {pair for pair, (_, effect) in TABLE.items() if effect is Effect.COMMIT}
    assert commits == {(phase, Event.IMPORT_READY) for phase in UNDECIDED}
