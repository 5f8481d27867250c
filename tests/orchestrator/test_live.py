"""The live mode without a socket: inputs at boundaries, answers, and the replay that gives the same digest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator import inputs as i
from orchestrator.api import Run, RunResult, open_cluster
from orchestrator.live import LiveSession
from orchestrator.operator_desk import Answer
from orchestrator.replay import replay_run

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "clusters" / "small.yaml"
S = 1_000_000_000


class Live:
    """A session driven beat by beat from the test's own thread."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.session = LiveSession(run)

    def until(self, seconds: float) -> Live:
        while self.run.now_ns < seconds * S:
            self.session.beat()
        return self

    def ask(self, body: i.Input) -> Answer:
        waiting: Future[Answer] = self.session.ask(body)
        self.session.beat()
        return waiting.result(timeout=0)

    def realm(self, name: str) -> Any:
        return self.run.assembly.control.store.realms[name]

    def told(self, kind: str) -> list[Any]:
        return [line.entry.what for line in self.session.lines if line.kind == kind]

    def finish(self) -> RunResult:
        return self.session.finish()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with open_cluster(SMALL, out=tmp_path / "run") as run:
        yield Live(run)


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[[], Live]]:
    """More live runs of the same cluster and seed."""
    runs: list[Run] = []

    def build() -> Live:
        runs.append(open_cluster(SMALL, out=tmp_path / f"run-{len(runs)}"))
        return Live(runs[-1])

    yield build
    for run in runs:
        run.close()


def freeze(machine: str, lasts: str = "30s") -> i.InjectFault:
    return i.InjectFault({"fault": "machine.freeze", "for": lasts, "select": {"machine": machine}})


# -- replay ------------------------------------------------------------------------------------------------------------


def test_a_live_session_with_inputs_of_every_kind_replays_to_its_digest(live: Live, tmp_path: Path) -> None:
    live.until(10)
    for body in (
        i.LaunchRealms("web", 2),
        i.MigrateRealm("web-001"),
        freeze("r1-std-01", "12s"),
        i.ScaleKind("db", 2),
        i.CordonMachine("r2-std-01"),
        i.StopRealm("web-999"),
        i.StartRollout({"release": "rmm-1.0.1", "waves": [{"machines": 1}, {"share": "100%"}]}),
        i.PauseRollout("rollout-2"),
    ):
        live.ask(body)
        live.until(live.run.now_ns / S + 1.3)
    for body in (i.ResumeRollout("rollout-2"), i.UncordonMachine("r2-std-01"), i.HealFault("fault-1")):
        live.ask(body)
    live.ask(i.DeleteRealm("web-003"))
    live.ask(i.AbortRollout("rollout-2"))
    live.until(60)
    result = live.finish()
    again = replay_run(tmp_path / "run")
    assert again.same, again.difference
    assert (again.trace_digest, again.inputs) == (result.trace_digest, 13)
    assert len(live.told("operator.accepted")) + len(live.told("operator.refused")) == 13


def test_a_replay_notices_that_an_input_was_tampered_with(live: Live, tmp_path: Path) -> None:
    live.until(5).ask(i.StopRealm("web-002"))
    live.until(8).finish()
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        database.execute("UPDATE journal SET body = replace(body, 'web-002', 'web-004')")
    again = replay_run(tmp_path / "run")
    assert not again.same
    assert "operator.accepted" in again.difference


def test_a_session_that_was_killed_replays_up_to_where_it_was_written(live: Live, tmp_path: Path) -> None:
    live.until(5).ask(i.StopRealm("web-002"))
    live.until(9)
    live.run.store.commit()  # and then the process is gone: no digest, no end
    again = replay_run(tmp_path / "run")
    assert again.same
    assert again.recorded_digest == ""


def test_a_session_without_inputs_is_the_batch_run(live: Live, tmp_path: Path) -> None:
    live.until(30)
    with open_cluster(SMALL, out=tmp_path / "batch") as batch:
        batch.run_until("30s")
        assert batch.finish().trace_digest == live.finish().trace_digest


def test_an_input_is_in_the_journal_before_it_takes_effect(live: Live, tmp_path: Path) -> None:
    live.until(5)
    live.session.ask(i.StopRealm("web-002"))
    seen: list[tuple[int, str]] = []
    step = live.run.assembly.control.step

    def watched(now_ns: int, arrived: Any) -> Any:
        with sqlite3.connect(tmp_path / "run" / "run.db") as database:
            seen.extend(database.execute("SELECT at_ns, body FROM journal").fetchall())
        return step(now_ns, arrived)

    live.run.assembly.control.step = watched  # type: ignore[method-assign]
    live.session.beat()
    assert seen == [(5 * S, '{"realm":"web-002","type":"stop-realm"}')]


