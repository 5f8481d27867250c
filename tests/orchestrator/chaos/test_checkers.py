"""Each checker passes a good trace and finds a violation planted in it."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine.commands import (
    FaultKind,
    FirmwareActivated,
    MachineBooted,
    MachineFrozen,
    MachineLost,
    MachineThawed,
    RealmDestroyed,
)
from orchestrator.chaos.catalogue import CATALOGUE
from orchestrator.chaos.checkers import CHECKERS, judge, worst
from orchestrator.chaos.verdict import SAMPLES, Facts, Outcome, Verdict
from orchestrator.firmware.records import RolloutFinished, RolloutStarted, WaveFinished, WaveStarted
from orchestrator.records import RealmChanged

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
S = 1_000_000_000


def good_run(tape: Any) -> Any:
    """Two Realms come up; one machine loses power and its Realm returns elsewhere as incarnation 2."""
    tape.wanted("a", 1).wanted("b", 1)
    tape.bring_up("m1", "a", 1).bring_up("m2", "b", 1)
    tape.fault("machine.power-loss", ("m1",), 60, 90)
    tape.put("m1", 60, MachineLost(FaultKind.POWER_LOSS, (("a", 1),)))
    tape.put("m1", 90, MachineBooted(2, {}))
    return tape.bring_up("m2", "a", 95, incarnation=2)


@pytest.mark.parametrize("checker", sorted(CHECKERS))
def test_a_good_run_passes(tape: Any, checker: str) -> None:
    verdict = good_run(tape).judge(checker)
    assert (verdict.name, verdict.outcome, verdict.evidence) == (checker, PASS, ())


def test_every_checker_at_stake_in_the_catalogue_exists() -> None:
    assert {name for facts in CATALOGUE.values() for name in facts.at_stake} <= set(CHECKERS)


def test_an_unknown_checker_is_refused(tape: Any) -> None:
    with pytest.raises(KeyError):
        tape.judge("alive-twice")


def test_the_worst_of_verdicts_is_fail_before_unknown_before_pass() -> None:
    verdicts = [Verdict("x", outcome, "") for outcome in (PASS, UNKNOWN, FAIL)]
    assert [worst(verdicts[:count]) for count in range(4)] == [PASS, PASS, UNKNOWN, FAIL]


# -- alive-once --------------------------------------------------------------------------------------------------------


def test_two_copies_at_one_instant_are_found_across_incarnations(tape: Any) -> None:
    verdict = tape.live("m1", "a", 1).live("m2", "a", 5, incarnation=2).still("m1", "a", 6).judge("alive-once")
    assert verdict.outcome is FAIL
    assert "a#2 runs on m2 from 00:00:05.000 while a#1 still runs on m1" in verdict.detail
    assert [line.at_ns for line in verdict.evidence] == [1 * S, 5 * S, 6 * S]


def test_a_copy_hidden_by_a_shorter_one_is_found(tape: Any) -> None:
    tape.live("m1", "a", 1).live("m2", "a", 2, incarnation=2).still("m2", "a", 3, incarnation=2)
    tape.live("m3", "a", 4, incarnation=3)
    assert "(and 1 more)" in tape.judge("alive-once").detail


def test_the_source_may_stop_at_the_very_instant_at_which_the_target_starts(tape: Any) -> None:
    tape.live("m1", "a", 1).still("m1", "a", 5, why="migration").live("m2", "a", 5)
    assert tape.judge("alive-once").outcome is PASS


def test_a_thawed_copy_beside_the_restarted_one_is_found(tape: Any) -> None:
    tape.live("m1", "a", 1).put("m1", 2, MachineFrozen((("a", 1),)))
    tape.live("m2", "a", 50, incarnation=2)
    assert tape.judge("alive-once").outcome is PASS
    assert tape.put("m1", 60, MachineThawed((("a", 1),))).judge("alive-once").outcome is FAIL


# -- attestation -------------------------------------------------------------------------------------------------------


def test_serving_without_a_passed_verdict_is_found(tape: Any) -> None:
    tape.evidence("m1", "a", 1, "d").verdict("m1", "a", 2, "d", reason="signature").live("m1", "a", 3)
    verdict = tape.judge("attested-before-serving")
    assert (verdict.outcome, verdict.evidence[0].kind) == (FAIL, "realm.live")


def test_serving_on_the_verdict_of_an_earlier_incarnation_is_found(tape: Any) -> None:
    tape.bring_up("m1", "a", 1).still("m1", "a", 9).live("m2", "a", 10, incarnation=2)
    assert "a#2" in tape.judge("attested-before-serving").detail


def test_serving_without_a_secret_is_found(tape: Any) -> None:
    tape.verdict("m1", "a", 2, "d").live("m1", "a", 3)
    assert "no secret" in tape.judge("attested-before-serving").detail


def test_running_unproven_without_serving_is_no_violation(tape: Any) -> None:
    assert tape.live("m1", "a", 3, serving=False).judge("attested-before-serving").outcome is PASS


def moved(tape: Any) -> Any:
    return tape.bring_up("m1", "a", 1).still("m1", "a", 100, why="migration").live("m2", "a", 101)


def test_a_moved_realm_must_attest_from_its_new_machine_in_time(tape: Any) -> None:
    assert moved(tape).judge("attested-before-serving").outcome is FAIL
    tape.verdict("m1", "a", 110, "late answer from the old machine")
    assert tape.judge("attested-before-serving").outcome is FAIL
    tape.verdict("m2", "a", 130.9, "new")
    assert tape.judge("attested-before-serving").outcome is PASS


def test_a_moved_realm_that_attests_late_is_found(tape: Any) -> None:
    assert moved(tape).verdict("m2", "a", 132, "new").judge("attested-before-serving").outcome is FAIL


def test_a_move_just_before_the_end_is_unknown(tape: Any) -> None:
    assert moved(tape).judge("attested-before-serving", end_ns=120 * S).outcome is UNKNOWN


def test_a_verdict_over_a_token_that_nobody_made_is_found(tape: Any) -> None:
    tape.evidence("m1", "a", 1, "made").verdict("m1", "a", 2, "tampered")
    assert "no Realm made" in tape.judge("evidence-genuine").detail


def test_a_verdict_over_the_token_of_another_realm_is_found(tape: Any) -> None:
    tape.evidence("m1", "b", 1, "d").verdict("m1", "a", 2, "d")
    assert "evidence of b#1" in tape.judge("evidence-genuine").detail


def test_a_second_verdict_over_the_same_token_is_found(tape: Any) -> None:
    tape.evidence("m1", "a", 1, "d").verdict("m1", "a", 2, "d").verdict("m1", "a", 9, "d")
    assert "served before" in tape.judge("evidence-genuine").detail


def test_a_refused_verdict_over_a_strange_token_is_as_it_should_be(tape: Any) -> None:
    tape.evidence("m1", "a", 1, "made").verdict("m1", "a", 2, "tampered", reason="signature")
    assert tape.judge("evidence-genuine").outcome is PASS


def test_a_secret_against_a_refused_verdict_is_found(tape: Any) -> None:
    tape.verdict("m1", "a", 1, "good").verdict("m1", "a", 2, "bad", reason="stale").released("m1", "a", 3, "bad")
    verdict = tape.judge("no-secret-after-refusal")
    assert (verdict.outcome, [line.kind for line in verdict.evidence]) == (FAIL, ["realm.verdict", "secret.released"])


def test_a_secret_on_the_verdict_of_other_evidence_is_found(tape: Any) -> None:
    tape.verdict("m1", "a", 1, "good").released("m1", "a", 3, "other")
    assert "without a verdict" in tape.judge("no-secret-after-refusal").detail


# -- granules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (((0x1_0000, 4),), FAIL),  # the same
        (((0x1_3000, 9),), FAIL),  # the last granule of the first
        (((0xF000, 2),), FAIL),  # the first granule of the first
        (((0x0, 0x100),), FAIL),  # all around it
        (((0x1_4000, 4), (0xC000, 4)), PASS),  # on both sides
    ],
)
def test_granules_of_two_realms_must_be_apart(tape: Any, second: Any, outcome: Outcome) -> None:
    tape.built("m1", "a", 1, granules=((0x1_0000, 4),)).built("m1", "b", 2, granules=second)
    assert tape.judge("granule-exclusive").outcome is outcome


def test_granules_are_free_again_after_destruction_or_loss_and_apart_per_machine(tape: Any) -> None:
    same = ((0x1_0000, 4),)
    tape.built("m1", "a", 1, granules=same).built("m2", "b", 1, granules=same)
    tape.put("m1", 2, RealmDestroyed("a", 1, same)).built("m1", "c", 3, granules=same)
    tape.put("m1", 4, MachineLost(FaultKind.RMM_PANIC, (("c", 1),))).built("m1", "d", 5, granules=same)
    assert tape.judge("granule-exclusive").outcome is PASS
    assert tape.built("m1", "e", 6, granules=same).judge("granule-exclusive").outcome is FAIL


# -- leases ------------------------------------------------------------------------------------------------------------


def cut(tape: Any, **more: Any) -> Any:
    return tape.live("m1", "a", 1).fault("network.partition", ("m1",), 100, 200, peers=("control",), **more)


def test_a_realm_that_outlives_its_lease_behind_a_cut_is_found(tape: Any) -> None:
    assert cut(tape).still("m1", "a", 131).judge("lease-respected").outcome is FAIL


def test_a_realm_that_stops_when_its_last_lease_ends_passes(tape: Any) -> None:
    assert cut(tape).still("m1", "a", 130).judge("lease-respected").outcome is PASS


def test_a_cut_that_heals_within_the_lease_is_no_matter(tape: Any) -> None:
    tape.live("m1", "a", 1).fault("network.partition", ("control",), 100, 129, peers=("m1", "m2"))
    assert tape.judge("lease-respected").outcome is PASS


@pytest.mark.parametrize(("one_way", "outcome"), [(True, PASS), (False, FAIL)])
def test_a_cut_of_the_way_home_alone_lets_renewals_through(tape: Any, one_way: bool, outcome: Outcome) -> None:
    assert cut(tape, one_way=one_way).judge("lease-respected").outcome is outcome


def test_a_partition_among_machines_cuts_nobody_off(tape: Any) -> None:
    tape.live("m1", "a", 1).fault("network.partition", ("m1",), 100, 200, peers=("m2",))
    assert tape.judge("lease-respected").outcome is PASS


def test_leases_that_are_turned_off_cannot_be_judged(tape: Any) -> None:
    assert cut(tape).judge("lease-respected", leases=False).outcome is UNKNOWN


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_a_realm_that_does_not_come_back_within_the_bound_is_found(tape: Any) -> None:
    tape.wanted("a", 1).bring_up("m1", "a", 1).fault("machine.power-loss", ("m1",), 60, 90)
    tape.put("m1", 60, MachineLost(FaultKind.POWER_LOSS, (("a", 1),)))
    verdict = tape.judge("recovered")
    assert verdict.outcome is FAIL
    assert "1 of 1 wanted Realms do not serve, a first, at 00:03:00.000" in verdict.detail


def test_a_realm_that_comes_back_after_the_bound_is_too_late(tape: Any) -> None:
    tape.wanted("a", 1).fault("machine.power-loss", ("m1",), 60, 90).bring_up("m2", "a", 181)
    assert tape.judge("recovered").outcome is FAIL


def test_a_realm_that_runs_without_serving_has_not_recovered(tape: Any) -> None:
    assert tape.wanted("a", 1).live("m1", "a", 2, serving=False).judge("recovered").outcome is FAIL


def test_a_short_planned_pause_at_the_deadline_is_no_failure(tape: Any) -> None:
    tape.wanted("a", 1).live("m1", "a", 2).still("m1", "a", 90.95, why="activation").live("m1", "a", 91.05)
    assert tape.judge("recovered").outcome is PASS


def test_a_run_that_ends_before_the_bound_is_unknown_unless_all_serve(tape: Any) -> None:
    tape.wanted("a", 1).wanted("b", 1).fault("machine.power-loss", ("m1",), 60, 90).live("m2", "a", 95)
    assert tape.judge("recovered", end_ns=100 * S).outcome is UNKNOWN
    assert tape.live("m2", "b", 96).judge("recovered", end_ns=100 * S).outcome is PASS


def test_a_fault_in_force_at_the_end_leaves_recovery_unknown(tape: Any) -> None:
    tape.wanted("a", 1).live("m1", "a", 2).fault("network.loss", ("m1",), 60, 700, peers=("control",))
    assert tape.judge("recovered").outcome is UNKNOWN


def test_a_realm_stopped_for_good_is_not_missed(tape: Any) -> None:
    tape.wanted("a", 1).live("m1", "a", 2).still("m1", "a", 50)
    tape.control(50, RealmChanged("a", 1, "m1", "serving", "stopping", "operator"))
    assert tape.judge("recovered").outcome is PASS


# -- firmware ----------------------------------------------------------------------------------------------------------


def activated(version: str, security: int, signer: str = "aa") -> FirmwareActivated:
    return FirmwareActivated("RMM", version, security, signer, 1000)


def test_a_falling_security_version_is_found_across_boots(tape: Any) -> None:
    tape.put("m1", 1, activated("1.2.0", 2)).put("m2", 2, activated("1.1.0", 1)).put("m1", 3, MachineBooted(2, {}))
    assert tape.judge("firmware-monotonic").outcome is PASS
    verdict = tape.put("m1", 4, activated("1.1.0", 1)).judge("firmware-monotonic")
    assert verdict.outcome is FAIL
    assert "from 2 to 1" in verdict.detail


@pytest.mark.parametrize("signer", ["", "bb"])
def test_firmware_that_no_accepted_signer_signed_is_found(tape: Any, signer: str) -> None:
    assert tape.put("m1", 1, activated("1.1.0", 1, signer)).judge("firmware-monotonic").outcome is FAIL


def rollout(tape: Any) -> Any:
    tape.control(10, RolloutStarted("r", "next", "RMM", "1.1.0", 3, 2))
    tape.control(10, WaveStarted("r", 1, ("m1",), False)).put("m1", 11, activated("1.1.0", 1))
    return tape


def test_a_rollout_in_waves_passes_and_ends(tape: Any) -> None:
    rollout(tape).control(20, WaveFinished("r", 1, 1, 0, 0)).control(20, WaveStarted("r", 2, ("m2", "m3"), False))
    tape.put("m2", 21, activated("1.1.0", 1)).put("m3", 21, activated("1.1.0", 1))
    tape.control(30, WaveFinished("r", 2, 2, 0, 0)).control(30, RolloutFinished("r", 3, 0, 0, 0))
    tape.put("m9", 40, activated("1.1.0", 1))
    assert tape.judge("rollout-canary").outcome is PASS


def test_a_machine_that_activates_before_its_wave_is_found(tape: Any) -> None:
    verdict = rollout(tape).put("m2", 12, activated("1.1.0", 1)).judge("rollout-canary")
    assert (verdict.outcome, verdict.evidence[-1].source) == (FAIL, "m2")


def test_a_wave_that_does_not_wait_for_the_one_before_is_found(tape: Any) -> None:
    assert rollout(tape).control(12, WaveStarted("r", 2, ("m2",), False)).judge("rollout-canary").outcome is FAIL


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_a_verdict_counts_all_violations_and_quotes_few_lines(tape: Any) -> None:
    for number in range(50):
        tape.live("m1", f"r{number}", 1)
    (verdict,) = judge(tape.entries, Facts(600 * S, 30 * S, True, 90 * S), ["attested-before-serving"])
    assert "(and 49 more)" in verdict.detail
    assert len(verdict.evidence) == SAMPLES
