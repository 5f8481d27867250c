"""Experiments over seeds: faults follow from the seed, verdicts have three values, failures say how to repeat them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from orchestrator.chaos.checkers import CHECKERS
from orchestrator.chaos.experiment import ExperimentResult, draws, expected, run_seeds
from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.cluster.experiment import Expect, Experiment, PlanRefused
from orchestrator.cluster.schema import Cluster
from orchestrator.errors import ExitCode

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN


class Inner(Struct, frozen=True):
    passed: int = 3
    share: str = "99%"


class Numbers(Struct, frozen=True):
    realms_running: int = 4
    attestations: Inner = Inner()
    ppm: int | None = None


class Judged(Struct, frozen=True):
    """A finished run as an experiment sees it."""

    verdicts: tuple[Verdict, ...]
    summary: Numbers = Numbers()
    trace_digest: str = "d1"
    run_dir: str = "runs/x"


def judged(**outcomes: Outcome) -> Judged:
    changed = {name.replace("_", "-"): outcome for name, outcome in outcomes.items()}
    return Judged(tuple(Verdict(name, changed.get(name, PASS), f"about {name}") for name in CHECKERS))


@pytest.fixture
def cluster() -> Cluster:
    component = {"version": "1.0.0", "signed_by": "vendor"}
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "fleet",
            "duration": "10min",
            "profiles": {"std": {"pes": 4, "memory": "1GiB", "firmware": "base"}},
            "racks": {"r1": {"machines": {"std": 4}}},
            "firmware": {
                "releases": {"base": {"components": dict.fromkeys(("BL2", "BL31", "RMM"), component)}},
            },
            "images": {"web": {}},
        }
    )


def experiment(**more: Any) -> Experiment:
    step = {
        "fault": "machine.freeze", "every": "1min", "from": "1min", "until": "5min",
        "jitter": "20s", "for": "10s", "select": {"count": 1},
    }  # fmt: skip
    body = {"kind": "experiment", "version": 1, "name": "x", "fleet": "f.yaml", "method": [step]}
    return Experiment.model_validate({**body, "hypothesis": {"title": "All is well"}, **more})


def run(cluster: Cluster, made: Experiment, result: Judged, seeds: tuple[int, ...] = (1,)) -> ExperimentResult:
    return run_seeds(made, cluster, seeds, lambda staged, seed: result, lambda seed: f"repeat {seed}")


@pytest.mark.parametrize(
    ("outcome", "code"), [(PASS, ExitCode.GOOD), (FAIL, ExitCode.NO), (UNKNOWN, ExitCode.INCONCLUSIVE)]
)
def test_the_verdict_is_that_of_the_checkers_and_gives_the_exit_code(
    cluster: Cluster, outcome: Outcome, code: ExitCode
) -> None:
    result = run(cluster, experiment(), judged(alive_once=outcome))
    assert (result.outcome, result.exit_code) == (outcome, code)
    assert result.as_json()["outcome"] == outcome.value
    assert [finding.name for finding in result.seeds[0].findings] == list(CHECKERS)


def test_one_failing_seed_fails_the_experiment_and_says_how_to_repeat_it(cluster: Cluster) -> None:
    results = {1: judged(), 2: judged(recovered=FAIL), 3: judged(recovered=UNKNOWN)}
    made = run_seeds(experiment(), cluster, (1, 2, 3), lambda staged, seed: results[seed], lambda seed: f"again {seed}")
    assert made.outcome is FAIL
    assert [(seed.seed, seed.outcome, seed.repeat) for seed in made.seeds] == [
        (1, PASS, "again 1"), (2, FAIL, "again 2"), (3, UNKNOWN, "again 3"),
    ]  # fmt: skip


def test_every_seed_is_its_own_storm_and_the_same_seed_the_same(cluster: Cluster) -> None:
    seen: list[tuple[int, list[int]]] = []

    def keep(staged: Cluster, seed: int) -> Judged:
        assert staged.seed == seed
        seen.append((seed, [fault.at for fault in staged.faults]))
        return judged()

    run_seeds(experiment(), cluster, (1, 2, 1), keep, str)
    assert seen[0] == seen[2]
    assert seen[0][1] != seen[1][1]
    assert len(seen[0][1]) == 5


def test_draws_of_one_name_do_not_shift_those_of_another() -> None:
    alone, mixed = draws(5), draws(5)
    mixed("chaos/0/0", 100)
    assert alone("chaos/1/0", 1000) == mixed("chaos/1/0", 1000)


def test_only_the_listed_checkers_judge_but_a_probe_may_ask_any(cluster: Cluster) -> None:
    probes = [{"name": "alive", "kind": "property", "checker": "alive-once"}]
    made = experiment(checkers=["recovered"], hypothesis={"title": "t", "probes": probes})
    result = run(cluster, made, judged(alive_once=FAIL, granule_exclusive=FAIL))
    assert [(found.kind, found.name, found.outcome) for found in result.seeds[0].findings] == [
        ("checker", "recovered", PASS), ("probe", "alive", FAIL),
    ]  # fmt: skip


def test_a_checker_that_does_not_exist_is_unknown_and_says_which_is_near(cluster: Cluster) -> None:
    result = run(cluster, experiment(checkers=["alive-onse"]), judged())
    (found,) = result.seeds[0].findings
    assert (found.outcome, found.detail) == (UNKNOWN, "there is no checker alive-onse; did you mean alive-once?")


def test_what_must_hold_after_recovery_is_asked_of_the_summary(cluster: Cluster) -> None:
    must = [{"path": "realms_running", "expect": {"equals": 5}}]
    result = run(cluster, experiment(recovery={"must": must}), judged())
    assert result.seeds[0].findings[-1].detail == "realms_running is 4, expected equal to 5"
    assert result.outcome is FAIL


@pytest.mark.parametrize(
    ("path", "expect", "outcome"),
    [
        ("realms_running", {"equals": 4}, PASS),
        ("realms_running", {"equals": 3}, FAIL),
        ("realms_running", {"min": 4, "max": 4}, PASS),
        ("realms_running", {"min": 5}, FAIL),
        ("realms_running", {"max": 3}, FAIL),
        ("attestations.passed", {"min": 1}, PASS),
        ("attestations.share", {"min": 1}, UNKNOWN),
        ("attestations", {"min": 1}, UNKNOWN),
        ("attestations.passed.more", {"min": 1}, UNKNOWN),
        ("ppm", {"min": 1}, UNKNOWN),
        ("realms_runing", {"min": 1}, UNKNOWN),
    ],
)
def test_a_path_names_a_number_of_the_summary_or_is_unknown(path: str, expect: Any, outcome: Outcome) -> None:
    state = {"realms_running": 4, "attestations": {"passed": 3, "share": "99%"}, "ppm": None}
    told = expected(state, path, Expect(**expect))
    assert told[0] is outcome
    assert path.split(".")[0] in told[1]


def test_a_plan_that_strikes_more_than_the_blast_radius_allows_is_refused_before_anything_runs(
    cluster: Cluster,
) -> None:
    def never(staged: Cluster, seed: int) -> Judged:
        raise AssertionError("must not run")

    made = experiment(guards={"blast_radius": {"machines": "10%"}})
    with pytest.raises(PlanRefused):
        run_seeds(made, cluster, (1,), never, str)
