"""The summary of a trace, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cca_machine.commands import FaultKind, FirmwareActivated, FirmwareRefused, MachineBooted, MachineLost
from orchestrator.chaos.records import FaultInjected
from orchestrator.firmware.records import (
    RolloutFinished,
    RolloutHeld,
    RolloutMachine,
    RolloutStarted,
    RolloutWaiting,
    WaveStarted,
)
from orchestrator.records import MachineAdmitted, MachineDistrusted, MigrationFinished, RealmVerdict
from orchestrator.report.summary import Attestations, Availability, Spread, spread, summarise

S, MS, US = 1_000_000_000, 1_000_000, 1_000


@pytest.mark.parametrize(
    ("durations_ns", "expected"),
    [
        ([], Spread(0, 0.0, 0.0, 0.0, 0.0)),
        ([7 * MS], Spread(1, 7.0, 7.0, 7.0, 7.0)),
        ([4 * MS, 1 * MS, 3 * MS, 2 * MS], Spread(4, 2.0, 4.0, 4.0, 10.0)),
        ([n * MS for n in range(1, 101)], Spread(100, 50.0, 99.0, 100.0, 5050.0)),
        ([n * MS for n in range(1, 201)], Spread(200, 100.0, 198.0, 200.0, 20100.0)),
        ([1_234_567], Spread(1, 1.235, 1.235, 1.235, 1.235)),
    ],
)
def test_spreads_are_by_nearest_rank(durations_ns: list[int], expected: Spread) -> None:
    assert spread(durations_ns) == expected


def verdict(realm: str, *, passed: bool) -> RealmVerdict:
    return RealmVerdict(realm, 1, "m1", passed, "bring-up", "", "", "d", "00", {}, 0, 0, 0, 0)


def test_counts_are_those_of_the_trace(script: Any) -> None:
    for machine in ("m1", "m2", "m3"):
        script.put(machine, 0, MachineBooted(1, {}))
    script.put("m1", 50, MachineBooted(2, {}))
    script.control(1, MachineAdmitted("m1", 1, True, {}, "d", 0, 0))
    script.control(1, MachineAdmitted("m2", 1, False, {}, "", 0, 0))
    script.control(1, MachineDistrusted("m3", 1, "claims", "old"))
    script.control(2, verdict("a", passed=True)).control(2, verdict("b", passed=True))
    script.control(3, verdict("a", passed=False))
    script.control(4, FaultInjected("f1", "rmm.panic", ("m1",), 9 * S))
    script.control(5, FaultInjected("f2", "rmm.panic", ("m2",), 9 * S))
    script.control(6, FaultInjected("f3", "network.loss", ("m1",), 9 * S))
    for outcome in ("moved", "moved", "resumed"):
        script.control(7, MigrationFinished("s", "a", 1, "m1", "m2", outcome, 0))
    script.put("m1", 8, FirmwareActivated("RMM", "1.1.0", 1, "aa", 40 * MS))
    script.put("m2", 8, FirmwareActivated("RMM", "1.1.0", 1, "aa", 60 * MS))
    script.put("m3", 8, FirmwareRefused("RMM", "LFA_PRIME", "AUTH_ERROR", ""))
    told = summarise(script.entries, script.facts)
    assert told.machines == 3
    assert told.attestations == Attestations(2, 1)
    assert told.platform_attestations == Attestations(1, 1)
    assert (told.faults, told.faults_by_kind) == (3, {"network.loss": 1, "rmm.panic": 2})
    assert (told.migrations, told.migrations_failed) == (2, 1)
    assert (told.activations, told.activations_refused) == (2, 1)
    assert told.activation_pause == Spread(2, 40.0, 60.0, 60.0, 100.0)


def test_availability_is_served_over_wanted_time_rounded_down(script: Any) -> None:
    script.wanted("a", 0).wanted("b", 0).wanted("c", 40)
    script.serves("m1", "a", 1).serves("m1", "b", 2)
    script.still("m1", "b", 50, "lease-ended").serves("m2", "b", 57, incarnation=2)
    told = summarise(script.entries, script.facts)
    # a serves 99 s of 100 s, b 98 - 7 = 91 s of 100 s, c nothing of 60 s: 190 of 260
    assert told.availability == Availability(730_769, "73.0769", 260 * S, 190 * S)
    assert (told.realms_wanted, told.realms_running) == (3, 2)
    assert told.downtime == Spread(1, 7000.0, 7000.0, 7000.0, 7000.0)
    assert told.downtime_by_cause == {"lease": Spread(1, 7000.0, 7000.0, 7000.0, 7000.0)}
    assert told.bring_up == Spread(3, 2000.0, 60000.0, 60000.0, 63000.0)
    assert [(gap.realm, gap.at_s, gap.duration_ms) for gap in told.downtime_longest] == [("b", 50.0, 7000.0)]


def test_a_run_in_which_nothing_is_wanted_has_no_availability(script: Any) -> None:
    assert summarise([], script.facts).availability == Availability(None, "", 0, 0)


def test_requests_are_the_last_count_of_every_copy(script: Any) -> None:
    script.still("m1", "a", 10, "lease", served=100).still("m1", "a", 20, "lease", served=250)
    script.still("m2", "a", 30, "migration", served=7).still("m2", "a", 40, "stop", served=1, incarnation=2)
    assert summarise(script.entries, script.facts).requests_served == 258


def test_the_reset_of_a_machine_whose_rmm_had_failed_is_no_second_loss(script: Any) -> None:
    for at_s, machine, why in ((1, "m1", "rmm.panic"), (5, "m1", "rmm.panic"), (2, "m2", "machine.power-loss")):
        script.put(machine, at_s, MachineLost(FaultKind(why), ()))
    script.put("m1", 6, MachineBooted(2, {})).put("m1", 9, MachineLost(FaultKind.POWER_LOSS, ()))
    assert summarise(script.entries, script.facts).machines_lost == 3


def test_rollouts_are_told_with_their_end_and_their_reason(script: Any) -> None:
    script.control(10, RolloutStarted("rollout-1", "good", "RMM", "1.1.0", 2, 2))
    script.control(20, RolloutStarted("rollout-2", "bad", "RMM", "1.2.0", 2, 2))
    script.control(30, RolloutStarted("rollout-3", "slow", "RMM", "1.3.0", 2, 2))
    script.control(10, WaveStarted("rollout-1", 1, ("m1",), False)).control(
        11, WaveStarted("rollout-1", 2, ("m2",), False)
    )
    for machine, phase in (("m1", "draining"), ("m2", "done"), ("m1", "done")):
        script.control(12, RolloutMachine("rollout-1", 1, machine, "", phase, ""))
    script.control(21, RolloutMachine("rollout-2", 1, "m1", "priming", "failed", "AUTH_ERROR"))
    script.control(34.5, RolloutFinished("rollout-1", 2, 0, 0, 0))
    script.control(22, RolloutHeld("rollout-2", 1, 1, 0, "m1: AUTH_ERROR", 1))
    script.control(40, RolloutWaiting("rollout-3", ("m1",)))
    told = [msgspec.structs.astuple(rollout) for rollout in summarise(script.entries, script.facts).rollouts]
    assert told == [
        ("rollout-1", "good", "finished", 24.5, 2, 2, 0, ""),
        ("rollout-2", "bad", "held", 2.0, 0, 0, 1, "m1: AUTH_ERROR"),
        ("rollout-3", "slow", "waiting", None, 0, 0, 0, ""),
    ]


def test_the_summary_is_plain_json(script: Any) -> None:
    told = msgspec.json.decode(msgspec.json.encode(summarise(script.wanted("a", 0).entries, script.facts)))
    assert told["attestations"] == {"passed": 0, "refused": 0}
    assert told["realms_running"] == 0
