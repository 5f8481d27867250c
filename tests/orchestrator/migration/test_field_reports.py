"""What users of other orchestrators reported (migration reference, section 9), each as the test that guards against it.

Rows 10, 11, 18, 19 and 20 are about machines and stand in `tests/cca_machine/migration/test_field_reports.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.store import DrainRequest, RealmState

MS, S = 1_000_000, 1_000_000_000
MOVE = [{"kind": "migrate", "at": "5s", "realm": "web-001", "to": "r2-std-02"}]


def many(count: int) -> dict[str, Any]:
    return {"web": {"image": "web", "count": count, "memory": "16MiB"}}


def open_at_once(small: Any, machine: str = "") -> int:
    changes = []
    for kind, change in (("migration.started", 1), ("migration.finished", -1)):
        for at_ns, record in small.records(kind):
            if machine in ("", record.source, record.target):
                changes.append((at_ns, change))
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def outcomes(small: Any) -> list[str]:
    return [record.outcome for _, record in small.records("migration.finished")]


@pytest.mark.parametrize("way", ["cut", "deafen", "silence"])
@pytest.mark.parametrize("victim", ["r1-std-01", "r2-std-02"])
def test_1_no_two_instances_run_after_a_migration(world: Any, victim: str, way: str) -> None:
    small = world(events=MOVE)
    getattr(small, way)(victim, 5.11, 90)
    small.run(240)
    assert small.doubles() == []
    assert {realm.state for realm in small.store.realms.values()} == {RealmState.SERVING}


def test_2_a_source_that_crashes_after_success_does_not_cost_the_good_target(world: Any) -> None:
    small = world(events=MOVE)
    small.power_loss("r1-std-01", 5.2, 60)
    small.run(200)
    assert outcomes(small) == ["moved"]
    realm = small.store.realms["web-001"]
    assert (realm.machine, realm.incarnation) == ("r2-std-02", 1)


def test_3_a_link_that_pauses_is_not_the_end_of_a_session(world: Any) -> None:
    small = world(events=MOVE)
    small.cut("witness", 5.0, 7.0)
    small.run(60)
    assert outcomes(small) == ["moved"]


def test_4_a_failed_migration_is_no_clean_end(world: Any) -> None:
    small = world(events=MOVE)
    small.fleet["r2-std-02"].refuse["open-import"] = ["no-granules"]
    small.run(60)
    assert outcomes(small) == ["resumed"]
    [(_, aborted)] = small.records("migration.aborted")
    assert "no-granules" in aborted.why


def test_5_a_target_that_is_the_source_is_declined_at_once_with_its_reason(world: Any) -> None:
    small = world(events=[{**MOVE[0], "to": "r1-std-01"}]).run(6)
    [(at_ns, declined)] = small.records("migration.declined")
    assert (at_ns, declined.rule) == (5 * S, "target")
    assert "already" in declined.why


def test_6_a_realm_that_no_machine_takes_is_tried_a_bounded_number_of_times(world: Any) -> None:
    small = world(
        events=[{"kind": "drain", "at": "5s", "machine": "r1-std-01"}], migration={"retries": 2, "retry_after": "1s"}
    )
    for name, machine in small.fleet.items():
        if name != "r1-std-01":
            machine.refuse["open-import"] = ["no-granules"] * 50
    small.run(300)
    [(_, finished)] = small.records("drain.finished")
    assert finished.blocked > 0
    assert all(record.tries == 3 for _, record in small.records("drain.blocked"))


def test_7_a_drain_with_many_realms_does_not_hold_every_slot(world: Any) -> None:
    drains = [{"kind": "drain", "at": "5s", "machine": f"r1-std-0{number}"} for number in (1, 2)]
    small = world(realms=many(12), events=drains, migration={"sessions": 2, "sessions_per_machine": 2}).run(120)
    first = [record.why for _, record in small.records("migration.started")[:2]]
    assert sorted(first) == ["drain-001", "drain-002"]


def test_8_a_limit_of_five_admits_five(world: Any) -> None:
    drains = [{"kind": "drain", "at": "5s", "rack": "r1"}]
    small = world(realms=many(14), events=drains, migration={"sessions": 5, "sessions_per_machine": 5}).run(120)
    assert open_at_once(small) == 5


def test_9_the_limit_of_a_machine_holds_for_moves_asked_at_one_instant(world: Any) -> None:
    moves = [{"kind": "migrate", "at": "5s", "realm": f"web-00{number}", "to": "r2-std-02"} for number in range(1, 6)]
    small = world(realms=many(5), events=moves, migration={"sessions_per_machine": 1}).run(60)
    assert open_at_once(small, "r2-std-02") == 1


def test_12_an_evacuation_without_a_target_ends_and_its_intent_can_be_cleared(world: Any) -> None:
    small = world(events=[{"kind": "drain", "at": "5s", "rack": "r1"}], migration={"retry_after": "10s"})
    for name in ("r2-std-01", "r2-std-02"):
        small.store.machines[name].cordons["test"] = "no CPU that fits"
    small.run(8)
    small.store.request_drain_end("drain-001")
    small.run(9)
    for name in ("r2-std-01", "r2-std-02"):
        del small.store.machines[name].cordons["test"]
    small.run(200)
    assert small.records("migration.started") == []
    assert small.store.drains == {}


def test_13_what_blocks_a_realm_is_told_before_anything_moves(world: Any) -> None:
    small = world().run(5)
    for name in ("r1-std-02", "r2-std-01", "r2-std-02"):
        small.store.machines[name].activity = "activate"
    small.store.request_drain(DrainRequest("r1-std-01", dry_run=True))
    small.run(9)
    planned = [record for _, record in small.records("drain.planned")]
    assert planned
    assert all(record.to == "" and "activity 3" in record.why for record in planned)
    assert small.records("migration.started") == []


def test_14_a_session_that_hangs_has_a_deadline_and_an_operator_has_an_override(world: Any) -> None:
    small = world(events=MOVE)
    target = small.fleet["r2-std-02"]
    takes = target.parcel
    target.parcel = lambda now_ns, source, parcel: takes(now_ns, source, parcel) if source == "witness" else None
    small.run(6)
    assert small.store.sessions
    small.store.request_cancel("move-0001", "operator")
    small.run(30)
    assert outcomes(small) == ["resumed"]
    assert small.records("migration.finished")[0][0] < 10 * S


def test_15_a_drain_is_over_when_its_realms_went_by_themselves(world: Any) -> None:
    stops = [{"kind": "stop", "at": "5100ms", "realm": f"web-00{number}"} for number in (1, 2, 3)]
    small = world(events=[{"kind": "drain", "at": "5s", "rack": "r1"}, *stops]).run(60)
    assert len(small.records("drain.finished")) == 1
    assert small.store.drains == {}


def test_16_the_limit_that_blocks_is_named(world: Any) -> None:
    moves = [{"kind": "migrate", "at": "5s", "realm": f"web-00{number}", "to": "r2-std-02"} for number in (1, 2)]
    small = world(events=moves, migration={"sessions_per_machine": 1}).run(60)
    [(_, declined)] = small.records("migration.declined")
    assert declined.rule == "sessions"
    assert "1 sessions" in declined.why


def test_17_a_drain_estimates_its_end(world: Any) -> None:
    small = world(realms=many(12), events=[{"kind": "drain", "at": "5s", "rack": "r1"}]).run(120)
    [(_, started)] = small.records("drain.started")
    [(at_ns, _)] = small.records("drain.finished")
    assert started.eta_ns > 5 * S
    assert at_ns > 5 * S
