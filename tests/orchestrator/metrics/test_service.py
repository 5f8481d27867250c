"""The running account of served and unserved Realm-time equals the one that whole intervals give afterwards."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca_machine import commands
from orchestrator import records
from orchestrator.chaos.history import read
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.metrics.collect import collect
from orchestrator.metrics.fleet_facts import FleetFacts, Place
from orchestrator.metrics.folds.service import cause_of
from orchestrator.metrics.samples import Samples
from orchestrator.metrics.tally import Key
from orchestrator.report.availability import Cause, service

S = 1_000_000_000
END_NS = 120 * S
MACHINES, REALMS = ("m1", "m2"), ("a", "b")
FACTS = FleetFacts("x", "x", 0, {machine: Place("r", "p") for machine in MACHINES}, REALMS)
WHYS = ("lease", "migration export", "activation", "lfa", "stop", "evidence refused")


def final(samples: Samples, name: str, *labels: str) -> Any:
    return list(samples.points(Key(f"realmfleet_{name}", labels)))[-1][1]


def test_unserved_time_grows_while_a_realm_is_wanted_and_down(story) -> None:
    story.wanted("web-001", 10).serves("m1", "web-001", 14).still("m1", "web-001", 60, "lease")
    lost = [story.value("realm_unavailable_seconds_total", "lease", at_s=at_s) for at_s in (60, 75, 90)]
    assert lost == [0, 15 * S, 30 * S]
    assert story.value("realm_unavailable_seconds_total", "bring-up") == 4 * S
    assert story.value("realm_serving_seconds_total") == 46 * S
    assert story.value("unserved_realms", "lease") == 1


def test_a_realm_that_an_operator_stopped_is_not_missed(story) -> None:
    story.wanted("web-001", 0).serves("m1", "web-001", 10).moved("web-001", 30, "serving", "stopping")
    story.still("m1", "web-001", 31, "stop")
    assert story.value("realm_serving_seconds_total") == 20 * S
    assert story.value("unserved_realms", "restart") == 0


def test_an_activation_costs_each_realm_of_its_machine_the_pause(story) -> None:
    story.wanted("web-001", 0).wanted("db-001", 0).serves("m1", "web-001", 0).serves("m2", "db-001", 0)
    story.put("m1", 50, commands.FirmwareActivated("RMM", "1.0.1", 2, "", 40_000_000))
    assert story.value("realm_unavailable_seconds_total", "activation") == 40_000_000
    assert story.value("realm_serving_seconds_total") == 200 * S - 40_000_000


def test_a_counter_of_served_time_never_falls_although_a_pause_is_told_afterwards(story) -> None:
    story.wanted("web-001", 0).serves("m1", "web-001", 0)
    story.put("m1", 30.1, commands.FirmwareActivated("RMM", "1.0.1", 2, "", 20 * S))
    points = [value for _, value in story.samples().points(Key("realmfleet_realm_serving_seconds_total", ()))]
    assert points == sorted(points)
    assert points[-1] == 80 * S


def test_two_copies_that_serve_are_one_served_realm(story) -> None:
    story.wanted("web-001", 0).serves("m1", "web-001", 0).serves("m2", "web-001", 20, 2).lost("m1", 50)
    assert story.value("realm_serving_seconds_total") == 100 * S
    assert story.value("unserved_realms", "machine-lost") == 0
    assert story.value("live_realms", "serving", at_s=30) == 2


@pytest.mark.parametrize("why", WHYS)
def test_words_mean_the_same_cause_as_in_the_report(story, why: str) -> None:
    story.wanted("web-001", 0).serves("m1", "web-001", 0).still("m1", "web-001", 50, why)
    (gap,) = [gap for gap in service(read(story.entries), story.end_ns).gaps if gap.cause is not Cause.BRING_UP]
    assert cause_of(why) is gap.cause


@st.composite
def traces(draw: st.DrawFn) -> list[TraceEntry]:
    """Realms wanted at 0, then any order of service, stands, losses, freezes and stops, one a second."""
    entries = [
        TraceEntry(0, Priority.CONTROL, commands.CONTROL, number, records.RealmWanted(realm, 1, "web", "start"))
        for number, realm in enumerate(draw(st.lists(st.sampled_from(REALMS), unique=True)), 1000)
    ]
    for number, at_s in enumerate(draw(st.lists(st.integers(1, 119), unique=True, min_size=1, max_size=25))):
        realm, machine = draw(st.sampled_from(REALMS)), draw(st.sampled_from(MACHINES))
        what = draw(
            st.sampled_from(
                [
                    commands.RealmLive(realm, 1, True, "secret"),
                    commands.RealmLive(realm, 1, False, "launch"),
                    commands.RealmStill(realm, 1, 0, draw(st.sampled_from(WHYS))),
                    commands.RealmDestroyed(realm, 1, ()),
                    commands.MachineLost(commands.FaultKind.POWER_LOSS, ()),
                    commands.MachineBooted(1, {}),
                    commands.MachineFrozen(()),
                    commands.MachineThawed(()),
                    records.RealmChanged(realm, 1, machine, "serving", "stopping", ""),
                ]
            )
        )
        control = isinstance(what, records.RealmChanged)
        source = commands.CONTROL if control else machine
        priority = Priority.CONTROL if control else Priority.MACHINE
        entries.append(TraceEntry(at_s * S, priority, source, number, what))
    return entries


@settings(max_examples=200, deadline=None)
@given(traces())
def test_the_running_account_equals_the_one_made_afterwards(entries: list[TraceEntry]) -> None:
    samples, account = collect(entries, FACTS, END_NS), service(read(entries), END_NS)
    assert final(samples, "realm_serving_seconds_total") == account.served_ns
    lost: Counter[Cause] = Counter()
    for gap in account.gaps:
        lost[gap.cause] += gap.duration_ns
    assert {cause: final(samples, "realm_unavailable_seconds_total", cause) for cause in Cause} == {
        cause: lost[cause] for cause in Cause
    }
