"""A Realm runs exactly as long as its host may run it."""

from __future__ import annotations

from typing import Any

from cca_machine import commands as c

S = 1_000_000_000


def test_a_realm_stops_at_the_instant_its_lease_ends(world: Any) -> None:
    begun_ns = world.now_ns
    world.serve(lease_ns=7 * S)
    world.run(20 * S)
    [(at_ns, still)] = world.told(c.RealmStill)
    assert at_ns == begun_ns + 7 * S
    assert still.why == "lease-ended"
    served_for = at_ns - next(at for at, record in world.told(c.RealmLive) if record.serving)
    assert still.served == 1000 * served_for // S


def test_a_renewal_in_time_keeps_it_running_and_a_shorter_one_takes_nothing_away(world: Any) -> None:
    begun_ns = world.now_ns
    world.serve(lease_ns=7 * S)
    heartbeat = world.do("m", c.RenewLeases((("r", 1),), begun_ns + 15 * S))
    assert heartbeat.boot == 1
    assert [(status.realm, status.state) for status in heartbeat.realms] == [("r", "serving")]
    world.do("m", c.RenewLeases((("r", 1),), begun_ns + 9 * S))
    world.run(20 * S)
    assert [at for at, _ in world.told(c.RealmStill)] == [begun_ns + 15 * S]


def test_a_renewal_at_the_very_instant_is_in_time(world: Any) -> None:
    begun_ns = world.now_ns
    world.serve(lease_ns=7 * S)
    world.order("m", c.RenewLeases((("r", 1),), begun_ns + 30 * S), begun_ns + 7 * S)
    world.run(10 * S)
    assert world.told(c.RealmStill) == []


def test_only_the_named_incarnation_is_renewed(world: Any) -> None:
    world.serve(lease_ns=7 * S)
    world.do("m", c.RenewLeases((("r", 2), ("x", 1)), world.now_ns + 99 * S))
    world.run(9 * S)
    assert len(world.told(c.RealmStill)) == 1


def test_a_lapsed_realm_gives_no_evidence_but_can_be_stopped(world: Any, kit: Any) -> None:
    world.serve(lease_ns=4 * S)
    world.run(5 * S)
    assert world.do("m", c.Attest("r", 1, kit.NONCE)).code == "realm-paused"
    assert world.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)


def test_a_renewed_realm_goes_on_where_it_was(world: Any) -> None:
    world.serve(lease_ns=4 * S)
    world.run(10 * S)
    world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 50 * S))
    live = world.told(c.RealmLive)[-1][1]
    assert (live.serving, live.why) == (True, "lease-renewed")


def test_without_leases_nothing_ends_a_realm(kit: Any) -> None:
    world = kit.World("m", leases=False)
    world.serve(lease_ns=4 * S)
    world.run(100 * S)
    assert world.told(c.RealmStill) == []


def test_the_heartbeat_counts_what_is_left(world: Any, kit: Any) -> None:
    before = world.do("m", c.RenewLeases((), 9 * S))
    world.launch()
    after = world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 9 * S))
    [(_, built)] = world.told(c.RealmBuilt)
    assert before.free_vmids - after.free_vmids == 1
    assert before.free_granules - after.free_granules == sum(count for _, count in built.granules)
    assert before.free_granules < (1 << 30) // 4096


def test_a_heartbeat_does_not_wait_for_busy_control_pes(world: Any, kit: Any) -> None:
    for realm in ("a", "b", "c"):
        world.order("m", c.Launch(kit.realm_spec(realm), kit.NONCE, 100 * S))
    sent_ns = world.now_ns
    number = world.order("m", c.RenewLeases((), world.now_ns + 9 * S))
    world.run(5 * S)
    [answered_ns] = [sent.at_ns for _, sent in world.sent if sent.answers == number]
    assert answered_ns - sent_ns < 1_000_000
