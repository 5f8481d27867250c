"""Rows of the tables, from traces written by hand: the expected numbers can be read off the lines."""

from __future__ import annotations

from typing import Any

from orchestrator.chaos.history import Line, read
from orchestrator.scripting.columns import TABLES
from orchestrator.scripting.rows import ROWS

S = 1_000_000_000
MS = 1_000_000


def trace(*told: tuple[int, str, str, dict[str, Any]]) -> list[Line]:
    """Lines from (ms, source, kind, fields), numbered in the order given."""
    return read(
        {"at_ns": at_ms * MS, "kind": kind, "number": number, "priority": 1, "source": source, "what": what}
        for number, (at_ms, source, kind, what) in enumerate(told)
    )


def copy(incarnation: int = 1, **more: Any) -> dict[str, Any]:
    return {"realm": "web-001", "incarnation": incarnation, **more}


MOVE = {"session": "move-1", "source": "m1", "target": "m2"}
MOVED = trace(
    (1000, "control", "realm.wanted", copy(kind="web", why="start")),
    (3000, "m1", "realm.live", copy(serving=True, why="secret")),
    (9000, "control", "migration.started", copy(**MOVE, why="operator", deadline_ns=60 * S)),
    (9500, "m1", "migration.round", copy(session="move-1", number=1)),
    (10000, "m1", "realm.still", copy(served=10, why="migration")),
    (10250, "m2", "realm.live", copy(serving=True, why="imported")),
    (11000, "control", "migration.finished", copy(**MOVE, outcome="moved", opened_ns=9 * S, sent_bytes=77)),
    (15000, "m2", "realm.still", copy(served=20, why="lease")),
    (15000, "control", "realm.restart", copy(machine="m2", why="lease", lease_until_ns=15 * S)),
    (17000, "m1", "realm.live", copy(2, serving=True, why="secret")),
)


def row(name: str, lines: list[Line], end_s: int = 21) -> dict[str, Any]:
    (only,) = ROWS[name](lines, end_s * S)
    return only


def test_a_realms_row_adds_up_its_life() -> None:
    assert row("realms", MOVED) == {
        "realm": "web-001",
        "kind": "web",
        "machine": "m1",
        "wanted_s": 1.0,
        "serving_s": 3.0,
        "bring_up_s": 2.0,
        "until_s": 21.0,
        "served_s": 20 - 2 - 0.25 - 2,
        "availability_ppm": 787_500,
        "outages": 2,
        "downtime_s": 2.25,
        "restarts": 1,
        "attestations": 0,
        "refusals": 0,
        "serving": True,
    }


def test_a_realm_that_never_served_has_no_bring_up_and_is_not_serving() -> None:
    told = row("realms", trace((1000, "control", "realm.wanted", copy(kind="web", why="start"))))
    assert (told["serving_s"], told["bring_up_s"], told["machine"], told["served_s"]) == (None, None, None, 0.0)
    assert (told["availability_ppm"], told["outages"], told["serving"]) == (0, 0, False)


def test_a_realm_that_was_stopped_counts_until_its_stop() -> None:
    stop = (12000, "control", "realm.state", copy(machine="m2", was="serving", state="stopping", why="operator"))
    told = row("realms", [*MOVED[:7], *trace(stop)])
    assert (told["until_s"], told["served_s"], told["serving"]) == (12.0, 11 - 2 - 0.25, False)


def test_a_migrations_row_holds_its_pause_and_what_crossed() -> None:
    assert row("migrations", MOVED) == {
        "session": "move-1",
        "realm": "web-001",
        "source": "m1",
        "target": "m2",
        "why": "operator",
        "opened_s": 9.0,
        "finished_s": 11.0,
        "duration_s": 2.0,
        "downtime_ms": 250.0,
        "sent_bytes": 77,
        "rounds": 1,
        "outcome": "moved",
    }


def test_a_migration_that_the_end_of_the_run_cut_off_has_no_outcome() -> None:
    told = row("migrations", MOVED[:4], end_s=10)
    assert (told["finished_s"], told["outcome"], told["downtime_ms"], told["sent_bytes"]) == (None, None, None, 0)


def test_outages_name_their_cause() -> None:
    told = [(gap["cause"], gap["from_s"], gap["duration_ms"], gap["machine"]) for gap in ROWS["outages"](MOVED, 21 * S)]
    assert told == [("bring-up", 1.0, 2000.0, None), ("migration", 10.0, 250.0, "m1"), ("lease", 15.0, 2000.0, "m2")]


def test_activations_are_told_apart_from_boots_and_refusals() -> None:
    image = {"component": "RMM", "version": "1.0.1", "security_version": 2, "signer": "aa"}
    lines = trace(
        (5000, "m1", "firmware.activated", {**image, "pause_ns": 5 * MS}),
        (6000, "m2", "firmware.booted", image),
        (7000, "m3", "firmware.refused", {"component": "RMM", "step": "activate", "status": "BUSY", "why": ""}),
    )
    told = [
        (a["machine"], a["method"], a["pause_ms"], a["version"], a["status"]) for a in ROWS["activations"](lines, 0)
    ]
    assert told == [
        ("m1", "live", 5.0, "1.0.1", "success"),
        ("m2", "boot", None, "1.0.1", "success"),
        ("m3", "live", None, None, "BUSY"),
    ]


def test_a_faults_row_ends_where_it_was_healed() -> None:
    injected = {"fault": "fault-1", "kind": "machine.freeze", "targets": ["m1", "m2"], "peers": [], "until_ns": 99 * S}
    healed = {"fault": "fault-1", "kind": "machine.freeze", "targets": ["m1", "m2"], "peers": []}
    lines = trace((2000, "control", "fault.injected", injected), (4000, "control", "fault.healed", healed))
    told = row("faults", lines)
    assert (told["from_s"], told["until_s"], told["targets"], told["peers"]) == (2.0, 4.0, "m1,m2", "")
    assert row("faults", lines[:1])["until_s"] is None


def test_a_verdicts_row_splits_its_time_into_queue_and_service() -> None:
    instants = {
        "arrived_ns": 1 * S,
        "started_ns": 1 * S + 6 * MS,
        "done_ns": 1 * S + 11 * MS,
        "replied_ns": 1 * S + 17 * MS,
    }
    said = {"machine": "m1", "passed": False, "why": "bring-up", "reason": "signature", "detail": "no", "rim": "00"}
    told = row("attestations", trace((1100, "control", "realm.verdict", copy(**said, **instants))))
    assert (told["at_s"], told["wait_ms"], told["service_ms"], told["total_ms"]) == (1.017, 6.0, 5.0, 17.0)
    assert (told["passed"], told["reason"], told["rim"]) == (False, "signature", "00")


def test_every_table_has_rows_with_exactly_its_columns() -> None:
    assert TABLES.keys() == ROWS.keys()
    for name in ("events", "realms", "outages", "migrations"):
        for told in ROWS[name](MOVED, 21 * S):
            assert list(told) == [column.name for column in TABLES[name]]
