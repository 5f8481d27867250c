"""Rollouts with a reboot: staged first, Realms moved or stopped, never too many machines down, and only in time."""

from __future__ import annotations

from typing import Any

from cca_machine.commands import Activate, Reboot, Refused, StageFirmware, UnstageFirmware
from orchestrator.cluster.schema import RolloutEvent
from orchestrator.firmware.phases import UNDER_WAY, Phase, Stage
from orchestrator.firmware.records import RolloutFinished, RolloutHeld, RolloutMachine, RolloutRolledBack
from orchestrator.firmware.waves import at_once, next_opening
from orchestrator.store import RealmState

S = 1_000_000_000
ALL = [{"share": "100%"}]


def phases(done: Any, machine: str = "m0") -> list[str]:
    return [record.phase for record in done.of(RolloutMachine) if record.machine == machine]


def move_away(floor: Any, realm: str, to: str) -> None:
    """The migration controller did as it was asked."""
    floor.store.migrations_wanted.clear()
    floor.store.bind(floor.store.realms[realm], to)


def test_a_reboot_is_staged_ordered_awaited_and_proven(floor: Any) -> None:
    done = floor(1, waves=ALL, strategy="reboot").run(3)
    assert (done.phase("m0"), done.sent(StageFirmware), done.sent(Reboot)) == ("rebooting", ["m0"], ["m0"])
    assert [(loss.realm, loss.why) for loss in done.store.losses] == [("w0", "stopped for a reboot")]
    done.boot("m0", "1.1.0")
    done.run(20)
    assert phases(done) == ["draining", "staging", "rebooting", "appraising", "reattesting", "done"]
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 1, 0, 0, 0)]
    assert done.sent(Activate) == []


def test_a_drain_moves_realms_one_by_one_and_reboots_when_the_last_has_left(floor: Any) -> None:
    done = floor(2, waves=[{"machines": 1}], strategy="drain")
    done.store.bind(done.store.realms["w1"], "m0")
    done.run(2)
    assert [request.realm for request in done.store.migrations_wanted] == ["w0"]
    move_away(done, "w0", "m1")
    done.run(20)
    assert (done.sent(Reboot), done.phase("m0")) == ([], "evacuating")
    assert done.store.migrations_wanted[0].realm == "w1"
    move_away(done, "w1", "m1")
    done.run(22)
    assert (done.sent(Reboot), done.store.losses) == (["m0"], [])


def test_a_drain_that_finds_no_room_fails_the_machine_and_empties_the_slot(floor: Any) -> None:
    held = floor(1, waves=ALL, strategy="drain").run(400)
    assert phases(held) == ["draining", "staging", "evacuating", "failed"]
    assert held.sent(UnstageFirmware) == ["m0"]
    assert (held.sent(Reboot), held.store.machines["m0"].cordons) == ([], {})
    assert "find no other machine" in held.of(RolloutHeld)[0].why


def test_an_image_that_is_refused_when_it_is_staged_moves_and_stops_nobody(floor: Any) -> None:
    held = floor(2, waves=ALL, strategy="reboot", max_unavailable=1)
    held.behaviour["m0"] = lambda machine, command: [Refused("stage-firmware", "", "stage: AUTH_ERROR", "revoked")]
    held.run(60)
    assert (held.sent(Reboot), held.store.losses) == ([], [])
    assert held.rollout.state.stage is Stage.HELD
    assert held.phase("m1") == Phase.QUEUED


def test_a_boot_that_fell_back_to_the_old_slot_is_a_failure_of_a_machine_that_serves_on(floor: Any) -> None:
    held = floor(1, waves=ALL, strategy="reboot").run(3)
    held.boot("m0", "1.0.0")
    held.run(10)
    assert phases(held)[-1] == "failed"
    assert held.store.machines["m0"].cordons == {}
    assert "not healthy" in held.of(RolloutHeld)[0].why


def test_a_machine_that_never_comes_back_fails_after_the_time_of_three_boots(floor: Any) -> None:
    held = floor(1, waves=ALL, strategy="reboot").run(900)
    assert held.phase("m0") == "rebooting"
    held.run(950)
    assert held.of(RolloutMachine)[-1].why == "it does not come back from its reboot"


