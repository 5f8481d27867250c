"""Each record moves the metrics that it should, and sampling does not depend on how it is done."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cca_machine import commands
from orchestrator import inputs, records
from orchestrator.chaos.records import FaultHealed, FaultInjected, FaultSkipped
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.engine.post import MessageLost
from orchestrator.firmware import records as rollout
from orchestrator.metrics.collect import Carried, collect, instants, sample_every
from orchestrator.metrics.export import openmetrics
from orchestrator.metrics.tally import Distribution, Key

S = 1_000_000_000
MS = 1_000_000


def total_ns(value: object) -> int:
    assert isinstance(value, Distribution)
    return value.total


# -- machines --------------------------------------------------------------------------------------------------------


def test_machines_start_expected_and_are_counted_by_rack(story) -> None:
    assert (story.value("machines", "r1", "expected"), story.value("machines", "r2", "expected")) == (2, 1)
    assert story.value("machines", "r1", "down") == 0


def test_belief_follows_admission_silence_and_return(story) -> None:
    story.admitted("m1", 5)
    story.control(20, records.MachineSuspect("m1", 0, 0))
    story.control(40, records.MachineDown("m1", "silent", 0, 0, 1))
    story.control(70, records.MachineBack("m1", "down", 1, rebooted=False, silent_ns=50 * S))
    states = ("expected", "admitted", "suspect", "down")
    seen = [[story.value("machines", "r1", state, at_s=at_s) for state in states] for at_s in (0, 15, 30, 60, 75)]
    assert seen == [[2, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]]
    assert total_ns(story.value("machine_silence_seconds")) == 50 * S


def test_a_verdict_over_a_silent_machine_does_not_bring_it_back(story) -> None:
    story.admitted("m1", 1)
    story.control(10, records.MachineSuspect("m1", 0, 0))
    story.admitted("m1", 11)
    assert story.value("machines", "r1", "suspect") == 1


def test_a_refused_platform_stays_refused_after_a_silence(story) -> None:
    story.control(1, records.MachineDistrusted("m1", 1, "claims", ""))
    story.control(10, records.MachineSuspect("m1", 0, 0))
    story.control(20, records.MachineBack("m1", "suspect", 1, rebooted=False, silent_ns=S))
    assert story.value("machines", "r1", "refused") == 1
    assert story.value("platform_attestations_total", "claims") == 1


def test_truth_and_belief_are_different_metrics(story) -> None:
    story.booted("m1", 1).admitted("m1", 2).lost("m1", 10)
    assert story.value("machine_up", "m1") == 0
    assert story.value("machines", "r1", "admitted") == 1


def test_a_boot_is_counted_by_what_made_it_necessary(story) -> None:
    story.booted("m1", 1).lost("m1", 10).booted("m1", 20, 2)
    assert story.value("machine_boots_total", "first") == 1
    assert story.value("machine_boots_total", "machine.power-loss") == 1


def test_a_machine_with_two_cordons_is_one_cordoned_machine(story) -> None:
    story.control(1, records.MachineCordoned("m1", "operator", "")).control(2, records.MachineCordoned("m1", "r", ""))
    story.control(20, records.MachineUncordoned("m1", "r")).control(40, records.MachineUncordoned("m1", "operator"))
    assert [story.value("machines_cordoned", at_s=at_s) for at_s in (15, 30, 45)] == [1, 1, 0]


# -- Realms ----------------------------------------------------------------------------------------------------------


def test_realms_start_awaited_and_move_along_their_states(day) -> None:
    assert day.value("realms", "awaited", at_s=0) == 3
    assert (day.value("realms", "serving"), day.value("realms", "awaited")) == (1, 2)


def test_a_bring_up_is_measured_stage_by_stage(day) -> None:
    """Placed at 3.5 s, built at 4 s, verdict replied at 5.013 s, serving at 6 s; wanted at 3 s."""
    stages = {stage: total_ns(day.value("realm_bring_up_seconds", stage)) for stage in ("build", "attest", "release")}
    assert stages == {"build": 500 * MS, "attest": 1013 * MS, "release": 987 * MS}
    assert total_ns(day.value("realm_bring_up_seconds", "total")) == 3 * S
    assert total_ns(day.value("scheduling_wait_seconds")) == 500 * MS


def test_service_that_begins_again_is_no_second_bring_up(day) -> None:
    day.still("m1", "web-001", 20, "lease").serves("m1", "web-001", 30)
    value = day.value("realm_bring_up_seconds", "total")
    assert isinstance(value, Distribution)
    assert value.observations == 1


def test_requests_are_counted_once_although_a_copy_stands_still_twice(story) -> None:
    story.serves("m1", "web-001", 1).still("m1", "web-001", 10, "lease", served=800)
    story.serves("m1", "web-001", 20).still("m1", "web-001", 30, "lease", served=1500)
    assert story.value("realm_requests_total") == 1500


def test_memory_is_held_from_building_to_destruction_or_loss(story) -> None:
    for realm, machine in (("web-001", "m1"), ("web-002", "m1"), ("db-001", "m3")):
        story.put(machine, 1, commands.RealmBuilt(realm, 1, "", {}, ((0, 10), (4096 * 50, 6))))
    story.put("m1", 20, commands.RealmDestroyed("web-001", 1, ())).lost("m3", 40)
    held = [story.value("realm_memory_bytes", at_s=at_s) for at_s in (15, 30, 45)]
    assert held == [3 * 16 * 4096, 2 * 16 * 4096, 16 * 4096]
    assert story.value("machine_realm_memory_bytes", "m1") == 16 * 4096


def test_rmi_calls_and_the_refusal_that_ended_a_command_are_counted(day) -> None:
    assert day.value("rmi_calls_total", "RMI_DATA_CREATE") == 500
    assert day.value("rmi_refusals_total", "RMI_REALM_CREATE", "RMI_ERROR_INPUT") == 1
    assert day.value("commands_refused_total", "launch") == 1


def test_the_level_of_an_rtt_error_is_no_label(story) -> None:
    story.put("m1", 1, commands.CommandRefused("launch", "x", "RMI_DATA_CREATE: RMI_ERROR_RTT(3)", ""))
    assert story.value("rmi_refusals_total", "RMI_DATA_CREATE", "RMI_ERROR_RTT") == 1


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("rebooted", "rebooted"),
        ("silent, without leases", "silent"),
        ("rmm-dead", "rmm-dead"),
        ("the host no longer has it", "vanished"),
        ("lost with the target of its migration: silent", "migration"),
        ("struck by lightning", "other"),
    ],
)
def test_a_restart_is_counted_by_reason(story, why: str, reason: str) -> None:
    story.control(1, records.RealmRestart("web-001", 1, "m1", why, 0))
    assert story.value("realm_restarts_total", reason) == 1


# -- evidence and placement ------------------------------------------------------------------------------------------


def test_verdicts_are_counted_by_result_and_trigger(day) -> None:
    day.verdict("web-001", 40, why="firmware RMM 1.0.1").verdict("web-001", 50, why="machine back")
    counted = {
        labels: day.value("attestations_total", *labels)
        for labels in (
            ("success", "bring-up"),
            ("freshness", "bring-up"),
            ("success", "firmware"),
            ("success", "machine-back"),
        )
    }
    assert set(counted.values()) == {1}
    assert day.value("attestation_claims_total", "platform", "executables", "affirming") == 1


def test_a_verdict_takes_the_time_of_its_stages(story) -> None:
    story.verdict("web-001", 10, "signature")
    stages = [total_ns(story.value("attestation_duration_seconds", s)) for s in ("queue", "verify", "reply", "total")]
    assert stages == [2 * MS, 5 * MS, 6 * MS, 13 * MS]


def test_keys_are_counted_released_or_withheld_by_reason(day) -> None:
    day.control(50, records.SecretWithheld("db-001", 1, "m1", "default", "", "policy", ""))
    assert (day.value("key_releases_total", "success"), day.value("key_releases_total", "policy")) == (1, 1)


def test_a_waiting_realm_stands_under_the_filter_that_refuses_most(story) -> None:
    story.wanted("web-001", 1)
    story.control(20, records.RealmUnplaced("web-001", 1, 3, {"state": 1, "vmids": 2, "granules": 2}, {}))
    story.control(50, records.RealmPlaced("web-001", 1, "m1", 3, {}, {}, ()))
    reasons = ("new", "granules", "vmids")
    seen = [[story.value("scheduling_pending_realms", r, at_s=at_s) for r in reasons] for at_s in (15, 45, 60)]
    assert seen == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert story.value("scheduling_rejections_total", "vmids") == 2


# -- migration and firmware ------------------------------------------------------------------------------------------


def session(kind: type, *more: object) -> object:
    return kind("move-0001", "web-001", 1, "m1", "m2", *more)


def test_a_migration_is_down_from_the_source_standing_still_to_the_target_running(story) -> None:
    story.serves("m1", "web-001", 1).control(10, session(records.MigrationStarted, "", 0))
    story.still("m1", "web-001", 10.25, "migration").control(10.4, session(records.MigrationCommitted))
    story.serves("m2", "web-001", 10.5)
    story.control(11, session(records.MigrationFinished, "moved", 10 * S, 1 << 20))
    assert total_ns(story.value("migration_downtime_seconds")) == 250 * MS
    assert total_ns(story.value("migration_duration_seconds")) == S
    assert story.value("migrations_total", "moved") == 1
    assert story.value("migration_sent_bytes_total") == 1 << 20
    assert story.value("migrations_in_progress", "committed") == 0


def test_a_realm_that_stands_still_outside_a_session_is_no_migration(story) -> None:
    story.serves("m1", "web-001", 1).still("m1", "web-001", 5, "lease").serves("m1", "web-001", 8)
    value = story.value("migration_downtime_seconds")
    assert isinstance(value, Distribution)
    assert value.observations == 0


def test_an_open_session_stands_in_its_phase(story) -> None:
    story.control(1, session(records.MigrationStarted, "", 0)).control(20, session(records.MigrationAborted, ""))
    phases = ("open", "aborting")
    seen = [[story.value("migrations_in_progress", p, at_s=at_s) for p in phases] for at_s in (15, 30)]
    assert seen == [[1, 0], [0, 1]]


def test_versions_follow_boot_activation_and_loss(story) -> None:
    story.booted("m1", 1).booted("m2", 1)
    story.put("m1", 20, commands.FirmwareActivated("RMM", "1.0.1", 2, "", 5_137_000)).lost("m2", 40)
    old, new = ("RMM", "1.0.0"), ("RMM", "1.0.1")
    assert [story.value("firmware_machines", *old, at_s=at_s) for at_s in (15, 30, 45)] == [2, 1, 0]
    assert [story.value("firmware_machines", *new, at_s=at_s) for at_s in (30, 45)] == [1, 1]
    assert total_ns(story.value("activation_pause_seconds")) == 5_137_000


def test_a_rollout_is_seen_by_stage_wave_and_phase(story) -> None:
    story.control(1, rollout.RolloutStarted("rollout-1", "rmm-1.0.1", "RMM", "1.0.1", 3, 2))
    story.control(2, rollout.WaveStarted("rollout-1", 1, ("m1",), False))
    story.control(3, rollout.RolloutMachine("rollout-1", 1, "m1", "queued", "draining", ""))
    story.control(20, rollout.RolloutMachine("rollout-1", 1, "m1", "draining", "failed", ""))
    story.control(21, rollout.RolloutHeld("rollout-1", 1, 1, 0, "", 2))
    phases = ("queued", "draining", "failed")
    assert [story.value("rollout_machines", "rollout-1", p, at_s=15) for p in phases] == [2, 1, 0]
    assert [story.value("rollout_machines", "rollout-1", p) for p in phases] == [2, 0, 1]
    assert story.value("rollout_wave", "rollout-1") == 1
    stages = [story.value("rollout_stage", "rollout-1", stage) for stage in ("running", "held", "finished")]
    assert stages == [0, 1, 0]


def test_a_rollout_that_an_operator_pauses_resumes_and_aborts_is_seen_so(story) -> None:
    story.control(1, rollout.RolloutStarted("rollout-1", "rmm-1.0.1", "RMM", "1.0.1", 3, 2))
    story.control(20, rollout.RolloutPaused("rollout-1", 1, 0)).control(40, rollout.RolloutResumed("rollout-1", 1))
    story.control(50, rollout.RolloutAborted("rollout-1", 1, 0))
    stages = ("running", "paused", "aborting")
    seen = [[story.value("rollout_stage", "rollout-1", s, at_s=at_s) for s in stages] for at_s in (15, 30, 45, 60)]
    assert seen == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_activations_that_fail_are_counted_by_lfa_status(story) -> None:
    story.put("m1", 1, commands.FirmwareRefused("RMM", "LFA_PRIME", "AUTH_ERROR", ""))
    story.put("m1", 2, commands.FirmwareRefused("", "stage", "malformed-image", ""))
    assert story.value("activations_total", "RMM", "AUTH_ERROR") == 1
    assert story.value("activations_total", "other", "malformed-image") == 1


# -- chaos -----------------------------------------------------------------------------------------------------------


def test_a_fault_is_in_force_between_injection_and_healing(story) -> None:
    kind = "network.partition"
    story.control(20, FaultInjected("f", kind, ("m1", "m2"), 50 * S, peers=("control",)))
    story.control(50, FaultHealed("f", kind, ("m1", "m2"), peers=("control",)))
    assert [story.value("faults_active", kind, at_s=at_s) for at_s in (15, 30, 60)] == [0, 1, 0]
    assert [story.value("machine_fault_active", kind, "m2", at_s=at_s) for at_s in (30, 60)] == [1, 0]
    assert story.value("faults_injected_total", kind) == 1
    assert Key("realmfleet_machine_fault_active", (kind, "control")) not in story.samples().changes


def test_two_faults_of_a_kind_hold_a_machine_until_both_are_healed(story) -> None:
    kind = "network.loss"
    story.control(1, FaultInjected("f", kind, ("m1",), 0)).control(2, FaultInjected("g", kind, ("m1",), 0))
    story.control(20, FaultHealed("f", kind, ("m1",))).control(40, FaultHealed("g", kind, ("m1",)))
    assert [story.value("machine_fault_active", kind, "m1", at_s=at_s) for at_s in (15, 30, 45)] == [1, 1, 0]


def test_recovery_lasts_from_healing_until_every_wanted_realm_serves(story) -> None:
    kind = "machine.power-loss"
    story.wanted("web-001", 0).serves("m1", "web-001", 1).wanted("web-002", 0).serves("m2", "web-002", 1)
    story.control(10, FaultInjected("f", kind, ("m1", "m2"), 0)).lost("m1", 10).lost("m2", 10)
    story.control(20, FaultHealed("f", kind, ("m1", "m2")))
    story.serves("m3", "web-001", 30, 2).serves("m3", "web-002", 42, 2)
    assert total_ns(story.value("fault_recovery_seconds", kind)) == 22 * S


def test_a_fault_that_harmed_nobody_is_recovered_from_at_once(story) -> None:
    story.wanted("web-001", 0).serves("m1", "web-001", 1)
    story.control(10, FaultInjected("f", "network.delay", ("m2",), 0))
    story.control(20, FaultHealed("f", "network.delay", ("m2",)))
    value = story.value("fault_recovery_seconds", "network.delay")
    assert isinstance(value, Distribution)
    assert (value.observations, value.total) == (1, 0)


def test_skipped_faults_and_lost_messages_are_counted(story) -> None:
    story.control(1, FaultSkipped("f", "rmm.panic", "nobody"))
    for source, target in (("link:control", "m1"), ("link:m1", "control"), ("link:m1", "m2")):
        story.put(source, 2, MessageLost(target, 0))
    legs = ("from-control", "to-control", "between-machines")
    assert [story.value("messages_lost_total", leg) for leg in legs] == [1, 1, 1]
    assert story.value("faults_skipped_total", "rmm.panic") == 1


def test_verdicts_of_checkers_stand_at_the_end_only(story) -> None:
    verdicts = [Verdict("alive-once", Outcome.FAIL, ""), Verdict("recovered", Outcome.PASS, "")]
    samples = story.samples(verdicts=verdicts)
    points = {
        (key.labels, at_ns): value for key in samples.changes if "checker" in key.name
        for at_ns, value in samples.points(key)
    }  # fmt: skip
    assert points[("alive-once", "fail"), story.end_ns] == 1
    assert points[("recovered", "fail"), story.end_ns] == 0
    assert {at_ns for _, at_ns in points} == {story.end_ns}


def test_inputs_of_operators_are_counted_by_what_became_of_them(story) -> None:
    story.control(1, inputs.InputAccepted(1, "migrate-realm", ("web-001",), "moves"))
    story.control(2, inputs.InputRefused(2, "stop-realm", "unknown", "no such Realm"))
    assert story.value("operator_inputs_total", "migrate-realm", "accepted") == 1
    assert story.value("operator_inputs_total", "stop-realm", "unknown") == 1


# -- sampling --------------------------------------------------------------------------------------------------------


@dataclass
class Instants:
    end_s: float
    wanted_s: list[float]


@pytest.mark.parametrize(
    "case",
    [
        Instants(0, [0]),
        Instants(15, [0, 15]),
        Instants(40, [0, 15, 30, 40]),
        Instants(30.0005, [0, 15, 30.0005]),
        Instants(30.001, [0, 15, 30, 30.001]),
    ],
)
def test_samples_stand_at_multiples_and_at_the_end_never_twice_in_a_millisecond(case: Instants) -> None:
    assert instants(round(case.end_s * S), 15 * S) == [round(at_s * S) for at_s in case.wanted_s]


def test_a_record_at_a_sample_instant_is_in_that_sample(story) -> None:
    story.booted("m1", 15)
    assert [story.value("machine_up", "m1", at_s=at_s) for at_s in (0, 15)] == [0, 1]


def test_a_counter_born_late_has_a_zero_before_its_first_value(story) -> None:
    story.verdict("web-001", 40, "signature")
    samples = story.samples()
    points = list(samples.points(Key("realmfleet_attestations_total", ("signature", "bring-up"))))
    assert points[:2] == [(30 * S, 0), (45 * S, 1)]


def test_what_happens_after_the_end_of_the_run_is_not_in_its_metrics(story) -> None:
    story.booted("m1", 101)
    assert story.value("machine_up", "m1") == 0


def test_samples_less_than_a_second_apart_are_refused(story) -> None:
    with pytest.raises(ValueError, match="a second"):
        story.samples(every_ns=S // 2)


def test_the_order_in_which_lines_are_given_does_not_matter(day, facts) -> None:
    forward = "".join(openmetrics(collect(day.entries, facts, day.end_ns)))
    assert "".join(openmetrics(collect(list(reversed(day.entries)), facts, day.end_ns))) == forward


def test_values_at_shared_instants_do_not_depend_on_how_often_is_sampled(day) -> None:
    coarse, fine = day.samples(every_ns=30 * S), day.samples(every_ns=5 * S)
    for key in coarse.changes:
        known = dict(fine.points(key))
        assert all(known.get(at_ns, value) == value for at_ns, value in coarse.points(key)), key


@pytest.mark.parametrize("stops", [(15, 30, 45, 60), (0, 7, 15, 16, 30, 44, 45, 59, 60), (1, 15, 30, 31, 45, 60)])
def test_delivered_messages_do_not_depend_on_how_often_the_run_notes_them(stops: tuple[int, ...]) -> None:
    """Deliveries go on at three a second; every run stops at multiples of 15 s."""
    carried = Carried()
    for stop_s in stops:
        carried.note(stop_s * S, 3 * stop_s)
    assert [carried.at(at_s * S) for at_s in (0, 15, 30, 45, 60)] == [0, 45, 90, 135, 180]


def test_a_beat_that_does_not_divide_the_interval_notes_at_the_boundary_behind_it() -> None:
    carried = Carried()
    for stop_s in range(0, 50, 7):
        carried.note(stop_s * S, stop_s)
    assert [carried.at(at_s * S) for at_s in (15, 30, 45)] == [21, 35, 49]


def test_a_long_run_is_sampled_less_often_and_never_more_than_a_day_of_minutes() -> None:
    hour = 3_600 * S
    assert [sample_every(lasts_ns) for lasts_ns in (1, hour, 6 * hour)] == [15 * S] * 3
    assert [sample_every(hours * hour) for hours in (7, 24, 240)] == [30 * S, 60 * S, 600 * S]
