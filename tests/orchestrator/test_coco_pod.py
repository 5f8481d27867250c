"""`clusters/coco-pod.yaml`: pods that start, and hosts whose cheating stops them at the step it concerns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cca_machine.pod import WALK
from orchestrator.api import open_cluster
from orchestrator.chaos.history import Line, read
from orchestrator.chaos.verdict import Outcome
from orchestrator.engine.run_store import RunReader
from orchestrator.explain import explain, sentence
from orchestrator.report.table import rows

FILE = Path(__file__).resolve().parents[2] / "clusters" / "coco-pod.yaml"
CHEATS = {
    "r1-std-01": ("pull", "binding"),
    "r1-std-02": ("sandbox", "binding"),
    "r2-std-01": ("evidence", "freshness"),
    "r2-std-02": ("evidence", None),
}
"""Where each host's cheating must show, and as what: a flipped bit of a token breaks whatever it hits."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[bytes], list[Line], str]:
    path = tmp_path_factory.mktemp("coco") / "run"
    with open_cluster(FILE, out=path) as opened:
        opened.run_until(opened.until_ns)
        result = opened.finish()
    with RunReader(path / "run.db") as reader:
        stored = list(reader.trace())
    return result, stored, read(stored), (path / "metrics.om").read_text("utf-8")


def stops(trace: list[Line]) -> list[tuple[str, str, Line]]:
    """(pod, machine, record) of every pod that was stopped."""
    placed = {line.incarnation: line.what["machine"] for line in trace if line.kind == "realm.placed"}
    refused = [line for line in trace if line.kind == "pod.refused"]
    return [(line.what["realm"], placed[line.incarnation], line) for line in refused]


def test_every_checker_passes_and_every_pod_but_the_rogue_serves(run: Any) -> None:
    result = run[0]
    assert {verdict.name: verdict.outcome for verdict in result.verdicts if verdict.outcome is not Outcome.PASS} == {}
    assert (result.summary.realms_running, result.summary.realms_wanted) == (8, 9)


def test_each_cheat_is_met_and_stops_pods_at_the_step_it_concerns(run: Any) -> None:
    met = set()
    for pod, machine, line in stops(run[2]):
        step, reason = CHEATS.get(machine, ("signature", "signature"))
        if pod == "rogue-001" and machine == "r1-std-01":
            step, reason = "signature", "signature"  # its layers are never asked for
        assert line.what["step"] == step, line
        assert reason in (None, line.what["reason"]), line
        met.add(machine)
    assert set(CHEATS) <= met


def test_a_pod_whose_policy_trusts_another_publisher_never_starts(run: Any) -> None:
    trace = run[2]
    assert any(line.what["step"] == "signature" for pod, _, line in stops(trace) if pod == "rogue-001")
    live = [line for line in trace if line.kind == "realm.live" and line.what["serving"]]
    assert "rogue-001" not in {line.what["realm"] for line in live}


def test_a_stopped_attempt_takes_no_later_step(run: Any) -> None:
    trace, order = run[2], [row.step for row in WALK]
    for _, _, stop in stops(trace):
        own = [line for line in trace if line.kind == "pod.step" and line.incarnation == stop.incarnation]
        assert [line.what["step"] for line in own] == order[: len(own)]
        assert len(own) <= order.index(stop.what["step"]) + 1


def test_no_key_is_released_over_a_stale_nonce(run: Any) -> None:
    trace = run[2]
    stale = {line.incarnation for _, machine, line in stops(trace) if machine == "r2-std-01"}
    assert stale
    assert not stale & {line.incarnation for line in trace if line.kind == "secret.released"}


def test_summary_explain_and_metrics_say_where_pods_were_stopped(run: Any) -> None:
    result, stored, trace, metrics = run
    pods = result.summary.pods
    assert pods.started == 8
    assert pods.stopped == sum(pods.stopped_by_step.values()) == len(stops(trace))
    assert {"sandbox", "evidence", "signature", "pull"} == set(pods.stopped_by_step)
    assert dict(rows(result.summary))["pods"].startswith(f"8 started, {pods.stopped} stopped (")
    told = [sentence(event) for event in explain(stored, "payments-001")]
    assert any("pod.refused" in line and "step=" in line and "why=" in line for line in told)
    assert "realmfleet_pod_starts_total 8" in metrics
    for step, count in pods.stopped_by_step.items():
        assert f'realmfleet_pod_refusals_total{{step="{step}"}} {count}' in metrics


def test_the_steps_of_a_pod_add_up_to_its_start(run: Any) -> None:
    trace = run[2]
    [placed, live] = (
        next(line for line in trace if line.kind == kind and line.what["realm"] == "first-001" and good(line))
        for kind, good in (("realm.placed", lambda line: True), ("realm.live", lambda line: line.what["serving"]))
    )
    steps = [line for line in trace if line.kind == "pod.step" and line.what["realm"] == "first-001"]
    assert len(steps) == len(WALK)
    assert steps[-1].at_ns <= live.at_ns < steps[-1].at_ns + 1_000_000
    assert sum(line.what["took_ns"] for line in steps) < live.at_ns - placed.at_ns
