"""Rows 21 and 22 of the crash matrix: control planes that race, forget, or come to know late what was decided."""

from __future__ import annotations

from typing import Any

from cca_machine import commands as c
from orchestrator.store import RealmState, SessionPhase

S, MS = 1_000_000_000, 1_000_000
MOVE = [{"kind": "migrate", "at": "5s", "realm": "web-001", "to": "r2-std-02"}]


def test_row_22_of_two_control_planes_that_open_a_session_for_one_realm_one_is_refused(world: Any) -> None:
    small = world(events=MOVE)
    witness = small.witnessed.witness
    other = c.OpenLineage("theirs", "web-001/1", 0, "r1-std-01", "r1-std-02", 20 * S)
    witness.submit(other, 4 * S, 2, "another control plane", 1)
    small.run(60)
    [(_, finished)] = small.records("migration.finished")
    assert finished.outcome == "resumed"
    assert small.store.realms["web-001"].machine == "r1-std-01"
    [(_, aborted)] = small.records("migration.aborted")
    assert "session theirs is on" in aborted.why
    assert small.doubles() == []


def test_row_22_a_control_plane_with_an_old_generation_is_refused(world: Any) -> None:
    small = world(events=MOVE).run(20)
    small.store.realms["web-001"].generation = 0
    small.store.request_migration("web-001", "r1-std-01", "a stale control plane")
    small.run(60)
    outcomes = [record.outcome for _, record in small.records("migration.finished")]
    assert outcomes == ["moved", "resumed"]
    assert "holds generation 1" in small.records("migration.aborted")[0][1].why


def test_row_21_what_was_decided_while_the_control_plane_was_away_is_learned_from_the_witness(world: Any) -> None:
    small = world(events=MOVE)
    for name in ("r1-std-01", "r2-std-02", "witness"):
        small.cut(name, 5.105, 25)
    small.run(60)
    [(at_ns, finished)] = small.records("migration.finished")
    assert at_ns > 25 * S
    assert finished.outcome == "moved"
    realm = small.store.realms["web-001"]
    assert (realm.machine, realm.incarnation, realm.state) == ("r2-std-02", 1, RealmState.SERVING)
    assert small.doubles() == []


def test_a_session_that_waits_for_the_witness_names_it(world: Any) -> None:
    small = world(events=MOVE)
    small.cut("witness", 4.9, 100)
    small.run(80)
    [(_, waiting)] = small.records("migration.waiting")
    assert (waiting.party, waiting.phase) == ("witness", SessionPhase.WITHDRAWING)
    assert small.store.realms["web-001"].machine == "r1-std-01"
    small.run(140)
    assert [record.outcome for _, record in small.records("migration.finished")] == ["resumed"]


def test_an_operator_who_cancels_in_time_leaves_the_realm_where_it_is(world: Any) -> None:
    small = world(events=MOVE)
    small.witnessed.witness.submit(c.EndSession("move-0001", "web-001/1", "cancelled"), 5 * S + 101 * MS, 2, "x", 1)
    small.run(30)
    assert [record.outcome for _, record in small.records("migration.finished")] == ["resumed"]
    assert small.store.realms["web-001"].machine == "r1-std-01"
    assert small.store.realms["web-001"].state is RealmState.SERVING


def test_a_cancel_that_comes_after_the_grant_changes_nothing(world: Any) -> None:
    small = world(events=MOVE).run(5.35)
    small.store.request_cancel("move-0001", "too late")
    small.run(30)
    assert [record.outcome for _, record in small.records("migration.finished")] == ["moved"]
