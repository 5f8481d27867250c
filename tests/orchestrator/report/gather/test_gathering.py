"""What the report gathers in one pass, held to what other code computes of the whole trace, or to plain counting."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cca_machine.commands import RealmLive, RealmStill
from orchestrator.chaos.history import lives, read
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.firmware.outcome import outcome
from orchestrator.firmware.tcb_outcome import drills
from orchestrator.migration.listing import migrations
from orchestrator.records import RealmWanted
from orchestrator.report.availability import service
from orchestrator.report.gather.gathering import gather

S = 1_000_000_000


@pytest.fixture(params=["quickstart", "drained", "leaseless"])
def ran(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_every_gap_of_every_realm_is_counted_once_under_its_cause(ran: Any) -> None:
    gathered, told = gather(ran.lines, ran.end_ns), service(ran.lines, ran.end_ns)
    expected: dict[str, list[int]] = defaultdict(list)
    for gap in told.gaps:
        expected[gap.cause].append(gap.duration_ns)
    found = gathered.service.downtime
    assert {cause: (one.events, one.total_ns, one.longest_ns) for cause, one in found.items()} == {
        cause: (len(each), sum(each), max(each)) for cause, each in expected.items()
    }


def test_availability_by_class_adds_up_to_that_of_the_run(ran: Any) -> None:
    gathered, told = gather(ran.lines, ran.end_ns), service(ran.lines, ran.end_ns)
    classes = gathered.service.classes
    assert sum(one.wanted_ns for one in classes.values()) == told.wanted_ns
    assert sum(one.served_ns for one in classes.values()) == told.served_ns
    assert sum(one.serving for one in classes.values()) == len(told.serving_at_end)
    assert {name: one.realms for name, one in classes.items()} == {
        name: kind.count for name, kind in ran.cluster.realms.items()
    }


def test_the_realm_that_missed_most_of_its_class_is_named(quickstart: Any) -> None:
    missed: Counter[str] = Counter()
    for gap in service(quickstart.lines, quickstart.end_ns).gaps:
        missed[gap.realm] += gap.duration_ns
    for name, own in gather(quickstart.lines, quickstart.end_ns).service.classes.items():
        most = max(value for realm, value in missed.items() if realm.startswith(f"{name}-"))
        assert (missed[own.worst], own.worst_ns) == (most, most)


spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40), st.sampled_from(["m1", "m2"])), max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(serving=spans)
def test_gaps_are_those_of_the_whole_trace_however_copies_overlap(serving: list[tuple[int, int, str]]) -> None:
    entries = [TraceEntry(0, Priority.ENVIRONMENT, "control", 1, RealmWanted("a", 1, "web", "start"))]
    for number, (begin, length, machine) in enumerate(serving, 1):
        place = f"{machine}-{number}"
        entries.append(TraceEntry(begin * S, Priority.MACHINE, place, 1, RealmLive("a", number, True, "")))
        entries.append(TraceEntry((begin + length) * S, Priority.MACHINE, place, 2, RealmStill("a", number, 0, "")))
    lines = [line for line in read(entries) if line.at_ns < 100 * S]
    gathered, told = gather(lines, 100 * S), service(lines, 100 * S)
    own = gathered.service.classes["web"]
    assert (own.wanted_ns, own.served_ns) == (told.wanted_ns, told.served_ns)
    assert sum(one.events for one in gathered.service.downtime.values()) == len(told.gaps)


def test_a_rollout_is_timed_exposed_and_billed_as_its_outcome_says(quickstart: Any) -> None:
    (found,) = gather(quickstart.lines, quickstart.end_ns).rollouts.all
    told = outcome(quickstart.lines, quickstart.end_ns, found.rollout)
    assert told is not None
    assert (found.state, found.machines, found.updated) == (told.state, told.machines, told.updated)
    assert (found.exposed_ns, found.downtime_ns) == (told.exposure_ns, told.downtime_ns)
    assert found.downtime_faults_ns == told.downtime_faults_ns
    assert tuple(found.reached_ns.get(share) for share in (50, 95, 100)) == told.time_to_ns
    assert (found.migrations, found.restarts) == (told.migrations, told.restarts)
    waves = [(line.what["wave"], line.at_ns, len(line.what["machines"])) for line in quickstart.of("wave.started")]
    assert [(wave.number, wave.from_ns, wave.machines) for wave in found.waves] == waves


def test_each_migration_is_told_as_the_listing_tells_it(drained: Any) -> None:
    gathered = gather(drained.lines, drained.end_ns)
    keys = ("session", "realm", "source", "target", "why", "opened_ns", "outcome", "sent_bytes", "downtime_ns",
            "dirty_bytes_per_s", "paused_for")  # fmt: skip
    found = [{key: getattr(one, key) for key in keys} for one in gathered.sessions.told()]
    assert found == [{key: row[key] for key in keys} for row in migrations(drained.lines)]
    rounds = Counter(line.what["session"] for line in drained.of("migration.round"))
    assert {one.session: len(one.rounds) for one in gathered.sessions.told() if one.rounds} == dict(rounds)
    aborted = {line.what["session"]: line.what["why"] for line in drained.of("migration.aborted")}
    assert {one.session: one.abort for one in gathered.sessions.told() if one.abort} == aborted


def test_verdicts_are_counted_by_reason_and_by_what_asked_for_them(ran: Any) -> None:
    found = gather(ran.lines, ran.end_ns).verdicts
    verdicts = [line.what for line in ran.of("realm.verdict")]
    assert found.passed == sum(what["passed"] for what in verdicts)
    assert found.by_reason == Counter(what["reason"] for what in verdicts if not what["passed"])
    assert found.by_trigger == Counter((what["why"], what["passed"]) for what in verdicts)
    assert sum(passed + refused for passed, refused in found.over_time) == len(verdicts)
    assert found.took.total_ns == sum(what["replied_ns"] - what["arrived_ns"] for what in verdicts)
    assert found.tiers == Counter(pair for what in verdicts for pair in what["tiers"].items())
    assert found.secrets == len(ran.of("secret.released"))


def test_at_every_instant_the_versions_are_those_of_the_machines_that_are_up(quickstart: Any) -> None:
    gathered = gather(quickstart.lines, quickstart.end_ns)
    running: dict[str, str] = {}
    for place, line in enumerate(quickstart.lines):
        if line.kind == "machine.booted":
            running[line.source] = line.what["versions"]["RMM"]
        elif line.kind == "machine.lost":
            running.pop(line.source, None)
        elif line.kind == "firmware.activated" and line.what["component"] == "RMM":
            running[line.source] = line.what["version"]
        last_of_instant = place + 1 == len(quickstart.lines) or quickstart.lines[place + 1].at_ns > line.at_ns
        if last_of_instant and line.kind.startswith(("machine.", "firmware.")):
            shown = {version: steps.at(line.at_ns) for version, steps in gathered.versions.machines["RMM"].items()}
            assert {version: count for version, count in shown.items() if count} == Counter(running.values())


def test_realms_serving_over_time_is_what_the_stretches_of_service_give(quickstart: Any) -> None:
    gathered = gather(quickstart.lines, quickstart.end_ns)
    stretches = [life for life in lives(quickstart.lines) if life.serving_from_ns is not None]
    for at_ns, value in gathered.service.serving.points()[::7]:
        serving = {
            life.realm
            for life in stretches
            if (life.serving_from_ns or 0) <= at_ns and (life.until_ns is None or at_ns < life.until_ns)
        }
        assert value == len(serving), at_ns


def test_a_realms_row_shows_it_serving_exactly_where_and_when_it_served(quickstart: Any) -> None:
    rows = {row.name: row for row in gather(quickstart.lines, quickstart.end_ns).realms.rows.chosen()}
    expected: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for life in lives(quickstart.lines):
        if life.serving_from_ns is not None:
            until_ns = quickstart.end_ns if life.until_ns is None else life.until_ns
            expected[life.realm].append((life.serving_from_ns, until_ns, life.machine))
    assert set(rows) == set(expected)
    for name, row in rows.items():
        shown = [(span.from_ns, span.until_ns, span.note) for span in row.spans if span.state == "serving"]
        assert shown == sorted(expected[name])


def test_a_realm_alive_twice_is_shown_so_where_the_checker_found_it(leaseless: Any) -> None:
    (failed,) = [verdict for verdict in leaseless.result.verdicts if verdict.name == "alive-once"]
    assert failed.outcome == "fail"
    rows = {row.name: row for row in gather(leaseless.lines, leaseless.end_ns).realms.rows.chosen()}
    twice = {name for name, row in rows.items() if any(span.state == "twice" for span in row.spans)}
    assert failed.detail.partition("#")[0] in twice
    stretches: dict[str, list[Any]] = defaultdict(list)
    for life in lives(leaseless.lines):
        stretches[life.realm].append(life)
    overlapping = {
        realm
        for realm, own in stretches.items()
        if any(one is not two and one.from_ns < two.from_ns and one.lasts_at(two.from_ns) for one in own for two in own)
    }
    assert twice == overlapping


def test_bars_stand_where_faults_waves_and_moves_were(quickstart: Any) -> None:
    lanes = gather(quickstart.lines, quickstart.end_ns).happenings.lanes
    healed = {line.what["fault"]: line.at_ns for line in quickstart.of("fault.healed")}
    faults = [(line.at_ns, healed[line.what["fault"]]) for line in quickstart.of("fault.injected")]
    assert [(bar.from_ns, bar.until_ns) for bar in lanes["faults"].kept] == faults
    waves = [line.at_ns for line in quickstart.of("wave.finished")]
    assert [bar.until_ns for bar in lanes["waves"].kept] == waves
    assert [bar.name for bar in lanes["migrations"].kept] == [
        line.what["realm"] for line in quickstart.of("migration.started")
    ]


def test_a_machines_row_shows_when_it_was_lost_and_what_was_believed(quickstart: Any) -> None:
    rows = {row.name: row for row in gather(quickstart.lines, quickstart.end_ns).machines.rows.chosen()}
    (lost,) = quickstart.of("machine.lost")
    booted = [line.at_ns for line in quickstart.of("machine.booted") if line.source == lost.source]
    shown = [(span.from_ns, span.until_ns) for span in rows[lost.source].spans if span.state == "lost"]
    assert shown == [(lost.at_ns, booted[1])]
    (suspect, *_) = [line for line in quickstart.of("machine.suspect") if line.what["machine"] == lost.source]
    (down, *_) = [line for line in quickstart.of("machine.down") if line.what["machine"] == lost.source]
    beliefs = [(span.state, span.from_ns) for span in rows[lost.source].beliefs]
    assert beliefs == [("suspect", suspect.at_ns), ("down", down.at_ns)]


def test_lost_and_regained_trust_is_what_the_drill_says(revoked: Any) -> None:
    found = gather(revoked.lines, revoked.end_ns).trust
    told = drills(revoked.lines, revoked.end_ns)
    assert [one.at_ns for one in found.revocations.kept] == [drill.at_ns for drill in told]
    realms = [realm for drill in told for realm in drill.realms]
    assert found.lost == len(realms) > 0
    assert found.regained.events == sum(realm.regained_ns is not None and not realm.ended for realm in realms)
    assert found.untrusted_ns == sum(drill.untrusted_ns for drill in told)
    assert "TCB recovery" in revoked.page


def test_gathering_is_one_pass_that_keeps_no_line(quickstart: Any) -> None:
    again = gather(iter(quickstart.lines), quickstart.end_ns)
    assert again.records == len(quickstart.lines)
    assert again.kinds == Counter(line.kind for line in quickstart.lines)
