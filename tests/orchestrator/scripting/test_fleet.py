"""A fleet in the hands of a script: time, acts, refusals, and the digest that two ways to the same run share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import ActRefused, Fleet, FleetError, NotReached, UnknownName, UserMistake, open_fleet
from orchestrator.replay import replay_run
from orchestrator.resume import resume_run

ROOT = Path(__file__).resolve().parents[3]
S = 1_000_000_000
BEAT_NS = 100_000_000


def drive(fleet: Fleet) -> str:
    """A script with an act of every kind."""
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 2}, within="1min")
    fleet.launch("web", 2)
    fleet.realms["web-001"].migrate()
    fleet.machines.sample(1)[0].cordon("a look inside")
    with fleet.fault("machine.freeze", machine="r2-std-02"):
        fleet.advance("9s")
    fleet.inject("network.delay", between=("machine:r1-std-01", "control"), delay="40ms", lasts="5s")
    fleet.scale("web", 3)
    fleet.rollout("rmm-1.0.1", waves=[1, "100%"]).wait()
    fleet.realms["web-002"].stop()
    return fleet.finish(after="30s").trace_digest


def test_the_same_script_gives_the_same_digest_and_so_does_the_replay_without_it(opened: Callable[..., Fleet]) -> None:
    first, second = opened(), opened()
    digest = drive(first)
    assert drive(second) == digest
    again = replay_run(first.run.path)
    assert again.same, again.difference
    assert again.trace_digest == digest


def test_another_seed_gives_another_digest(opened: Callable[..., Fleet]) -> None:
    assert drive(opened()) != drive(opened(seed=4))


def test_a_script_that_does_nothing_gives_the_digest_of_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "cli"
    command = [sys.executable, "-m", "orchestrator.cli", "run", "clusters/realm-attest.yaml", "--fleet", "local"]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    with open_fleet(ROOT / "clusters" / "realm-attest.yaml", out=tmp_path / "script") as fleet:
        digest = fleet.run_until(fleet.run.until_ns).finish().trace_digest
    assert digest == json.loads((out / "manifest.json").read_text())["trace_digest"]


def test_waiting_in_steps_is_the_same_as_waiting_at_once(opened: Callable[..., Fleet]) -> None:
    one, other = opened(), opened()
    one.advance("20s")
    for _ in range(40):
        other.advance("500ms")
    assert (one.now_ns, other.now_ns) == (20 * S, 20 * S)
    assert one.finish().trace_digest == other.finish().trace_digest


def test_time_passes_in_whole_beats(fleet: Fleet) -> None:
    before = fleet.now_ns
    fleet.advance(1)
    assert fleet.now_ns == before + BEAT_NS


def test_a_condition_that_holds_already_takes_no_time(fleet: Fleet) -> None:
    assert fleet.until(lambda fleet: True) == fleet.now_ns


def test_a_condition_that_never_holds_ends_the_wait_at_its_bound(fleet: Fleet) -> None:
    before = fleet.now_ns
    with pytest.raises(NotReached, match=r"a miracle does not hold at 00:00:.*2/2 Realms serving"):
        fleet.until(lambda fleet: False, within="2s", what="a miracle")
    assert fleet.now_ns == before + 2 * S


def test_an_act_takes_one_beat_and_says_what_it_made(fleet: Fleet) -> None:
    before = fleet.now_ns
    launched = fleet.launch("web", 2)
    assert launched.names == ["web-003", "web-004"]
    assert fleet.now_ns == before + BEAT_NS
    fleet.until(lambda fleet: launched.states == {"serving": 2}, within="30s")


@pytest.mark.parametrize(
    ("act", "rule", "words"),
    [
        (lambda fleet: fleet.launch("wbe"), "unknown", "no kind wbe.*did you mean 'web'"),
        (lambda fleet: fleet.launch("web", 0), "invalid", "count is 0"),
        (lambda fleet: fleet.realms["web-001"].migrate("r9"), "unknown", "no machine r9"),
        (lambda fleet: fleet.machines[0].uncordon(), "conflict", "no operator cordoned"),
        (lambda fleet: fleet.rollout("rmm-9"), "unknown", "no release rmm-9"),
        (lambda fleet: fleet.rollout("rmm-1.0.1", waves=[]), "invalid", "at least 1 entry"),
        (lambda fleet: fleet.rollout("rmm-1.0.1", speed="high"), "invalid", "unknown key 'speed'"),
        (lambda fleet: fleet.inject("machine.nap", machine="r1-std-01"), "invalid", "machine.nap"),
    ],
)
def test_an_act_that_is_refused_says_why_and_changes_nothing(
    fleet: Fleet, act: Callable[[Fleet], object], rule: str, words: str
) -> None:
    before = (fleet.realms.states, fleet.machines.table().rows(), fleet.faults)
    with pytest.raises(ActRefused, match=words) as refused:
        act(fleet)
    assert refused.value.rule == rule
    assert (fleet.realms.states, fleet.machines.table().rows(), fleet.faults) == before


def test_a_name_that_does_not_exist_gets_the_closest_one(fleet: Fleet) -> None:
    with pytest.raises(UnknownName, match=r"there is no Realm web-01 .did you mean 'web-001'"):
        fleet.realms["web-01"]


def test_a_rollout_can_be_paused_resumed_and_given_up(fleet: Fleet) -> None:
    rollout = fleet.rollout("rmm-1.0.1", waves=[1, "100%"])
    fleet.until(lambda fleet: rollout.state == "baking", within="2min")
    assert rollout.pause().state == "paused"
    fleet.advance("1min")
    assert sorted(rollout.machines.values()) == ["done", "queued", "queued", "queued"]
    rollout.resume()
    rollout.abort().wait("1min")
    assert fleet.rollouts["rollout-1"].facts()["state"] == "finished"
    assert len(fleet.machines.where(rmm="1.0.1")) < 4


def test_a_run_that_has_ended_takes_no_more_acts(fleet: Fleet) -> None:
    results = fleet.finish()
    assert fleet.finish() is results
    with pytest.raises(FleetError, match="this run has ended"):
        fleet.launch("web")


def test_a_script_that_fails_leaves_a_run_directory_that_replays(opened: Callable[..., Fleet]) -> None:
    fleet = opened()

    def script() -> None:
        with fleet:
            fleet.advance("5s").launch("web")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        script()
    again = replay_run(fleet.run.path)
    assert again.same
    assert (again.inputs, again.recorded_digest) == (1, "")


def test_the_manifest_names_the_command_that_repeats_the_script_without_it(fleet: Fleet) -> None:
    results = fleet.finish()
    assert results.repeat == f"realmfleet replay {fleet.run.path}"


def test_a_killed_script_is_not_resumed_behind_its_back(opened: Callable[..., Fleet]) -> None:
    fleet = opened()
    fleet.advance("5s").run.close()
    with pytest.raises(UserMistake):
        resume_run(fleet.run.path, fleet.run.options, lambda *a, **k: None)  # type: ignore[arg-type]


def test_a_duration_that_is_none_is_refused_in_words(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match=r"'5 parsecs' is no duration.*write 90s"):
        fleet.advance("5 parsecs")


def test_what_happened_so_far_can_be_asked_while_the_run_goes_on(fleet: Fleet) -> None:
    kinds = [event.kind for event in fleet.explain("web-001")]
    assert kinds[:3] == ["realm.state", "realm.wanted", "realm.placed"]
    with pytest.raises(UserMistake, match="nothing in this run is called web-9"):
        fleet.explain("web-9")


def test_checkers_can_be_asked_in_the_middle_and_at_the_end(fleet: Fleet) -> None:
    with fleet.fault("machine.freeze", machine="r1-std-01"):
        fleet.advance("3s")
        middle = fleet.check("alive-once", "recovered")
    assert {name: verdict.outcome for name, verdict in middle.items()} == {"alive-once": "pass", "recovered": "unknown"}
    fleet.finish(after="2min")
    assert {verdict.outcome for verdict in fleet.check().values()} == {"pass"}
    with pytest.raises(UnknownName, match="did you mean 'recovered'"):
        fleet.check("recoverd")


def test_importing_the_package_brings_neither_polars_nor_plotly_nor_ray() -> None:
    program = (
        "import sys, orchestrator; light = set(sys.modules); from orchestrator import open_fleet;"
        "print([name for name in ('polars', 'plotly', 'ray', 'fastapi') if name in sys.modules], len(light) < 400,"
        "'pydantic' in light)"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["[]", "True", "False"]