def test_the_order_is_repeated_until_it_is_confirmed_and_never_after(floor: Any) -> None:
    done = floor(1, waves=ALL, strategy="reboot")
    done.behaviour["m0"] = lambda machine, command: [] if isinstance(command, Reboot) else done.good(machine, command)
    done.run(30)
    assert done.sent(Reboot) == ["m0", "m0"]
    del done.behaviour["m0"]
    done.run(300)
    assert done.sent(Reboot) == ["m0", "m0", "m0"]


def test_never_more_machines_are_under_way_than_allowed(floor: Any) -> None:
    done = floor(6, waves=ALL, strategy="reboot", max_unavailable=2)
    most = 0
    for _ in range(600):
        done.step()
        updates = done.rollout.state.updates
        under_way = [machine for machine, update in updates.items() if update.phase in UNDER_WAY]
        most = max(most, len(under_way))
        for machine in under_way:
            if updates[machine].phase is Phase.REBOOTING and done.store.machines[machine].boot == 1:
                done.boot(machine, "1.1.0")
    assert most == 2
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 6, 0, 0, 0)]


def event(**fields: Any) -> RolloutEvent:
    return RolloutEvent.model_validate({"at": "1s", "release": "next", "waves": ALL, **fields})


def test_without_a_limit_a_live_wave_goes_at_once_and_a_reboot_one_by_one() -> None:
    assert (at_once(event(), 9), at_once(event(strategy="reboot"), 9), at_once(event(max_unavailable=3), 9)) == (
        9,
        1,
        3,
    )


def test_the_calendar_opens_inside_windows_and_outside_freezes() -> None:
    given = event(
        windows=[{"from": "10s", "to": "20s"}, {"from": "40s", "to": "50s"}], freezes=[{"from": "15s", "to": "45s"}]
    )
    opens = {at: next_opening(given, at * S) for at in (0, 12, 15, 44, 49, 50)}
    assert opens == {0: 10 * S, 12: 12 * S, 15: 45 * S, 44: 45 * S, 49: 49 * S, 50: None}


def test_a_rollout_waits_for_its_window_and_a_frozen_machine_is_not_taken(floor: Any) -> None:
    done = floor(2, waves=ALL, windows=[{"from": "20s", "to": "21s"}, {"from": "60s", "to": "2min"}], max_unavailable=1)
    taken = {}
    for _ in range(900):
        done.step()
        for record in done.of(RolloutMachine):
            taken.setdefault((record.machine, record.phase), done.now_ns // S)
    assert taken["m0", "draining"] == 20
    assert taken["m1", "draining"] in (20, 60)
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 2, 0, 0, 0)]


def test_realms_that_are_not_serving_are_waited_for_and_not_moved(floor: Any) -> None:
    done = floor(1, waves=ALL, strategy="drain")
    done.store.realms["w0"].state = RealmState.VERIFYING
    done.run(30)
    assert (done.phase("m0"), done.store.migrations_wanted) == ("evacuating", [])


def test_a_held_rollout_goes_back_where_the_counters_permit_it(floor: Any) -> None:
    held = floor(3, waves=[{"machines": 1}, {"share": "100%"}], rollback=True)
    held.behaviour["m1"] = lambda machine, command: [Refused("prime", "RMM", "LFA_PRIME: DEVICE_ERROR", "no")]
    held.run(30)
    [back] = held.of(RolloutRolledBack)
    assert (back.rollout, back.release, back.refused) == ("rollout-2", "base", "")
    held.run(60)
    phases_back = {machine: update.phase for machine, update in held.rollouts.rollouts[1].state.updates.items()}
    assert phases_back["m0"] is not Phase.QUEUED


def test_where_the_counters_do_not_permit_it_the_refusal_says_so(floor: Any) -> None:
    held = floor(2, waves=[{"machines": 1}, {"share": "100%"}], rollback=True)
    release = held.store.cluster.firmware.releases["next"]
    raised = release.components["RMM"].model_copy(update={"security_version": 2})
    release.components["RMM"] = raised
    held.behaviour["m1"] = lambda machine, command: [Refused("prime", "RMM", "LFA_PRIME: DEVICE_ERROR", "no")]
    held.run(60)
    [back] = held.of(RolloutRolledBack)
    assert (back.rollout, back.release) == ("", "base")
    assert "security version 1" in back.refused
