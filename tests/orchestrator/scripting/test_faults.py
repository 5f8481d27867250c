"""Faults as `with` blocks: healed on the way out, whatever happens inside; storms of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator import ActRefused, Fault, Fleet, FleetError, UserMistake
from orchestrator.replay import replay_run


def told(fleet: Fleet, kind: str) -> list[str]:
    return [line.what["fault"] for line in fleet.finish().lines if line.kind == kind]


def test_a_fault_holds_inside_the_block_and_is_undone_behind_it(fleet: Fleet) -> None:
    with fleet.fault("machine.freeze", machine="r1-std-01") as scope:
        assert fleet.faults == {"fault-1": "machine.freeze"}
        fleet.until(lambda fleet: fleet.machines["r1-std-01"].state == "suspect", within="20s")
    assert (scope.names, fleet.faults) == (("fault-1",), {})
    fleet.until(lambda fleet: fleet.machines["r1-std-01"].state == "admitted", within="20s")


def test_a_fault_is_undone_when_the_block_fails_and_the_failure_is_not_hidden(fleet: Fleet) -> None:
    with pytest.raises(ZeroDivisionError), fleet.fault("machine.freeze", machine="r1-std-01"):
        _ = 1 / 0
    assert fleet.faults == {}


def test_a_fault_that_ended_by_itself_is_not_healed_again(fleet: Fleet) -> None:
    with fleet.fault("machine.freeze", machine="r1-std-01", lasts="1s"):
        fleet.advance("3s")
    assert told(fleet, "fault.healed") == ["fault-1"]
    assert [line.kind for line in fleet.finish().lines if line.kind == "operator.refused"] == []


def test_a_block_may_end_the_run(fleet: Fleet) -> None:
    with fleet.fault("machine.freeze", machine="r1-std-01"):
        results = fleet.finish(after="1s")
    assert results.faults["until_s"].to_list() == [None]
    assert results.verdicts["recovered"].outcome.value == "unknown"


def test_a_run_is_calm_from_where_the_fault_was_healed_and_not_from_where_it_would_have_ended(fleet: Fleet) -> None:
    with fleet.fault("network.partition", between=("rack:r2", "control")):
        fleet.advance("45s")
    results = fleet.finish(after="3min")
    assert results.passed, results.verdicts["recovered"]
    assert "calm since 00:00:4" in results.verdicts["recovered"].detail


def test_handles_may_stand_where_names_do(fleet: Fleet) -> None:
    realm = fleet.realms["web-001"]
    with fleet.fault("network.loss", between=(realm, "control"), loss="50%"):
        assert fleet.run.assembly.storm.in_force[0].targets == (realm.machine,)
    with fleet.fault("machine.freeze", machine=fleet.machines[0]):
        assert fleet.run.assembly.storm.in_force[0].targets == ("r1-std-01",)


def test_an_end_that_is_none_is_refused_before_anything_is_asked(fleet: Fleet) -> None:
    with pytest.raises(UserMistake, match="r2 names no end of a link"):
        fleet.fault("network.partition", between=("r2", "control"))


def test_a_fault_that_strikes_nobody_is_refused(fleet: Fleet) -> None:
    with (
        fleet.fault("machine.freeze", machine="r1-std-01"),
        pytest.raises(ActRefused, match="strikes nobody now"),
        fleet.fault("machine.freeze", machine="r1-std-01"),
    ):
        raise AssertionError("it struck")
    assert fleet.faults == {}


def brownout(fleet: Fleet, rack: str, delay: str) -> Iterator[Fault]:
    """One machine of a rack freezes, the others answer late."""
    first, *others = fleet.machines.where(rack=rack)
    yield Fault("machine.freeze", machine=first)
    for machine in others:
        yield Fault("network.delay", between=(machine, "control"), delay=delay)


def test_a_fault_of_ones_own_strikes_as_one_and_replays_without_its_code(fleet: Fleet) -> None:
    with fleet.fault(brownout, rack="r1", delay="200ms") as scope:
        assert fleet.faults == {"fault-1": "machine.freeze", "fault-2": "network.delay"}
        fleet.advance("5s")
    assert len(scope.names) == 2
    results = fleet.finish(after="1min")
    assert results.faults["from_s"].n_unique() == 1
    assert replay_run(results.path).trace_digest == results.trace_digest


def test_when_one_part_is_refused_the_others_are_taken_back(fleet: Fleet) -> None:
    with pytest.raises(ActRefused, match="delay"), fleet.fault(brownout, rack="r1", delay="soon"):
        raise AssertionError("it struck")
    assert fleet.faults == {}
    assert told(fleet, "fault.healed") == ["fault-1"]


def test_a_fault_of_ones_own_that_yields_nothing_is_a_mistake(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match="no fault to inject"), fleet.fault(lambda fleet: []):
        raise AssertionError("it struck")
