"""A Realm moves: what both machines do, whatever happens to parcels and in whatever order things come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from attestation.kbs.messages import Attestation
from attestation.token import decode
from cca_machine import commands as c
from cca_machine.abi.rmi import Ripas
from cca_machine.invariants import violations
from cca_machine.layout import MAILBOX_BYTES, plan
from cca_machine.migration import wire
from cca_machine.migration.precopy import Terms
from cca_machine.migration.witness import Witness

S, MS = 1_000_000_000, 1_000_000


def running(pair: Any, machine: str) -> Any:
    return pair.machines[machine]._state.running


def steps(pair: Any, machine: str) -> list[str]:
    return [step.state for _, step in pair.told(c.SessionStep, machine)]


def move(pair: Any, **fields: Any) -> None:
    pair.open_session(**fields)
    pair.run(5 * S)


def freight(parcel: c.Parcel) -> int | None:
    """Sequence number of a bundle's parcel; None for anything else."""
    message = wire.decode(parcel.payload)
    return message.sequence if isinstance(message, wire.Freight) else None


def held(pair: Any) -> list[str]:
    return [name for _, _, name, _, until in pair.lives() if until is None]


@pytest.mark.parametrize("export_first", [True, False])
def test_a_realm_moves_with_all_it_is_and_runs_only_after_the_grant(pair: Any, kit: Any, export_first: bool) -> None:
    assert pair.serve("a") == c.Serving("r", 1)
    before = pair.do("a", c.Attest("r", 1, kit.NONCE))
    move(pair, export_first=export_first)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]
    assert [closed.how for closed in pair.bodies(c.SessionClosed)] == ["scrubbed"]
    [decided] = pair.bodies(c.LineageDecided)
    assert (decided.decision, decided.generation, decided.holder) == ("grant", 1, "b")
    [(live, _)] = pair.told(c.RealmLive, "b")
    assert live > decided.decided_ns
    after = pair.do("b", c.Attest("r", 1, kit.NONCE))
    old, new = (decode(Attestation(one.evidence).token).realm.claims for one in (before, after))
    assert new.initial_measurement == old.initial_measurement
    assert new.extensible_measurements == old.extensible_measurements
    assert new.personalization_value == old.personalization_value
    assert new.challenge == old.challenge, "the guest kept its key-broker key"
    assert new.public_key == pair.rak("b") != old.public_key
    assert steps(pair, "a") == ["handshake", "live-export", "paused", "relinquished", "scrubbed"]
    assert steps(pair, "b") == ["shell", "mem-import", "state-import", "ready", "live"]
    for machine in ("a", "b"):
        assert violations(running(pair, machine).rmm, running(pair, machine).hardware) == []
    assert running(pair, "a").hardware.memory.contents == {}
    lives = sorted((begin, until) for *_, begin, until in pair.lives())
    assert all(until is not None and until <= begin for (_, until), (begin, _) in pairwise(lives))


def test_every_page_and_register_arrives_as_it_was(pair: Any, kit: Any) -> None:
    pair.serve("a")
    layout = plan(kit.realm_spec())
    source = pair.machines["a"]._on().migration._calls
    rd = next(iter(running(pair, "a").rmm.realms))
    memory = list(source.memory(rd, layout.ram_base, layout.ram_top))
    ripas = source.memory_map(rd, layout.ram_base, layout.ram_top)
    state = (source.mutable(rd, b""), source.vcpus(rd))
    move(pair)
    target = pair.machines["b"]._on().migration._calls
    rd = next(iter(running(pair, "b").rmm.realms))
    assert list(target.memory(rd, layout.ram_base, layout.ram_top)) == memory
    assert target.memory_map(rd, layout.ram_base, layout.ram_top) == ripas
    assert (target.mutable(rd, b""), target.vcpus(rd)) == state
    assert [(run.ripas, run.assigned) for run in ripas.runs] == [
        (Ripas.RAM, True), (Ripas.EMPTY, False), (Ripas.RAM, True)
    ]  # fmt: skip


def test_what_the_realm_writes_between_rounds_arrives_as_it_was_at_the_pause(pair: Any, kit: Any) -> None:
    work = c.Workload(requests_per_s=10, dirty_bytes_per_s=20 << 20, working_set_bytes=16 << 20)
    spec = kit.realm_spec(workload=work)
    pair.serve("a", spec)
    pair.open_session(realm=spec, terms=Terms(bytes_per_s=32 << 20, downtime_ns=20 * MS))
    pair.run(S)
    assert isinstance(pair.do("a", c.Attest("r", 1, "YW5vdGhlciBub25jZQ=="), 100 * MS), c.Attested)
    token = running(pair, "a").guests.guests[next(iter(running(pair, "a").rmm.realms))].token
    pair.run(20 * S)
    rounds = [record for _, record in pair.told(c.MigrationRound)]
    assert len(rounds) > 2
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]
    assert running(pair, "b").guests.guests[next(iter(running(pair, "b").rmm.realms))].token == token
    page = token[-512:]
    assert any(page in content for content in running(pair, "b").hardware.memory.contents.values())


