"""Expansion of an experiment into the faults of one seed, and plans that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.diagnostics import path_text
from orchestrator.cluster.experiment import Experiment, PlanRefused, expand, staged
from orchestrator.cluster.schema import Cluster, LinkFault, MachineFault

SECOND = 10**9


def no_draw(name: str, bound: int) -> int:
    raise AssertionError(f"{name} must not draw")


def experiment(*method: dict[str, Any], **more: Any) -> Experiment:
    data = {
        "kind": "experiment",
        "version": 1,
        "name": "try",
        "fleet": "sound.yaml",
        "hypothesis": {"title": "It holds"},
        "method": list(method),
        **more,
    }
    return Experiment.model_validate(data)


def freeze(**more: Any) -> dict[str, Any]:
    return {"fault": "machine.freeze", "for": "5s", "select": {"count": 1}, **more}


@pytest.fixture
def cluster(sound: dict[str, Any]) -> Cluster:
    """Four machines in two racks, ten minutes."""
    return Cluster.model_validate(sound)


def refused(plan: Experiment, cluster: Cluster) -> list[str]:
    with pytest.raises(PlanRefused) as caught:
        expand(plan, cluster, no_draw)
    return [f"{path_text(finding.path)}: {finding.message}" for finding in caught.value.findings]


def test_a_single_step_becomes_the_same_fault(cluster: Cluster) -> None:
    step = {
        "fault": "network.loss",
        "at": "1min",
        "for": "5s",
        "between": [{"rack": "r1"}, "control"],
        "loss": "5%",
        "one_way": True,
    }
    assert expand(experiment(step), cluster, no_draw) == [LinkFault.model_validate(step)]


def test_a_repeated_step_runs_from_its_first_time_until_its_last_inclusive(cluster: Cluster) -> None:
    faults = expand(experiment(freeze(every="45s", **{"from": "1min"}, until="150s")), cluster, no_draw)
    assert [fault.at // SECOND for fault in faults] == [60, 105, 150]
    assert all(isinstance(fault, MachineFault) and fault.during == 5 * SECOND for fault in faults)


def test_without_until_the_last_repetition_heals_before_the_quiet_begins(cluster: Cluster) -> None:
    # the quiet 90s begin at 510s: a start at 505s is healed just then
    faults = expand(experiment(freeze(every="5s", **{"from": "490s"})), cluster, no_draw)
    assert [fault.at // SECOND for fault in faults] == [490, 495, 500, 505]


def test_jitter_is_drawn_from_one_stream_per_step_and_repetition(cluster: Cluster) -> None:
    asked: list[tuple[str, int]] = []

    def draw(name: str, bound: int) -> int:
        asked.append((name, bound))
        return bound - 1

    plan = experiment(freeze(at="3min"), freeze(every="1min", **{"from": "1min"}, until="2min", jitter="10s"))
    faults = expand(plan, cluster, draw)
    assert asked == [("chaos/1/0", 10 * SECOND + 1), ("chaos/1/1", 10 * SECOND + 1)]
    assert [fault.at // SECOND for fault in faults] == [70, 130, 180]


def test_seed_and_duration_go_before_those_of_the_fleet(cluster: Cluster) -> None:
    plan = experiment(freeze(at="1min"), seed=9, duration="8min")
    result = staged(plan, cluster, no_draw)
    assert (result.seed, result.duration, len(result.faults)) == (9, 480 * SECOND, 1)
    assert staged(experiment(freeze(at="1min")), cluster, no_draw).duration == 600 * SECOND


def test_the_faults_of_fleet_and_experiment_are_played_together_in_order(sound: dict[str, Any]) -> None:
    sound["faults"] = [freeze(at="2min")]
    result = staged(experiment(freeze(at="1min"), freeze(at="3min")), Cluster.model_validate(sound), no_draw)
    assert [fault.at // SECOND for fault in result.faults] == [60, 120, 180]


def test_names_that_the_fleet_has_not_are_refused(cluster: Cluster) -> None:
    plan = experiment(freeze(at="1min", select={"machine": "r9-std-01"}), freeze(at="2min", select={"rack": "r3"}))
    assert refused(plan, cluster) == [
        "method[0].select.machine: no machine is called 'r9-std-01'",
        "method[1].select.rack: no rack is called 'r3'",
    ]


def test_a_fault_in_the_quiet_end_is_refused(cluster: Cluster) -> None:
    assert expand(experiment(freeze(at="505s")), cluster, no_draw)
    assert refused(experiment(freeze(at="506s")), cluster) == ["method[0].for: healed at 511s, inside the quiet end"]


def test_faults_on_one_target_must_not_overlap_those_of_the_fleet(sound: dict[str, Any]) -> None:
    sound["faults"] = [freeze(at="1min", select={"rack": "r1"})]
    plan = experiment(freeze(at="62s", select={"machine": "r1-std-02"}))
    assert refused(plan, Cluster.model_validate(sound)) == ["method[0].at: machine.freeze is still on there until 65s"]


def test_more_machines_at_a_time_than_the_blast_radius_allows_are_refused_with_the_sum(cluster: Cluster) -> None:
    steps = (freeze(at="60s"), freeze(at="64s", select={"rack": "r2"}), freeze(at="65s"))
    within = {"blast_radius": {"machines": "75%"}}
    assert len(expand(experiment(*steps, guards=within), cluster, no_draw)) == 3
    beyond = {"blast_radius": {"machines": "50%"}}
    assert refused(experiment(*steps, guards=beyond), cluster) == [
        "guards.blast_radius.machines: at 64s method[0], method[1] may strike 3 of 4 machines; allowed are 50%"
    ]


def test_more_racks_at_a_time_than_allowed_are_refused(cluster: Cluster) -> None:
    cut = {"fault": "network.partition", "at": "1min", "for": "5s", "between": [{"rack": "r1"}, {"rack": "r2"}]}
    guards = {"blast_radius": {"racks": 1}}
    assert refused(experiment(cut, guards=guards), cluster) == [
        "guards.blast_radius.racks: at 1min method[0] may strike machines in 2 racks; allowed are 1"
    ]


def test_a_duration_that_cuts_off_the_fleets_events_is_refused(sound: dict[str, Any]) -> None:
    sound["events"] = [{"kind": "stop", "at": "9min", "realm": "web-001"}]
    assert refused(experiment(freeze(at="1min"), duration="8min"), Cluster.model_validate(sound)) == [
        "duration: the fleet no longer fits it: events[0].at: 9min is not before the end"
    ]


def test_a_start_beyond_all_time_is_refused_in_words(cluster: Cluster) -> None:
    plan = experiment(freeze(at="106751d", every=None), freeze(every="1d", **{"from": "106751d"}, until="106751d"))
    assert {told.split(": ", 1)[1] for told in refused(plan, cluster)} >= {"106751d is not before the end"}


def test_a_method_that_never_stops_is_refused(cluster: Cluster) -> None:
    plan = experiment(freeze(every="1ms", **{"from": "0s"}))
    assert refused(plan, cluster) == ["method[0]: the method expands to more than 2000 faults"]
