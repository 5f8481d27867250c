"""Heartbeats and what silence means: suspicion, then the end of leases, then loss; a boot or a dead RMM at once."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine.commands import Booted, Heartbeat, RealmStatus, RenewLeases
from orchestrator.engine.ports import Delivery, Message, Priority
from orchestrator.store import MachineState, RealmState

S = 1_000_000_000
LEASE, MARGIN, SUSPECT_AFTER = 30 * S, 2 * S, 7 * S


def renewals(small: Any, machine: str) -> list[tuple[int, RenewLeases]]:
    return [
        (message.sent_ns, message.body)
        for _, step in small.watched.steps
        for message in step.messages
        if message.target == machine and isinstance(message.body, RenewLeases)
    ]


def test_machines_are_admitted_when_their_platform_token_is_verified(world: Any) -> None:
    small = world().run(1)
    assert {machine.state for machine in small.store.machines.values()} == {MachineState.ADMITTED}
    for machine in small.store.machines.values():
        assert machine.rak == small.fleet[machine.name].rak.public.cose_key()
    assert all(record.vouched for _, record in small.records("machine.admitted"))


def test_a_machine_whose_firmware_nobody_endorsed_gets_no_realm(world: Any) -> None:
    rmm = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
    releases = {"base": {"endorsed": False, "components": {"RMM": rmm}}}
    small = world(firmware={"releases": releases}).run(10)
    assert {machine.state for machine in small.store.machines.values()} == {MachineState.REFUSED}
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.WANTED}
    assert all("executables" in record.why for _, record in small.records("machine.distrusted"))


def test_a_platform_token_that_vouches_for_another_rak_is_refused(world: Any) -> None:
    small = world()
    honest, liar = small.fleet["r1-std-01"], small.fleet["r1-std-02"]
    at_ns, number, target, booted, answers, size = liar.outbox[0]
    stolen = Booted(1, booted.platform_token, honest.rak.public.cose_key(), booted.versions)
    liar.outbox[0] = (at_ns, number, target, stolen, answers, size)
    small.run(1)
    assert small.store.machines["r1-std-02"].state is MachineState.REFUSED
    assert [record.reason for _, record in small.records("machine.distrusted")] == ["binding"]


def test_leases_are_renewed_with_every_heartbeat_and_end_a_lease_after_it_was_sent(world: Any) -> None:
    small = world().run(10)
    holder = small.store.realms["web-001"].machine
    carried = [(sent_ns, body) for sent_ns, body in renewals(small, holder) if sent_ns >= S]
    assert [sent_ns for sent_ns, _ in carried] == [2 * S, 4 * S, 6 * S, 8 * S]
    assert all(body.leases == (("web-001", 1),) and body.until_ns == sent_ns + LEASE for sent_ns, body in carried)


def test_a_silent_machine_is_suspect_after_the_set_time_and_down_only_after_its_last_lease(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 200)
    small.run(100)
    (suspect_ns, suspect), (down_ns, down) = small.records("machine.suspect")[0], small.records("machine.down")[0]
    assert suspect.last_heard_ns + SUSPECT_AFTER <= suspect_ns < suspect.last_heard_ns + SUSPECT_AFTER + S // 10
    last_grant = max(body.until_ns for _, body in renewals(small, "r1-std-01") if body.leases)
    assert down.lease_until_ns == last_grant
    assert last_grant + MARGIN <= down_ns < last_grant + MARGIN + S // 10


def test_a_suspect_machine_is_still_asked_but_gets_no_more_lease(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 200)
    small.run(60)
    suspect_ns = small.records("machine.suspect")[0][0]
    asked = [body for sent_ns, body in renewals(small, "r1-std-01") if sent_ns >= suspect_ns]
    assert len(asked) > 10
    assert all(body.leases == () for body in asked)


def test_a_short_silence_costs_suspicion_and_nothing_else(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 20)
    small.run(60)
    assert small.records("realm.restart") == []
    assert small.store.machines["r1-std-01"].state is MachineState.ADMITTED
    assert [(record.was, record.rebooted) for _, record in small.records("machine.back")] == [("suspect", False)]


def test_a_reboot_is_noticed_from_the_heartbeat_when_its_boot_message_was_lost(world: Any) -> None:
    small = world()
    small.power_loss("r1-std-01", 5, 1)
    small.silence("r1-std-01", 25.9, 26.2)
    small.run(40)
    machine = small.store.machines["r1-std-01"]
    assert (machine.state, machine.boot) == (MachineState.ADMITTED, 2)
    assert ("r1-std-01", 2, False) in [(r.machine, r.boot, r.vouched) for _, r in small.records("machine.admitted")]
    assert [record.why for _, record in small.records("realm.restart")] == ["rebooted"]


def test_a_host_that_reports_a_dead_rmm_loses_its_realms_at_once(world: Any) -> None:
    small = world().run(5)
    panicked = small.fleet["r1-std-01"]
    panicked.on_renew_leases = lambda now_ns, body: [Heartbeat(1, 0, 0, False, panicked.versions, ())]
    small.run(10)
    assert [(record.machine, record.why) for _, record in small.records("machine.down")] == [("r1-std-01", "rmm-dead")]
    assert [at_ns for at_ns, _ in small.records("realm.restart")] == [6 * S + S // 10]


def test_a_message_that_was_long_under_way_is_no_sign_of_life(world: Any) -> None:
    small = world()
    small.cut("r1-std-01", 5, 200)
    small.run(30)
    machine = small.store.machines["r1-std-01"]
    assert machine.state is MachineState.SUSPECT
    held = (RealmStatus("web-001", 1, "serving"),)
    old = Heartbeat(1, machine.capacity.granules, machine.capacity.vmids, True, machine.versions, held)
    message = Message("r1-std-01", 99, "control", 6 * S, old)
    step = small.control.step(30 * S, [Delivery(30 * S, Priority.MACHINE, message)])
    assert machine.state is MachineState.SUSPECT
    assert step.records == []


@pytest.mark.parametrize("leases", [True, False])
def test_without_leases_a_partition_leaves_two_live_copies_and_with_them_it_does_not(world: Any, leases: bool) -> None:
    small = world(control={"leases": leases})
    small.cut("r1-std-01", 5, 80)
    small.run(100)
    assert bool(small.doubles()) is not leases
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}