def test_an_instance_identity_is_carried(pair: Any, kit: Any) -> None:
    pair.serve("a")
    next(iter(running(pair, "a").rmm.realms.values())).instance_id = b"\x01" + bytes(range(32))
    move(pair)
    assert next(iter(running(pair, "b").rmm.realms.values())).instance_id == b"\x01" + bytes(range(32))


def test_no_page_of_the_realm_crosses_in_the_clear(pair: Any, kit: Any) -> None:
    pair.serve("a")
    page = plan(kit.realm_spec()).loads()[0][1][3]
    move(pair)
    crossed = b"".join(parcel.payload for parcel in pair.bodies(c.Parcel))
    assert len(crossed) > 256 << 10
    assert all(page[at : at + 16] not in crossed for at in range(0, 4096, 16))


def test_a_session_charges_the_link_for_all_memory_in_tens_of_parcels(pair: Any, kit: Any) -> None:
    spec = kit.realm_spec(memory_bytes=512 << 20)
    pair.serve("a", spec)
    move(pair, realm=spec)
    ready = pair.bodies(c.ExportReady)[0]
    assert (512 << 20) - MAILBOX_BYTES <= ready.sent_bytes < (512 << 20) * 1.01
    assert len(pair.bodies(c.Parcel)) < 50


def test_requests_are_counted_where_they_were_served(pair: Any, kit: Any) -> None:
    pair.serve("a")
    move(pair)
    pair.do("b", c.Stop("r", 1))
    [(paused, left)], [(stopped, right)] = pair.told(c.RealmStill, "a"), pair.told(c.RealmStill, "b")
    began = next(at for at, record in pair.told(c.RealmLive, "a") if record.serving)
    came = pair.told(c.RealmLive, "b")[0][0]
    assert left.served == 1000 * (paused - began) // S
    assert right.served == 1000 * (stopped - came) // S


def test_the_standstill_is_not_rounded_to_beats_or_patience(pair: Any, kit: Any) -> None:
    pair.serve("a")
    move(pair)
    [(still, _)], [(live, _)] = pair.told(c.RealmStill, "a"), pair.told(c.RealmLive, "b")
    assert 60 * MS < live - still < 140 * MS, "64 MiB on 10 Gb/s, sealing and opening, three exchanges with the witness"


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_bundle_is_asked_for_again(pair: Any, kit: Any, lost: int) -> None:
    pair.serve("a")
    dropped: list[int] = []

    def carry(name: str, sent: c.Sent) -> list[c.Parcel]:
        number = freight(sent.body)  # type: ignore[arg-type]
        if number == lost and not dropped:
            dropped.append(number)
            return []
        return [sent.body]  # type: ignore[list-item]

    pair.carry = carry
    move(pair)
    assert dropped
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]


def test_parcels_that_come_twice_or_in_any_order_change_nothing(pair: Any, kit: Any) -> None:
    pair.serve("a")
    kept: list[c.Parcel] = []

    def shuffle(name: str, sent: c.Sent) -> list[c.Parcel]:
        if freight(sent.body) is not None:  # type: ignore[arg-type]
            kept.append(sent.body)  # type: ignore[arg-type]
            return []
        return [sent.body]  # type: ignore[list-item]

    pair.carry = shuffle
    pair.open_session()
    pair.run(300 * MS)
    for number, parcel in enumerate([*reversed(kept), *kept]):
        pair.machines["b"].submit(parcel, pair.now_ns + number, 1, "a", 1000 + number)
    pair.run(3 * S)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]


def test_a_key_share_signed_by_another_rak_leaves_the_realm_where_it_is(pair: Any, kit: Any) -> None:
    pair.serve("a")
    stranger = kit.World("c").rak("c")
    pair.rak = lambda machine: stranger
    move(pair)
    closed = {body.how: body.why for body in pair.bodies(c.SessionClosed)}
    assert set(closed) == {"active", "failed"}
    assert "RAK" in closed["active"] + closed["failed"]
    assert pair.told(c.RealmStill, "a") == []
    assert running(pair, "b").rmm.realms == {}