def test_a_refused_input_leaves_a_record_and_changes_nothing_else(another: Callable[[], Live]) -> None:
    calm, asked = another().until(8), another().until(5)
    refused = [
        asked.ask(body)
        for body in (
            i.StopRealm("web-999"),
            i.MigrateRealm("web-001", "r9-std-01"),
            i.LaunchRealms("wbe"),
            i.LaunchRealms("web", 0),
            i.ResumeRollout("rollout-1"),
            i.HealFault("fault-7"),
            i.InjectFault({"fault": "machine.freeze", "select": {"rack": "r9"}}),
            i.InjectFault({"fault": "network.loss", "between": [{"rack": "r1"}, "control"]}),
            i.StartRollout({"release": "rmm-1.0.1", "waves": []}),
            i.UncordonMachine("r1-std-01"),
        )
    ]
    asked.until(8)
    for one in (calm, asked):
        one.finish()
    rules = [answer.rule for answer in refused]
    assert rules == ["unknown"] * 3 + ["invalid", "conflict"] + ["unknown"] * 2 + ["invalid"] * 2 + ["conflict"]
    assert [(record.input, record.rule) for record in asked.told("operator.refused")] == list(enumerate(rules, 1))
    told = [(line.entry.at_ns, line.kind, line.entry.what) for line in asked.session.lines]
    rest = [entry for entry in told if entry[1] != "operator.refused"]
    assert rest == [(line.entry.at_ns, line.kind, line.entry.what) for line in calm.session.lines]


# -- Realms ------------------------------------------------------------------------------------------------------------


def test_launched_realms_get_new_names_attest_and_serve(live: Live) -> None:
    answer = live.until(5).ask(i.LaunchRealms("web", 2))
    assert answer.subjects == ("web-007", "web-008")
    live.until(20)
    assert [live.realm(name).state for name in answer.subjects] == ["serving", "serving"]
    assert {record.realm for record in live.told("realm.verdict") if record.passed} >= set(answer.subjects)


def test_a_name_is_never_used_again(live: Live) -> None:
    live.until(5).ask(i.LaunchRealms("web"))
    live.until(15).ask(i.DeleteRealm("web-007"))
    live.until(20)
    assert live.realm("web-007").state == "stopped"
    assert live.ask(i.LaunchRealms("web")).subjects == ("web-008",)
    assert "web-007" not in [realm.name for realm in live.session.snapshot.realms]


def test_scaling_down_stops_the_highest_numbers_and_up_launches_new_ones(live: Live) -> None:
    down = live.until(10).ask(i.ScaleKind("web", 4))
    assert down.subjects == ("web-005", "web-006")
    up = live.until(15).ask(i.ScaleKind("web", 6))
    assert up.subjects == ("web-007", "web-008")


def test_a_realm_is_stopped_once_and_refused_afterwards(live: Live) -> None:
    assert live.until(10).ask(i.StopRealm("web-001")).rule == ""
    again = live.ask(i.StopRealm("web-001"))
    assert (again.rule, "web-001 is stop" in again.what) == ("conflict", True)
    assert live.until(12).realm("web-001").state == "stopped"


def test_a_migration_is_refused_with_the_rule_that_forbids_it(live: Live) -> None:
    live.until(10)
    here = live.realm("web-001").machine
    refused = live.ask(i.MigrateRealm("web-001", here))
    assert (refused.rule, refused.hint) == ("conflict", "rule target")
    assert live.ask(i.MigrateRealm("web-001")).rule == ""
    moved = live.until(20).realm("web-001")
    assert (moved.machine != here, moved.state) == (True, "serving")


# -- rollouts ----------------------------------------------------------------------------------------------------------


def rollout_of(live: Live) -> Any:
    return live.run.assembly.rollouts.rollouts[-1]


@pytest.fixture
def rolling(live: Live) -> Live:
    """A rollout of an operator in its canary."""
    waves = [{"machines": 1}, {"share": "100%"}]
    answer = live.until(10).ask(i.StartRollout({"release": "rmm-1.0.1", "waves": waves, "bake": "5s"}))
    assert answer.subjects == ("rollout-2",)
    live.until(12)
    return live


def test_a_paused_rollout_takes_no_further_wave_until_it_is_resumed(rolling: Live) -> None:
    assert rolling.ask(i.PauseRollout("rollout-2")).rule == ""
    rolling.until(60)
    assert (rollout_of(rolling).state.stage, rollout_of(rolling).state.wave) == ("paused", 1)
    assert rolling.ask(i.PauseRollout("rollout-2")).rule == "conflict"
    rolling.ask(i.ResumeRollout("rollout-2"))
    rolling.until(90)
    assert rollout_of(rolling).state.stage == "finished"
    assert {update.phase for update in rollout_of(rolling).state.updates.values()} == {"done"}


