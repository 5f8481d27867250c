"""The life of a machine as a table: every pair has an answer, every state can be reached, silence is not enough."""

from __future__ import annotations

import pytest

from orchestrator.fleet.inventory import IGNORED, TABLE, Effect, Sign, move
from orchestrator.store import MachineState, MachineView

PAIRS = [(state, sign) for state in MachineState for sign in Sign]


def machine(state: MachineState) -> MachineView:
    return MachineView("m", "r", "p", pes=1, granules=1, state=state)


@pytest.mark.parametrize(("state", "sign"), PAIRS)
def test_every_sign_in_every_state_either_moves_or_is_ignored(state: MachineState, sign: Sign) -> None:
    assert ((state, sign) in TABLE) != ((state, sign) in IGNORED)
    view = machine(state)
    effect = move(view, sign, 5)
    assert (view.state, effect) == TABLE.get((state, sign), (state, Effect.NONE))
    assert view.since_ns == (5 if view.state is not state else 0)


def test_every_state_can_be_reached_from_expected() -> None:
    reached = {MachineState.EXPECTED}
    while True:
        more = {to for (state, _), (to, _) in TABLE.items() if state in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(MachineState)


def test_only_leases_that_ended_a_boot_or_a_dead_rmm_take_realms_from_a_machine() -> None:
    losing = {sign for (_, sign), (_, effect) in TABLE.items() if effect is Effect.LOSE}
    assert losing == {Sign.LEASES_OVER, Sign.RMM_DEAD}


def test_a_distrusted_machine_is_not_admitted_by_being_heard() -> None:
    for state in MachineState:
        assert TABLE.get((state, Sign.HEARD_DISTRUSTED), (MachineState.REFUSED, None))[0] is not MachineState.ADMITTED