def test_parcels_of_a_third_machine_are_not_even_looked_at(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.open_session()
    noise = wire.encode(wire.Freight(0, b"noise"))
    pair.machines["b"].submit(c.Parcel("s", noise, 9), pair.now_ns, 1, "c", 1)
    pair.run(3 * S)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]


def test_a_verdict_of_another_witness_is_not_believed(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.open_session()
    impostor = Witness(b"another seed of thirty-two bytes")
    pair.machines["witness"]._key = impostor._key
    pair.run(5 * S)
    assert [one.decision for one in pair.bodies(c.LineageDecided)] == ["grant"]
    assert pair.told(c.RealmLive, "b") == []
    assert (steps(pair, "a")[-1], steps(pair, "b")[-1]) == ("relinquished", "ready")


def test_a_session_survives_a_restore_of_both_sides_in_its_middle(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.open_session()
    for _ in range(60):
        pair.run(5 * MS)
        for name in ("a", "b"):
            machine = pair.machines[name]
            other = type(machine)(machine.spec)
            other.restore(machine.snapshot())
            pair.machines[name] = other
    pair.run(3 * S)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]


def test_an_end_that_is_asked_before_it_was_opened_can_never_be_opened(pair: Any, kit: Any) -> None:
    pair.serve("a")
    free = running(pair, "b").host.pool.free
    assert pair.do("a", c.SettleSession("s", 0)) == c.SessionClosed("s", "unknown")
    assert pair.do("b", c.SettleSession("s", 0)) == c.SessionClosed("s", "unknown")
    move(pair)
    assert [refused.code for refused in pair.bodies(c.Refused)] == ["session-known"] * 2
    assert running(pair, "b").host.pool.free == free
    assert pair.told(c.RealmStill, "a") == []
    pair.order("witness", c.EndSession("s", "r/1", "over"))
    move(pair, session="later")
    assert pair.bodies(c.Imported) == [c.Imported("later", "r", 1)]


def test_an_end_repeats_how_it_ended(pair: Any, kit: Any) -> None:
    pair.serve("a")
    move(pair)
    for _ in range(2):
        assert pair.do("b", c.SettleSession("s", 0)) == c.Imported("s", "r", 1)
        assert pair.do("a", c.SettleSession("s", 0)) == c.SessionClosed("s", "scrubbed", "the witness decided")
    assert len(pair.told(c.RealmLive, "b")) == 1


def test_a_realm_moves_on_and_back_one_generation_each(pair: Any, kit: Any) -> None:
    pair.serve("a")
    move(pair)
    move(pair, session="back", source="b", target="a", generation=1)
    assert [one.generation for one in pair.bodies(c.LineageDecided)] == [1, 2]
    assert held(pair) == ["a"]


def test_a_lease_that_is_over_keeps_a_granted_realm_from_running(pair: Any, kit: Any) -> None:
    pair.serve("a")
    move(pair, lease_ns=1)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]
    assert pair.told(c.RealmLive, "b") == []
    pair.do("b", c.RenewLeases((("r", 1),), pair.now_ns + 9 * S))
    assert [record.serving for _, record in pair.told(c.RealmLive, "b")] == [True]


def test_an_activation_waits_for_no_session_but_ends_the_early_ones(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.carry = lambda name, sent: [] if name == "b" else [sent.body]
    pair.open_session()
    pair.run(10 * MS)
    assert pair.do("a", c.Activate("RMM")).code != "migration-busy"
    assert steps(pair, "a")[-1] == "active"
    assert pair.told(c.SessionStep, "a")[-1][1].why == "firmware activation"


@pytest.mark.parametrize("machine", ["a", "b"])
@pytest.mark.parametrize("order", [c.Activate("RMM"), c.Reboot(1)], ids=["activation", "reboot"])
def test_neither_activation_nor_reboot_takes_the_rmm_from_a_session_that_is_past_its_start_token(
    pair: Any, kit: Any, machine: str, order: Any
) -> None:
    pair.serve("a")
    carry = pair.carry
    pair.carry = lambda name, sent: [] if "witness" in (name, sent.target) else [sent.body]
    move(pair)
    refused = pair.do(machine, order)
    assert refused.code == "migration-busy"
    assert "session s is" in refused.why
    pair.carry = carry
    pair.run(5 * S)
    assert pair.bodies(c.Imported) == [c.Imported("s", "r", 1)]


def test_the_host_cannot_stop_what_is_ready(pair: Any, kit: Any) -> None:
    pair.serve("a")
    pair.carry = lambda name, sent: [] if "witness" in (name, sent.target) else [sent.body]
    move(pair)
    assert steps(pair, "b")[-1] == "ready"
    assert pair.do("b", c.Stop("r", 1)).code == "realm-busy"
    assert len(running(pair, "b").rmm.realms) == 1
