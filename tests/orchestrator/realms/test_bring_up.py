"""From wanted to serving, with every answer lost, late or bad once."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine.commands import Attest, DeliverSecret, Launch, Stop
from orchestrator.store import RealmState

S = 1_000_000_000


def orders(small: Any, kind: type) -> list[tuple[int, str, Any]]:
    return [
        (message.sent_ns, message.target, message.body)
        for _, step in small.watched.steps
        for message in step.messages
        if isinstance(message.body, kind)
    ]


def states(small: Any, realm: str) -> list[str]:
    return [str(record.state) for _, record in small.records("realm.state") if record.realm == realm]


def test_a_realm_goes_from_wanted_to_serving_by_a_passed_verdict_and_an_opened_secret(world: Any) -> None:
    small = world().run(3)
    way = ["wanted", "placed", "launching", "verifying", "releasing", "serving"]
    assert [states(small, f"web-00{number}") for number in (1, 2, 3)] == [way] * 3
    assert small.store.realms["web-001"].attestations == 1
    assert small.store.realms["web-001"].attested_ns == small.records("realm.verdict")[0][0]


def test_the_launch_order_carries_challenge_and_lease(world: Any) -> None:
    small = world().run(3)
    for sent_ns, machine, launch in orders(small, Launch):
        assert launch.lease_until_ns == sent_ns + 30 * S
        assert small.store.realms[launch.realm.realm].machine == machine
    assert len({launch.nonce for _, _, launch in orders(small, Launch)}) == 3


def test_a_kind_is_wanted_only_when_its_time_has_come(world: Any) -> None:
    small = world(realms={"web": {"image": "web", "memory": "16MiB", "start_at": "4s"}}).run(10)
    assert [at_ns for at_ns, _ in small.records("realm.wanted")] == [4 * S]
    assert small.store.realms["web-001"].state is RealmState.SERVING


def test_refused_evidence_costs_the_copy_and_the_next_try_goes_elsewhere(world: Any) -> None:
    small = world()
    small.fleet["r1-std-01"].tamper = True
    small.run(10)
    refused = [record for _, record in small.records("realm.verdict") if not record.passed]
    assert [(record.realm, record.machine, record.reason) for record in refused] == [
        ("web-001", "r1-std-01", "signature")
    ]
    assert [record.evidence_sha256 for _, record in small.records("secret.withheld")] == [refused[0].evidence_sha256]
    assert [body.realm for _, _, body in orders(small, Stop)] == ["web-001"]
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation) == (RealmState.SERVING, 2)
    assert realm.machine != "r1-std-01"
    assert realm.excluded == []


def test_no_secret_is_released_against_a_refused_verdict(world: Any) -> None:
    small = world()
    for machine in small.fleet.values():
        machine.tamper = True
    small.run(60)
    assert small.records("secret.released") == []
    assert orders(small, DeliverSecret) == []


def test_when_no_attempt_is_left_the_realm_has_failed_and_says_why(world: Any) -> None:
    small = world(attestation={"retries": 1})
    for machine in small.fleet.values():
        machine.tamper = True
    small.run(60)
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation, realm.machine) == (RealmState.FAILED, 2, "")
    assert realm.failure.startswith("signature: ")
    assert states(small, "web-001")[-2:] == ["replacing", "failed"]


def test_with_one_machine_only_the_next_attempt_goes_there_again_after_a_while(world: Any) -> None:
    small = world(racks={"r1": {"machines": {"std": 1}}}, realms={"web": {"image": "web", "memory": "16MiB"}})
    small.fleet["r1-std-01"].tamper = True
    small.run(5)
    assert small.store.realms["web-001"].state is RealmState.WANTED
    small.fleet["r1-std-01"].tamper = False
    small.run(30)
    assert small.store.realms["web-001"].state is RealmState.SERVING


def test_a_machine_that_refuses_to_build_is_passed_over(world: Any) -> None:
    small = world()
    small.fleet["r1-std-01"].refuse["launch"] = ["no-vmids"]
    small.run(5)
    assert [record.code for _, record in small.records("order.refused")] == ["no-vmids"]
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}
    assert small.store.realms["web-001"].machine != "r1-std-01"
    assert small.store.realms["web-001"].refusals == 0


def test_a_launch_whose_order_was_lost_is_ordered_again(world: Any) -> None:
    small = world()
    small.deafen("r1-std-01", 0.05, 1)
    small.run(30)
    sent = [at_ns for at_ns, machine, _ in orders(small, Launch) if machine == "r1-std-01"]
    assert len(sent) <= 2
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}


def test_evidence_that_was_lost_on_the_way_is_asked_for_again_and_nothing_is_built_twice(world: Any) -> None:
    small = world()
    small.silence("r1-std-01", 0.1005, 0.15)
    small.run(40)
    here = [body for _, machine, body in orders(small, Launch) if machine == "r1-std-01"]
    assert [body.realm.incarnation for body in here] == [1, 1]
    assert here[0].nonce == here[1].nonce
    asked = [body for _, machine, body in orders(small, Attest) if machine == "r1-std-01"]
    assert [body.nonce for body in asked] == [here[0].nonce]
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation, realm.machine) == (RealmState.SERVING, 1, "r1-std-01")
    assert small.doubles() == []


def test_a_secret_whose_answer_was_lost_is_believed_from_the_heartbeat(world: Any) -> None:
    small = world()
    small.silence("r1-std-01", 0.11, 0.5)
    small.run(1)
    assert small.store.realms["web-001"].state is RealmState.RELEASING
    small.run(3)
    assert small.store.realms["web-001"].state is RealmState.SERVING


def test_a_host_that_pauses_the_realm_is_asked_again_later_and_not_given_up(world: Any) -> None:
    small = world()
    small.fleet["r1-std-01"].refuse["deliver-secret"] = ["realm-paused"]
    small.run(40)
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation) == (RealmState.SERVING, 1)


def test_a_secret_that_the_realm_cannot_open_costs_the_copy(world: Any) -> None:
    small = world()
    small.fleet["r1-std-01"].refuse["deliver-secret"] = ["secret-not-opened"]
    small.run(10)
    realm = small.store.realms["web-001"]
    assert (realm.state, realm.incarnation) == (RealmState.SERVING, 2)


def test_a_realm_that_fits_nowhere_waits_with_reasons_and_comes_up_when_there_is_room(world: Any) -> None:
    web = {"image": "web", "memory": "200MiB", "count": 5}
    small = world(realms={"web": web}, events=[{"kind": "stop", "at": "10s", "realm": "web-001"}]).run(8)
    waiting = [realm.name for realm in small.store.realms.values() if realm.state is RealmState.WANTED]
    assert len(waiting) == 1
    unplaced = [record for _, record in small.records("realm.unplaced") if record.realm == waiting[0]]
    assert unplaced[-1].refused == {"granules": 4}
    assert len(unplaced) <= 2
    small.run(20)
    assert small.store.realms[waiting[0]].state is RealmState.SERVING
    assert small.store.realms["web-001"].state is RealmState.STOPPED


@pytest.mark.parametrize("at", ["50ms", "150ms", "250ms", "5s"])
def test_a_stop_ends_a_realm_for_good_in_whatever_state_it_finds_it(world: Any, at: str) -> None:
    small = world(events=[{"kind": "stop", "at": at, "realm": "web-001"}]).run(60)
    assert small.store.realms["web-001"].state is RealmState.STOPPED
    assert all("web-001" not in machine.copies for machine in small.fleet.values())
    assert small.store.machines["r1-std-01"].demand_ppm in (0, 200_000)
