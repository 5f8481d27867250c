"""Emptying machines: the plan before anything moves, limits, turns, tries, and an end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.links import Drop, Rule
from orchestrator.store import DrainRequest, RealmState

S = 1_000_000_000
RMM = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}


def drain(at: str = "10s", **what: Any) -> dict[str, Any]:
    return {"kind": "drain", "at": at, **what}


def many(count: int = 12) -> dict[str, Any]:
    return {"web": {"image": "web", "count": count, "memory": "16MiB"}}


def most_at_once(small: Any, ends: str = "") -> int:
    """Most sessions open at one time, those with `ends` as an end only."""
    steps = []
    for at_ns, record in small.records("migration.started") + small.records("migration.finished"):
        if not ends or ends in (record.source, record.target):
            # ends before beginnings within an instant
            steps.append((at_ns, hasattr(record, "deadline_ns"), 1 if hasattr(record, "deadline_ns") else -1))
    most = now = 0
    for _, _, change in sorted(steps):
        now += change
        most = max(most, now)
    return most


def test_a_rack_is_evacuated_to_the_other_and_takes_nothing_new(world: Any) -> None:
    small = world(realms=many(), events=[drain(rack="r1")]).run(120)
    assert {realm.machine[:2] for realm in small.store.realms.values()} == {"r2"}
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}
    [(_, finished)] = small.records("drain.finished")
    [(_, started)] = small.records("drain.started")
    assert (finished.moved, finished.blocked) == (started.realms, 0)
    assert started.realms > 0
    assert small.doubles() == []
    assert all("drain-001" in small.store.machines[name].cordons for name in started.machines)


def test_the_plan_of_each_realm_is_told_before_anything_moves(world: Any) -> None:
    small = world(realms=many(), events=[drain(machine="r1-std-01")]).run(120)
    planned = small.records("drain.planned")
    assert {record.machine for _, record in planned} == {"r1-std-01"}
    assert all(record.to and record.to != "r1-std-01" for _, record in planned)
    assert max(at for at, _ in planned) <= min(at for at, _ in small.records("migration.started"))


def test_a_dry_run_names_what_blocks_each_realm_and_moves_nothing(world: Any) -> None:
    small = world(realms=many(), events=[drain(rack="r1", dry_run=True)])
    small.run(5)
    for name in ("r2-std-01", "r2-std-02"):
        small.store.machines[name].cordons["operator"] = "maintenance"
    small.run(40)
    planned = [record for _, record in small.records("drain.planned")]
    assert planned
    assert {(record.to, record.rule) for record in planned} == {("", "target")}
    assert all("cordon 4" in record.why or "cordon 3" in record.why for record in planned)
    assert small.records("migration.started") == small.records("drain.finished") == []
    assert small.store.machines["r1-std-01"].cordons == {}


def test_limits_of_a_machine_and_of_the_fleet_are_reached_and_never_passed(world: Any) -> None:
    wide = world(realms=many(), events=[drain(machine="r1-std-01")], migration={"sessions_per_machine": 2}).run(120)
    assert most_at_once(wide, "r1-std-01") == 2
    narrow = world(realms=many(), events=[drain(rack="r1")], migration={"sessions": 1}).run(240)
    assert most_at_once(narrow) == 1
    assert {realm.machine[:2] for realm in narrow.store.realms.values()} == {"r2"}
    five = world(realms=many(20), events=[drain(rack="r1")], migration={"sessions": 5, "sessions_per_machine": 4}).run(
        120
    )
    assert most_at_once(five) == 5


def test_two_drains_take_turns(world: Any) -> None:
    events = [drain(machine="r1-std-01"), drain(machine="r1-std-02")]
    small = world(realms=many(), events=events, migration={"sessions": 1}).run(240)
    sources = [record.source for _, record in small.records("migration.started")]
    shorter = 2 * min(sources.count("r1-std-01"), sources.count("r1-std-02"))
    assert shorter >= 4
    assert all(one != other for one, other in pairwise(sources[:shorter]))


def test_a_realm_that_cannot_move_is_given_up_after_its_tries_and_the_drain_ends(world: Any) -> None:
    rules = {"retries": 2, "retry_after": "4s"}
    small = world(realms=many(4), events=[drain(rack="r1")], migration=rules)
    small.run(5)
    for name in ("r2-std-01", "r2-std-02"):
        small.store.machines[name].cordons["operator"] = "maintenance"
    small.run(100)
    blocked = [record for _, record in small.records("drain.blocked")]
    assert {(record.rule, record.tries) for record in blocked} == {("target", 3)}
    asked = [at for at, record in small.records("migration.declined") if record.realm == blocked[0].realm]
    assert [later - at for at, later in pairwise(asked)] == [4 * S, 8 * S]
    [(_, finished)] = small.records("drain.finished")
    assert (finished.moved, finished.blocked) == (0, len(blocked))
    assert small.store.machines["r1-std-01"].cordons == {}, "a drain that gave up leaves no machine cordoned"


def test_a_move_that_fails_is_tried_again(world: Any) -> None:
    small = world(events=[drain(machine="r1-std-01")])
    others = tuple(sorted(name for name in small.fleet if name != "r1-std-01"))
    small.links.impose(Rule("first parcels lost", ("r1-std-01",), others, 0, 11 * S, Drop()), 0)
    small.run(120)
    outcomes = [record.outcome for _, record in small.records("migration.finished")]
    assert outcomes[0] == "resumed"
    assert outcomes[-1] == "moved"
    assert small.store.machines["r1-std-01"].residents == {}
    assert small.doubles() == []


def test_an_empty_machine_is_drained_at_once(world: Any) -> None:
    small = world(realms={}, events=[drain(machine="r1-std-01")]).run(15)
    [(at_ns, finished)] = small.records("drain.finished")
    assert (at_ns, finished.moved, finished.blocked) == (10 * S, 0, 0)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (drain(), "give either machine or rack"),
        (drain(machine="r1-std-01", rack="r1"), "give either machine or rack"),
        (drain(machine="r9-std-01"), "r9-std-01"),
        (drain(rack="r9"), "r9"),
        (drain(at="2h", rack="r1"), "not before the end"),
    ],
    ids=["nothing", "both", "no such machine", "no such rack", "after the end"],
)
def test_a_drain_that_cannot_be_is_refused_before_the_run(cluster_file: Any, event: dict[str, Any], told: str) -> None:
    cluster = Cluster.model_validate(cluster_file(events=[event]))
    [finding] = [found for found in check_cluster(cluster) if found.path[0] == "events"]
    assert told in finding.message
    assert finding.hint


def test_the_only_rack_cannot_be_evacuated(cluster_file: Any) -> None:
    file = cluster_file(racks={"r1": {"machines": {"std": 2}}}, events=[drain(rack="r1")])
    assert "no other rack" in " ".join(found.message for found in check_cluster(Cluster.model_validate(file)))


def test_a_request_of_the_store_drains_as_an_event_does(world: Any) -> None:
    small = world().run(5)
    small.store.request_drain(DrainRequest(machine="r1-std-01"))
    small.run(60)
    assert small.store.machines["r1-std-01"].residents == {}
    assert [record.machines for _, record in small.records("drain.started")] == [("r1-std-01",)]


def test_a_drain_that_is_ended_clears_what_it_asked_for_and_its_cordons(world: Any) -> None:
    small = world(realms=many(), events=[drain(rack="r1")]).run(10.15)
    store = small.store
    assert store.sessions
    store.request_drain_end("drain-001")
    small.run(60)
    [(_, finished)] = small.records("drain.finished")
    assert finished.why == "an operator ended it"
    assert store.drains == {}
    assert store.sessions == {}
    assert not any("drain-001" in view.cordons for view in store.machines.values())
    assert {realm.state for realm in store.realms.values()} == {RealmState.SERVING}
    assert small.doubles() == []
    begun = [at for at, _ in small.records("migration.started")]
    assert max(begun) <= 10.2 * S, "nothing new is begun once it is ended"


def test_a_drain_says_when_it_expects_to_be_done(world: Any) -> None:
    small = world(realms=many(), events=[drain(rack="r1")]).run(120)
    [(at_ns, started)] = small.records("drain.started")
    assert at_ns < started.eta_ns < at_ns + 60 * S
