"""Recovery: nothing runs twice, nothing stays down, and what comes back uncalled for is stopped."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine.commands import Launch, Stop
from orchestrator.store import RealmState

S = 1_000_000_000


def sent(small: Any, kind: type) -> list[tuple[int, str, Any]]:
    return [
        (message.sent_ns, message.target, message.body)
        for _, step in small.watched.steps
        for message in step.messages
        if isinstance(message.body, kind)
    ]


def test_realms_of_a_dead_machine_are_restarted_as_new_incarnations_and_attested_before_they_serve(
    world: Any,
) -> None:
    small = world()
    small.power_loss("r1-std-01", 5, 300)
    small.run(60)
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation, realm.restarts) == (RealmState.SERVING, 2, 1)
    restart_ns = small.records("realm.restart")[0][0]
    verdict = [r for _, r in small.records("realm.verdict") if r.realm == "web-001" and r.incarnation == 2]
    serving = [
        at for at, r in small.records("realm.state") if (r.realm, r.incarnation, r.state) == ("web-001", 2, "serving")
    ]
    assert verdict[0].passed
    assert restart_ns < verdict[0].replied_ns < serving[0]


def test_a_realm_is_restarted_elsewhere_only_a_margin_after_its_last_lease(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 200)
    small.run(100)
    at_ns, restart = small.records("realm.restart")[0]
    relaunched = [sent_ns for sent_ns, _, body in sent(small, Launch) if body.realm.incarnation == 2]
    assert relaunched[0] >= at_ns >= restart.lease_until_ns + 2 * S
    stretches = [stretch for stretch in small.executions() if stretch[0] == "web-001"]
    assert [stretch[4] for stretch in stretches] == [1, 2]
    assert stretches[0][2] <= restart.lease_until_ns
    assert small.doubles() == []


def test_a_confirmed_reboot_needs_no_waiting_for_leases(world: Any) -> None:
    small = world()
    small.power_loss("r1-std-01", 5, 1)
    small.run(60)
    (at_ns, restart), (back_ns, back) = small.records("realm.restart")[0], small.records("machine.back")[0]
    assert (restart.why, back.rebooted) == ("rebooted", True)
    assert at_ns == back_ns < restart.lease_until_ns
    assert small.doubles() == []


def test_the_old_incarnation_that_a_healed_partition_brings_back_is_stopped(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 60)
    small.run(80)
    stray = small.records("realm.stray")
    assert [(r.machine, r.realm, r.incarnation, r.believed_incarnation) for _, r in stray] == [
        ("r1-std-01", "web-001", 1, 2)
    ]
    assert [(machine, body.incarnation) for _, machine, body in sent(small, Stop)] == [("r1-std-01", 1)]
    assert "web-001" not in small.fleet["r1-std-01"].copies
    assert small.store.realms["web-001"].incarnation == 2


def test_realms_of_a_machine_that_was_only_silent_are_attested_anew_when_it_is_back(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 20)
    small.run(40)
    whys = [record.why for _, record in small.records("realm.verdict") if record.realm == "web-001"]
    assert whys == ["bring-up", "machine back"]
    assert small.store.realms["web-001"].attestations == 2


def test_fresh_evidence_that_is_refused_costs_a_running_realm_its_copy(world: Any) -> None:
    small = world().run(5)
    small.fleet["r1-std-01"].tamper = True
    small.store.request_attestation("web-001", "audit")
    small.run(20)
    refused = [record for _, record in small.records("realm.verdict") if not record.passed]
    assert [(record.realm, record.why) for record in refused] == [("web-001", "audit")]
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation) == (RealmState.SERVING, 2)
    assert realm.machine != "r1-std-01"


def test_a_copy_that_its_host_no_longer_lists_is_wanted_again(world: Any) -> None:
    small = world().run(5)
    small.fleet["r1-std-01"].copies.clear()
    small.run(10)
    assert [record.why for _, record in small.records("realm.restart")] == ["the host no longer has it"]
    assert small.store.realms["web-001"].state is RealmState.SERVING


def test_a_copy_that_is_paused_for_a_session_nobody_knows_is_replaced(world: Any) -> None:
    small = world().run(5)
    copy = small.fleet["r1-std-01"].copies["web-001"]
    small.fleet["r1-std-01"].end(copy, 5 * S)
    copy.state = "leaving"
    small.run(10)
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation) == (RealmState.SERVING, 2)
    assert small.doubles() == []


def test_a_machine_that_reboots_while_it_builds_is_told_to_build_the_same_copy_again(world: Any) -> None:
    small = world()
    small.power_loss("r1-std-01", 0.1001, 0.05)
    small.run(60)
    launches = [
        (machine, body.realm.incarnation) for _, machine, body in sent(small, Launch) if body.realm.realm == "web-001"
    ]
    assert launches == [("r1-std-01", 1), ("r1-std-01", 1)]
    assert small.store.realms["web-001"].state is RealmState.SERVING
    assert small.doubles() == []


@pytest.mark.parametrize("way", ["cut", "deafen", "silence"])
@pytest.mark.parametrize("length", [3, 10, 25, 45, 70])
def test_however_a_link_fails_no_realm_runs_twice_and_all_serve_in_the_end(world: Any, way: str, length: int) -> None:
    small = world()
    getattr(small, way)("r1-std-01", 5.05, 5.05 + length)
    small.run(150)
    assert small.doubles() == []
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}
    copies = sorted(name for machine in small.fleet.values() for name in machine.copies)
    assert copies == ["web-001", "web-002", "web-003"]