@pytest.mark.parametrize("at_s", [10.2, 13.0])
def test_an_aborted_rollout_ends_and_leaves_no_machine_cordoned(live: Live, at_s: float) -> None:
    live.until(10).ask(i.StartRollout({"release": "rmm-1.0.1", "waves": [{"machines": 1}, {"share": "100%"}]}))
    live.until(at_s)
    assert rollout_of(live).state.stage == ("running" if at_s < 11 else "baking")
    live.ask(i.AbortRollout("rollout-2"))
    live.until(40)
    assert rollout_of(live).state.stage == "finished"
    store = live.run.assembly.control.store
    assert [name for name, view in store.machines.items() if view.cordons or view.activity] == []
    assert [(record.done, record.left) for record in live.told("rollout.finished")] == [(1, 5)]
    assert live.ask(i.AbortRollout("rollout-2")).rule == "conflict"


def test_a_rollout_that_has_not_begun_can_be_called_off(live: Live) -> None:
    live.until(5).ask(i.AbortRollout("rollout-1"))
    live.until(250)
    assert live.told("rollout.started") == []


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_fault_strikes_at_once_and_heals_at_its_time(live: Live) -> None:
    assert live.until(10).ask(freeze("r1-std-01", "8s")).subjects == ("fault-1",)
    live.until(25)
    frozen = [line.entry.at_ns for line in live.session.lines if line.kind in ("machine.frozen", "machine.thawed")]
    assert frozen == [10 * S, 18 * S]


def test_a_fault_that_is_healed_early_ends_there_and_then(live: Live) -> None:
    live.until(10).ask(freeze("r1-std-01", "60s"))
    live.until(14)
    assert live.ask(i.HealFault("fault-1")).rule == ""
    live.until(80)
    thawed = [line.entry.at_ns for line in live.session.lines if line.kind == "machine.thawed"]
    assert thawed == [14 * S]
    assert len(live.told("fault.healed")) == 1


def test_a_cut_that_is_healed_early_lets_messages_pass_again(live: Live) -> None:
    cut = {"fault": "network.partition", "for": "10min", "between": [{"rack": "r1"}, "control"]}
    live.until(10).ask(i.InjectFault(cut))
    live.until(30)
    assert {view.state for name, view in live.run.assembly.control.store.machines.items() if name[:2] == "r1"} == {
        "suspect"
    }
    live.ask(i.HealFault("fault-1"))
    live.until(36)
    assert {view.state for view in live.run.assembly.control.store.machines.values()} == {"admitted"}


def test_a_second_fault_of_the_same_kind_on_a_machine_is_skipped(live: Live) -> None:
    live.until(10).ask(freeze("r1-std-01"))
    live.ask(freeze("r1-std-01"))
    live.until(12)
    assert [record.why for record in live.told("fault.skipped")] == ["the same fault is in force there"]


# -- metrics ---------------------------------------------------------------------------------------------------------


def value(live: Live, name: str) -> float:
    found = [
        sample.value for family in live.session.metrics.collect() for sample in family.samples if sample.name == name
    ]
    return float(found[0])


def test_a_scraper_sees_which_process_it_looks_at_and_how_far_it_is(live: Live) -> None:
    live.until(10)
    live.session._publish()
    assert value(live, "realmfleet_engine_beats_total") == live.run.engine.beats > 0
    assert value(live, "realmfleet_messages_delivered_total") == live.run.engine.delivered > 0
    labels = [
        sample.labels for family in live.session.metrics.collect() for sample in family.samples
        if sample.name == "realmfleet_build_info"
    ]  # fmt: skip
    assert labels[0]["version"] == version("realmfleet")


def test_a_live_run_writes_the_metrics_of_a_batch_run(another: Callable[[], Live], tmp_path: Path) -> None:
    live = another().until(60)
    live.finish()
    with open_cluster(SMALL, out=tmp_path / "batch") as batch:
        batch.run_until(live.run.now_ns)
        batch.finish()
    assert (live.run.path / "metrics.om").read_bytes() == (tmp_path / "batch" / "metrics.om").read_bytes()


# -- the wall clock ----------------------------------------------------------------------------------------------------


def test_the_pace_changes_nothing_in_the_run(another: Callable[[], Live]) -> None:
    digests = []
    for speed in (400, 100_000):
        paced = another()
        paced.session.set_pace(speed)
        digests.append(paced.session.run(12 * S).trace_digest)
    assert digests[0] == digests[1]


def test_a_speed_out_of_bounds_is_refused(live: Live) -> None:
    for speed in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="a speed lies between"):
            live.session.set_pace(speed)


def test_who_waits_when_the_session_ends_is_told_that_no_answer_comes(live: Live) -> None:
    waiting = live.session.ask(i.StopRealm("web-001"))
    live.finish()
    assert waiting.cancelled()
