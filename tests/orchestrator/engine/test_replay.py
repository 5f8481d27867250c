"""Where two traces part."""

from __future__ import annotations

from toy_machine import FACTORY, toy_fleet
from toy_run import ToyRun, toy_topology

from orchestrator.engine.instant import MS, US
from orchestrator.engine.links import LinkShape
from orchestrator.engine.replay import first_difference
from orchestrator.fleet.local import LocalFleet

LINES = [
    b'{"at_ns":1,"kind":"k","number":1,"priority":3,"source":"m0","what":{"a":1,"b":{"c":2}}}',
    b'{"at_ns":2,"kind":"k","number":2,"priority":3,"source":"m0","what":{"a":1,"b":{"c":2}}}',
]


def test_equal_traces_have_no_difference() -> None:
    assert first_difference(LINES, iter(LINES)) is None


def test_the_first_difference_names_record_machine_instant_and_field() -> None:
    other = [LINES[0], LINES[1].replace(b'"c":2', b'"c":3').replace(b"m0", b"m1")]
    found = first_difference(LINES, other)
    assert found is not None
    assert (found.place, found.at_ns, found.source, found.kind) == (1, 2, "m0", "k")
    assert found.fields == ("source", "what.b.c")
    assert "record 1, k of m0 at 00:00:00.000000002 (2 ns) differs in source, what.b.c" in found.sentence()


def test_a_trace_that_ends_early_differs_where_it_ends() -> None:
    found = first_difference(LINES, LINES[:1])
    assert found is not None
    assert (found.place, found.fields, found.right) == (1, (), None)
    assert "is missing from one of them" in found.sentence()


def test_runs_that_differ_by_a_microsecond_on_one_link_part_at_a_message_over_that_link() -> None:
    def lines(latency_ns: int) -> list[bytes]:
        fleet = LocalFleet(toy_fleet(3, 40 * MS), 1, FACTORY)
        single = {("m1", "control"): LinkShape(latency_ns)}
        return ToyRun(fleet, topology=toy_topology(fleet.machines(), single)).run(1000 * MS).lines

    found = first_difference(lines(250 * US), lines(251 * US))
    assert found is not None
    assert found.kind == "toy.seen"
    assert found.fields == ("what.arrived_ns",)
