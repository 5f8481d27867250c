"""Availability and gaps, against answers worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine.commands import (
    FaultKind,
    FirmwareActivated,
    MachineFrozen,
    MachineLost,
    MachineThawed,
    RealmLive,
    RealmStill,
)
from orchestrator.chaos.history import read
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.records import RealmChanged, RealmWanted
from orchestrator.report.availability import Gap, service

S = 1_000_000_000


def gaps(script: Any) -> list[tuple[str, str, float, float]]:
    found = service(read(script.entries), 100 * S).gaps
    return [(gap.realm, str(gap.cause), gap.from_ns / S, gap.until_ns / S) for gap in found]


def test_bring_up_is_the_gap_before_the_first_service(script: Any) -> None:
    script.wanted("a", 10).serves("m1", "a", 12)
    assert gaps(script) == [("a", "bring-up", 10, 12)]
    told = service(read(script.entries), 100 * S)
    assert (told.wanted_ns, told.served_ns, told.serving_at_end) == (90 * S, 88 * S, ("a",))


@pytest.mark.parametrize(
    ("why", "cause"),
    [
        ("migration", "migration"),
        ("paused for export", "migration"),
        ("lease-ended", "lease"),
        ("activation", "activation"),
        ("stop-ordered", "restart"),
    ],
)
def test_the_cause_of_a_gap_is_what_ended_the_copy_before(script: Any, why: str, cause: str) -> None:
    script.wanted("a", 0).serves("m1", "a", 0).still("m1", "a", 20, why).serves("m2", "a", 21.5)
    assert gaps(script) == [("a", cause, 20, 21.5)]


def test_losing_the_machine_and_freezing_it_are_causes_of_their_own(script: Any) -> None:
    script.wanted("a", 0).serves("m1", "a", 0).put("m1", 20, MachineLost(FaultKind.POWER_LOSS, (("a", 1),)))
    script.serves("m2", "a", 60, incarnation=2)
    script.put("m2", 70, MachineFrozen((("a", 2),))).put("m2", 75, MachineThawed((("a", 2),)))
    assert gaps(script) == [("a", "machine-lost", 20, 60), ("a", "freeze", 70, 75)]


def test_an_activation_pauses_every_serving_realm_of_its_machine_for_its_pause(script: Any) -> None:
    script.wanted("a", 0).wanted("b", 0).serves("m1", "a", 0).serves("m2", "b", 0)
    script.put("m1", 40, FirmwareActivated("RMM", "1.1.0", 1, "aa", 2 * S))
    assert gaps(script) == [("a", "activation", 38, 40)]


def test_an_activation_whose_pause_stands_in_the_trace_already_is_not_counted_twice(script: Any) -> None:
    script.wanted("a", 0).serves("m1", "a", 0).still("m1", "a", 38, "activation")
    script.put("m1", 40, FirmwareActivated("RMM", "1.1.0", 1, "aa", 2 * S)).serves("m1", "a", 40)
    assert gaps(script) == [("a", "activation", 38, 40)]


def test_a_gap_that_lasts_to_the_end_is_open_and_a_stopped_realm_is_no_longer_wanted(script: Any) -> None:
    script.wanted("a", 0).wanted("b", 0).serves("m1", "a", 0).serves("m1", "b", 0)
    script.still("m1", "a", 90, "lease-ended").still("m1", "b", 50, "stop-ordered")
    script.control(50, RealmChanged("b", 1, "m1", "serving", "stopping", "operator"))
    told = service(read(script.entries), 100 * S)
    assert [(gap.realm, gap.duration_ns, gap.open) for gap in told.gaps] == [("a", 10 * S, True)]
    assert (told.wanted_ns, told.served_ns, told.serving_at_end) == (150 * S, 140 * S, ())


def test_two_copies_at_once_count_as_one_service(script: Any) -> None:
    script.wanted("a", 0).serves("m1", "a", 0).serves("m2", "a", 10, incarnation=2)
    script.still("m2", "a", 20, "lease-ended", incarnation=2).still("m1", "a", 50, "lease-ended")
    script.serves("m3", "a", 60, incarnation=3)
    assert gaps(script) == [("a", "lease", 50, 60)]


def test_a_realm_that_runs_but_does_not_serve_is_not_available(script: Any) -> None:
    script.wanted("a", 0).put("m1", 0, RealmLive("a", 1, False, "enter")).serves("m1", "a", 30)
    assert gaps(script) == [("a", "bring-up", 0, 30)]


spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40), st.sampled_from(["m1", "m2", "m3"])), max_size=8)


@given(wanted=st.integers(0, 60), serving=spans)
def test_served_time_is_what_counting_second_by_second_gives(wanted: int, serving: list[tuple[int, int, str]]) -> None:
    entries = [TraceEntry(wanted * S, Priority.CONTROL, "control", 1, RealmWanted("a", 1, "web", "start"))]
    served: set[int] = set()
    for number, (begin, length, machine) in enumerate(serving, 1):
        place = f"{machine}-{number}"
        entries.append(TraceEntry(begin * S, Priority.MACHINE, place, 1, RealmLive("a", number, True, "")))
        entries.append(TraceEntry((begin + length) * S, Priority.MACHINE, place, 2, RealmStill("a", number, 0, "")))
        served |= set(range(begin, begin + length))
    told = service(read(entries), 100 * S)
    expected = len([second for second in range(wanted, 100) if second in served])
    assert told.served_ns == expected * S
    assert Fraction(told.wanted_ns, S) == 100 - wanted
    assert all(isinstance(gap, Gap) and gap.duration_ns > 0 for gap in told.gaps)
