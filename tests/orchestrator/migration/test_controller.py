"""Migrations end to end over scripted machines: moved, resumed or lost, but never twice and never needlessly lost."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine.commands import OpenImport
from orchestrator.engine.links import Drop, Rule
from orchestrator.store import RealmState

MS, S = 1_000_000, 1_000_000_000
MOVE = [{"kind": "migrate", "at": "5s", "realm": "web-001", "to": "r2-std-02"}]


def sent(small: Any, kind: type) -> list[tuple[int, str]]:
    return [
        (message.sent_ns, message.target)
        for _, step in small.watched.steps
        for message in step.messages
        if isinstance(message.body, kind)
    ]


def outcomes(small: Any) -> list[str]:
    return [record.outcome for _, record in small.records("migration.finished")]


def judge(small: Any) -> None:
    """What must hold after any migration: nothing ran twice, decisions exclude each other, everything serves."""
    assert small.doubles() == []
    committed = {record.session for _, record in small.records("migration.committed")}
    aborted = {record.session for _, record in small.records("migration.aborted")}
    assert not committed & aborted
    assert small.store.sessions == {}
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}


def test_an_operator_moves_a_realm_and_it_is_attested_anew_over_there(world: Any) -> None:
    small = world(events=MOVE).run(20)
    judge(small)
    assert outcomes(small) == ["moved"]
    realm = small.store.realms["web-001"]
    assert (realm.machine, realm.incarnation, realm.restarts) == ("r2-std-02", 1, 0)
    verdicts = [record for _, record in small.records("realm.verdict") if record.realm == "web-001"]
    assert [(record.machine, record.why, record.passed) for record in verdicts] == [
        ("r1-std-01", "bring-up", True),
        ("r2-std-02", "migration", True),
    ]
    assert "web-001" not in small.fleet["r1-std-01"].copies


def test_both_ends_are_coupled_while_the_session_is_open(world: Any) -> None:
    small = world(events=MOVE).run(20)
    coupled = [(at_ns, pair) for at_ns, step in small.watched.steps for pair in step.couple]
    uncoupled = [(at_ns, name) for at_ns, step in small.watched.steps for name in step.uncouple]
    names = ["move-0001", "move-0001/source", "move-0001/target"]
    assert [(at_ns, name) for at_ns, (name, *_) in coupled] == [(5 * S, name) for name in names]
    assert {frozenset(pair[1:]) for _, pair in coupled} == {
        frozenset(pair) for pair in (("r1-std-01", "r2-std-02"), ("r1-std-01", "witness"), ("r2-std-02", "witness"))
    }
    assert uncoupled == [(small.records("migration.finished")[0][0], name) for name in names]


def test_the_target_may_run_it_from_the_grant_on_under_a_lease_given_beforehand(world: Any) -> None:
    small = world(events=MOVE).run(20)
    orders = [
        (message.target, message.body.lease_until_ns - message.sent_ns)
        for _, step in small.watched.steps
        for message in step.messages
        if isinstance(message.body, OpenImport)
    ]
    assert orders == [("r2-std-02", 30 * S)]
    [(_, committed)] = small.records("migration.committed")
    assert committed.generation == small.store.realms["web-001"].generation == 1


def test_a_move_that_cannot_be_is_declined_with_its_rule(world: Any) -> None:
    small = world(events=[{"kind": "migrate", "at": "5s", "realm": "web-001", "to": "r1-std-01"}]).run(10)
    assert [(record.rule, record.realm) for _, record in small.records("migration.declined")] == [("target", "web-001")]
    assert small.records("migration.started") == []


@pytest.mark.parametrize("order", ["open-import", "open-export"])
def test_an_end_that_refuses_to_open_costs_nothing_but_a_pause(world: Any, order: str) -> None:
    small = world(events=MOVE)
    for machine in small.fleet.values():
        machine.refuse[order] = ["no-granules"]
    small.run(40)
    judge(small)
    assert outcomes(small) == ["resumed"]
    assert small.store.realms["web-001"].machine == "r1-std-01"
    assert small.records("migration.committed") == []


def test_a_target_that_dies_before_the_commit_leaves_the_realm_with_its_source(world: Any) -> None:
    small = world(events=MOVE)
    small.power_loss("r2-std-02", 5.0003, 100)
    small.run(200)
    judge(small)
    assert outcomes(small) == ["resumed"]
    realm = small.store.realms["web-001"]
    assert (realm.machine, realm.incarnation) == ("r1-std-01", 1)


def test_a_target_that_dies_after_the_grant_takes_the_realm_with_it(world: Any) -> None:
    granted = world(events=MOVE).run(20).watched.control.store
    assert granted.realms["web-001"].generation == 1
    small = world(events=MOVE)
    decided = small.witnessed.witness
    told = decided._decide

    def grant(*args: Any) -> None:
        told(*args)
        small.power_loss("r2-std-02", (decided._clock_ns // (100 * MS) + 1) / 10 + 0.0001, 100)

    decided._decide = grant
    small.silence("r2-std-02", 5.0, 6.0)
    small.run(200)
    judge(small)
    assert outcomes(small) == ["lost"]
    assert small.store.realms["web-001"].incarnation == 2


def test_a_source_that_dies_after_everything_was_sent_loses_nothing(world: Any) -> None:
    small = world(events=MOVE)
    small.power_loss("r1-std-01", 5.205, 100)
    small.run(200)
    judge(small)
    assert outcomes(small) == ["moved"]
    assert small.store.realms["web-001"].incarnation == 1


def test_a_source_that_dies_before_it_sent_anything_loses_its_realm_to_a_restart(world: Any) -> None:
    small = world(events=MOVE)
    small.power_loss("r1-std-01", 5.0001, 100)
    small.run(200)
    judge(small)
    assert outcomes(small) == ["lost"]
    assert small.store.realms["web-001"].incarnation == 2


def test_a_source_that_comes_back_in_time_runs_its_paused_realm_again(world: Any) -> None:
    small = world(events=MOVE, control={"lease": "5s", "suspect_after": "3s", "heartbeat": "1s"})
    source, target = "r1-std-01", "r2-std-02"
    small.links.impose(Rule("sealed parcels lost", (source,), (target,), 0, 60 * S, Drop()), 0)
    small.cut(source, 5.15, 18)
    small.run(60)
    judge(small)
    assert [record.machine for _, record in small.records("machine.down")] == [source]
    assert outcomes(small) == ["resumed"]
    realm = small.store.realms["web-001"]
    assert (realm.machine, realm.incarnation) == (source, 1)


def test_a_commit_whose_answer_was_lost_is_believed_from_the_heartbeat(world: Any) -> None:
    small = world(events=MOVE)
    small.silence("r2-std-02", 5.1001, 5.2)
    small.run(40)
    judge(small)
    assert outcomes(small) == ["moved"]


def test_a_stop_during_a_migration_waits_for_its_end(world: Any) -> None:
    stop = {"kind": "stop", "at": "5100ms", "realm": "web-001"}
    small = world(events=[*MOVE, stop]).run(40)
    assert small.store.realms["web-001"].state is RealmState.STOPPED
    assert outcomes(small) == ["moved"]
    assert all("web-001" not in machine.copies for machine in small.fleet.values())


@pytest.mark.parametrize("victim", ["r1-std-01", "r2-std-02"])
@pytest.mark.parametrize("way", ["cut", "deafen", "silence", "power_loss"])
@pytest.mark.parametrize("at", [4.95, 5.0, 5.0009, 5.05, 5.1, 5.1009, 5.15, 5.25])
def test_whatever_fails_whenever_no_realm_runs_twice_and_all_serve_in_the_end(
    world: Any, victim: str, way: str, at: float
) -> None:
    small = world(events=MOVE)
    if way == "power_loss":
        small.power_loss(victim, max(at, 5.0) + 0.0001, 60)
    else:
        getattr(small, way)(victim, at, at + 60)
    small.run(220)
    judge(small)
    assert len(outcomes(small)) <= 1
