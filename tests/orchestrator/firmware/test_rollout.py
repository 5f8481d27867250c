"""Rollouts: canary first, proof before the next wave, a hold when too many fail, lost machines later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cca_machine.commands import Activate, Activated, Cancel, Prime, Primed
from orchestrator.engine.ports import Delivery, Message, Priority
from orchestrator.firmware.phases import Phase, Stage
from orchestrator.firmware.records import (
    RolloutFinished,
    RolloutHeld,
    RolloutMachine,
    RolloutWaiting,
    WaveFinished,
    WaveStarted,
)
from orchestrator.store import MachineState, RealmState, SessionView

S = 1_000_000_000
WAVES = [{"machines": 1}, {"share": "50%"}, {"share": "100%"}]
Answers = Callable[[str, Any], list[Any]]


def test_the_canary_goes_alone_and_each_wave_waits_for_the_bake_of_the_one_before(floor: Any) -> None:
    done = floor(5, waves=WAVES).run(60)
    assert [wave.machines for wave in done.of(WaveStarted)] == [("m0",), ("m1", "m2"), ("m3", "m4")]
    assert done.of(WaveFinished) == [
        WaveFinished("rollout-1", 1, 1, 0, 0),
        WaveFinished("rollout-1", 2, 2, 0, 0),
        WaveFinished("rollout-1", 3, 2, 0, 0),
    ]
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 5, 0, 0, 0)]
    primed = {machine: at for at, machine, command in done.orders if isinstance(command, Prime)}
    assert primed["m0"] == 1 * S
    assert primed["m1"] - primed["m0"] >= 5 * S
    assert primed["m3"] - primed["m1"] >= 5 * S


def test_a_machine_goes_cordoned_primed_activated_appraised_reattested_and_is_opened_again(floor: Any) -> None:
    done = floor(1, waves=[{"machines": 1}])
    seen = set()
    while done.rollout.state.stage is not Stage.FINISHED:
        done.step()
        if done.rollout.state.updates and done.phase("m0") in (Phase.PRIMING, Phase.ACTIVATING):
            seen |= set(done.store.machines["m0"].cordons) | {done.store.machines["m0"].activity}
    assert seen == {"rollout-1", "prime", "activate"}
    assert [record.phase for record in done.of(RolloutMachine)] == [
        "draining", "priming", "activating", "appraising", "reattesting", "done",
    ]  # fmt: skip
    assert [type(command) for _, _, command in done.orders] == [Prime, Activate]
    assert done.store.machines["m0"].cordons == {}
    assert done.store.machines["m0"].activity == ""


def test_a_refused_image_is_cancelled_and_holds_the_rollout_before_the_next_wave(
    floor: Any, refusing: Callable[[str], Answers]
) -> None:
    held = floor(3, waves=WAVES)
    held.behaviour["m0"] = refusing("prime")
    held.run(60)
    assert held.sent(Prime) == ["m0"]
    assert held.sent(Cancel) == ["m0"]
    assert held.of(RolloutHeld)[0].why.startswith("m0: LFA_PRIME: AUTH_ERROR")
    assert held.of(RolloutHeld)[0].not_started == 2
    assert held.store.machines["m0"].cordons == {}
    assert held.of(RolloutFinished) == []


def test_as_many_failures_as_allowed_do_not_hold(floor: Any, refusing: Callable[[str], Answers]) -> None:
    done = floor(3, waves=WAVES, max_failures=1)
    done.behaviour["m0"] = refusing("activate")
    done.run(60)
    assert done.of(RolloutHeld) == []
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 2, 1, 0, 0)]


def test_new_firmware_whose_platform_token_is_refused_fails_and_keeps_the_machine_closed(floor: Any) -> None:
    held = floor(2, waves=WAVES)
    held.bad_tokens = {"m0"}
    held.run(30)
    assert held.phase("m0") == Phase.FAILED
    assert list(held.store.machines["m0"].cordons) == ["rollout-1"]
    assert held.sent(Prime) == ["m0"]


def test_the_old_platform_token_does_not_vouch_for_the_new_firmware(floor: Any) -> None:
    held = floor(2, waves=WAVES)
    held.slow_verifier = {"m0"}
    held.run(20)
    assert held.phase("m0") == Phase.APPRAISING
    held.run(90)
    assert held.phase("m0") == Phase.FAILED
    assert list(held.store.machines["m0"].cordons) == ["rollout-1"]


def test_a_realm_that_does_not_attest_over_the_new_firmware_fails_its_machine(floor: Any) -> None:
    held = floor(2, waves=WAVES)
    held.mute_realms = {"w0"}
    held.run(90)
    assert held.phase("m0") == Phase.FAILED
    assert "w0" in held.of(RolloutHeld)[0].why


def test_a_realm_whose_evidence_over_the_new_firmware_is_refused_fails_its_machine(floor: Any) -> None:
    held = floor(2, waves=WAVES)
    held.mute_realms = {"w0"}
    while not held.store.realms["w0"].attest_wanted:
        held.step()
    held.store.realms["w0"].state = RealmState.REPLACING
    held.store.realms["w0"].excluded = ["m0"]
    held.run(30)
    assert held.phase("m0") == Phase.FAILED
    assert "refused" in held.of(RolloutHeld)[0].why


def test_a_silent_machine_is_asked_three_times_and_then_fails(floor: Any, silent: Answers) -> None:
    held = floor(2, waves=WAVES)
    held.behaviour["m0"] = silent
    held.run(90)
    assert held.sent(Prime) == ["m0"] * 3
    assert held.phase("m0") == Phase.FAILED


def test_a_lost_answer_to_activate_is_learnt_from_the_heartbeat(floor: Any) -> None:
    done = floor(1, waves=[{"machines": 1}])

    def loses_the_answer(machine: str, command: Any) -> list[Any]:
        if isinstance(command, Prime):
            return [Primed("RMM", "1.1.0")]
        done.store.machines[machine].versions = {"RMM": "1.1.0"}
        done.store.machines[machine].platform_token_sha256 = "a new one"
        return []

    done.behaviour["m0"] = loses_the_answer
    done.run(60)
    assert done.phase("m0") == Phase.DONE
    assert done.sent(Activate) == ["m0"]


def test_a_machine_lost_on_the_way_is_counted_and_taken_again_when_it_is_back(floor: Any, silent: Answers) -> None:
    done = floor(3, waves=WAVES, max_failures=1)
    done.behaviour["m0"] = silent
    done.run(2)
    done.store.machines["m0"].state = MachineState.DOWN
    done.run(30)
    assert done.phase("m0") == Phase.ABSENT
    assert done.rollout.state.failures == ["m0"]
    assert done.of(RolloutWaiting) == [RolloutWaiting("rollout-1", ("m0",))]
    assert done.store.machines["m0"].cordons == {}
    del done.behaviour["m0"]
    done.boot("m0", "1.0.0")
    done.run(60)
    assert done.phase("m0") == Phase.DONE
    assert done.of(WaveStarted)[-1] == WaveStarted("rollout-1", 4, ("m0",), True)
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 3, 0, 0, 0)]


def test_a_machine_lost_with_its_answer_to_activate_only_proves_itself_when_it_is_back(floor: Any) -> None:
    done = floor(2, waves=[{"share": "100%"}], max_failures=1)
    view = done.store.machines["m0"]

    def goes_dark(machine: str, command: Any) -> list[Any]:
        if isinstance(command, Prime):
            return [Primed("RMM", "1.1.0")]
        view.state = MachineState.DOWN
        return []

    done.behaviour["m0"] = goes_dark
    done.run(20)
    assert done.phase("m0") == Phase.ABSENT
    # a heartbeat is heard again: other firmware, and no token that vouches for it
    view.state, view.versions, view.platform_token_sha256 = MachineState.ADMITTED, {"RMM": "1.1.0"}, ""
    done.run(22)
    assert done.phase("m0") == Phase.APPRAISING
    assert done.store.realms["w0"].attested_ns > 20 * S
    view.platform_token_sha256 = "brought by the evidence of w0"
    done.run(30)
    assert done.phase("m0") == Phase.DONE
    assert done.sent(Activate).count("m0") == 1


def test_losing_more_machines_than_allowed_holds(floor: Any, silent: Answers) -> None:
    held = floor(3, waves=WAVES)
    held.behaviour["m0"] = silent
    held.run(2)
    held.store.machines["m0"].state = MachineState.DOWN
    held.run(30)
    assert len(held.of(RolloutHeld)) == 1
    assert held.sent(Prime) == ["m0"]


def test_a_machine_that_dies_while_its_wave_bakes_counts(floor: Any) -> None:
    held = floor(3, waves=WAVES)
    held.run(3)
    assert held.phase("m0") == Phase.DONE
    held.store.machines["m0"].state = MachineState.DOWN
    held.run(30)
    assert held.of(RolloutHeld)[0].why.startswith("m0")
    assert held.sent(Prime) == ["m0"]


def test_a_machine_that_is_silent_when_its_wave_comes_is_set_aside_without_counting(floor: Any) -> None:
    done = floor(3, waves=WAVES)
    done.store.machines["m0"].state = MachineState.SUSPECT
    done.run(30)
    assert [wave.machines for wave in done.of(WaveStarted)] == [("m1",), ("m2",)]
    assert done.rollout.state.failures == []
    assert done.rollout.state.stage is Stage.WAITING


def test_a_done_machine_that_boots_its_former_firmware_is_taken_again(floor: Any) -> None:
    done = floor(4, waves=[{"machines": 1}, {"share": "100%"}], bake="10s")
    done.run(14)
    assert done.phase("m0") == Phase.DONE
    done.boot("m0", "1.0.0")
    done.run(60)
    assert done.phase("m0") == Phase.DONE
    assert done.sent(Activate).count("m0") == 2


def test_a_machine_that_runs_the_release_already_is_done_without_an_order(floor: Any) -> None:
    done = floor(2, waves=WAVES)
    done.store.machines["m0"].versions = {"RMM": "1.1.0"}
    done.run(30)
    assert done.sent(Prime) == ["m1"]
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 2, 0, 0, 0)]


def test_an_open_migration_session_is_waited_for(floor: Any) -> None:
    done = floor(1, waves=WAVES)
    session = SessionView(
        session="s1", realm="w0", incarnation=1, source="m0", target="m9", source_boot=1, target_boot=1,
        why="operator", phase="sending", opened_ns=0, deadline_ns=0,
    )  # fmt: skip
    done.store.sessions["s1"] = session
    done.run(5)
    assert done.phase("m0") == Phase.DRAINING
    assert done.orders == []
    del done.store.sessions["s1"]
    done.run(20)
    assert done.phase("m0") == Phase.DONE


def test_a_last_wave_below_the_whole_leaves_the_rest_out(floor: Any) -> None:
    done = floor(4, waves=[{"machines": 1}, {"machines": 1}]).run(30)
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 2, 0, 0, 2)]


def test_calling_only_when_due_or_when_something_arrives_gives_the_same_records(floor: Any) -> None:
    every_beat, when_due = floor(5, waves=WAVES).run(60), floor(5, waves=WAVES)
    due: int | None = 0
    while when_due.now_ns <= 60 * S:
        asked = any(realm.attest_wanted for realm in when_due.store.realms.values())
        if when_due._arriving or asked or (due is not None and due <= when_due.now_ns):
            due = when_due.step()
        else:
            when_due.now_ns += 100_000_000
    assert when_due.records == every_beat.records
    assert when_due.orders == every_beat.orders


@pytest.mark.parametrize("late", ["primed", "activated"])
def test_an_answer_that_comes_twice_changes_nothing(floor: Any, late: str) -> None:
    done = floor(1, waves=[{"machines": 1}])
    outcome = Primed("RMM", "1.1.0") if late == "primed" else Activated("RMM", {"RMM": "1.1.0"}, b"t", b"r", 1)
    done.behaviour["m0"] = lambda machine, command: (
        done.good(machine, command) * (2 if isinstance(command, Prime if late == "primed" else Activate) else 1)
    )
    done.run(4)
    done.rollouts.fold(done.store, _delivery(outcome))
    done.run(20)
    assert done.of(RolloutFinished) == [RolloutFinished("rollout-1", 1, 0, 0, 0)]
    assert len(done.orders) == 2


def _delivery(outcome: Any) -> Delivery:
    return Delivery(0, Priority.MACHINE, Message("m0", 99, "control", 0, outcome))
