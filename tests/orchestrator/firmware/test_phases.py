"""The tables of a rollout, walked."""

from __future__ import annotations

import pytest

from orchestrator.firmware import phases, update
from orchestrator.firmware.phases import MACHINE_TABLE, ROLLOUT_TABLE, SETTLED, UNDER_WAY, Effect, Input, Phase, Stage
from orchestrator.firmware.rollout import Rollout


def reachable(table: dict[tuple[object, object], tuple[object, object]], start: object) -> set[object]:
    found, frontier = {start}, [start]
    while frontier:
        state = frontier.pop()
        for (here, _), (there, _) in table.items():
            if here is state and there not in found:
                found.add(there)
                frontier.append(there)
    return found


def test_every_state_is_reached_and_every_effect_exists() -> None:
    assert reachable(dict(MACHINE_TABLE), Phase.QUEUED) == set(Phase)
    assert reachable(dict(ROLLOUT_TABLE), Stage.AWAITED) == set(Stage)
    assert {effect for _, effect in MACHINE_TABLE.values()} == set(Effect)
    assert all(hasattr(update.Updater, effect.value) for effect in Effect)
    assert all(hasattr(Rollout, act.value) for _, act in ROLLOUT_TABLE.values())


@pytest.mark.parametrize("phase", sorted(UNDER_WAY))
def test_whatever_is_under_way_ends_when_the_machine_is_lost_or_silent(phase: Phase) -> None:
    assert MACHINE_TABLE[phase, Input.LOST][0] is Phase.ABSENT
    assert MACHINE_TABLE[phase, Input.OVERDUE][0] is Phase.FAILED


def test_what_may_run_unproven_firmware_stays_closed_and_what_runs_the_old_is_cancelled() -> None:
    failing = {row: effect for row, (to, effect) in MACHINE_TABLE.items() if to is Phase.FAILED}
    unproven = {row for row, effect in failing.items() if effect is Effect.QUARANTINE}
    assert unproven == {
        (Phase.ACTIVATING, Input.OVERDUE), (Phase.REBOOTING, Input.OVERDUE),
        (Phase.APPRAISING, Input.REFUSED), (Phase.APPRAISING, Input.OVERDUE),
        (Phase.REATTESTING, Input.REFUSED), (Phase.REATTESTING, Input.OVERDUE),
    }  # fmt: skip


def test_settled_stages_are_never_left() -> None:
    assert not [row for row in ROLLOUT_TABLE if row[0] in SETTLED]
    assert set(phases.ANSWERED_IN.values()) <= UNDER_WAY
