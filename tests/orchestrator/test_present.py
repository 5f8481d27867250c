"""Futures forked from where a run stands: its past is theirs, it stays as it is, and the advice follows the inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import inputs as i
from orchestrator.api import Run, RunOptions
from orchestrator.branch_point import read_standing
from orchestrator.cluster.load import load_text
from orchestrator.errors import UserMistake
from orchestrator.firmware.rehearsal import STRATEGIES, Odds, advise
from orchestrator.present import deed_of, rehearse_from

S = 1_000_000_000
TEXT = (Path(__file__).resolve().parents[2] / "clusters" / "small.yaml").read_text().split("events:")[0]
QUICK = TEXT.replace("profiles:", "timing: {override: {boot.post: 500ms, boot.host-os: 400ms}}\n\nprofiles:", 1)
DEED = {"release": "rmm-1.0.1", "waves": [{"machines": 1}, {"share": "100%"}], "bake": "5s"}


def half_way(folder: Path, text: str = TEXT) -> Path:
    """A run that stands at 30 s, one Realm having been stopped by an operator and one machine cordoned."""
    cluster = load_text(text, "small.yaml").value
    assert cluster is not None
    with Run(cluster, text, RunOptions(fleet="local", out=folder / "run", until_ns=40 * S)) as run:
        run.run_until(20 * S)
        run.ask(i.StopRealm("web-001"), i.CordonMachine("r1-std-01", "cleaning"))
        run.run_until(40 * S)
        run.finish()
    return folder / "run"


def test_futures_begin_with_what_happened_and_leave_the_run_as_it_is(tmp_path: Path) -> None:
    run_dir = half_way(tmp_path)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file() and "-shm" not in path.name}
    (forecast,) = rehearse_from(read_standing(run_dir, 30 * S), DEED, [1, 2], Odds(), ["live"])
    assert [(one.state, one.updated, one.machines) for one in forecast.futures] == [("finished", 6, 6)] * 2
    assert {path.name: path.read_bytes() for path in run_dir.iterdir() if path.name in before} == before


def test_what_the_fleet_refuses_is_a_mistake_with_its_reason(tmp_path: Path) -> None:
    standing = read_standing(half_way(tmp_path), 30 * S)
    with pytest.raises(UserMistake, match="there is no release rmm-9"):
        rehearse_from(standing, {**DEED, "release": "rmm-9"}, [1], Odds(), ["live"])


def test_the_advice_turns_when_activations_fail_half_the_time_and_reboots_take_a_second(tmp_path: Path) -> None:
    standing = read_standing(half_way(tmp_path, QUICK), 30 * S)
    good = rehearse_from(standing, DEED, [1, 2], Odds(), STRATEGIES)
    bad = rehearse_from(standing, DEED, [1, 2], Odds(500_000), STRATEGIES)
    assert advise(good).strategy == "live"
    assert advise(bad).strategy != "live"


def test_the_rollout_of_the_file_is_taken_or_a_release_by_name() -> None:
    whole = load_text((Path(__file__).resolve().parents[2] / "clusters" / "small.yaml").read_bytes(), "f").value
    calm = load_text(TEXT, "f").value
    assert whole is not None
    assert calm is not None
    assert deed_of(whole, None)["waves"] == [{"machines": 1}, {"share": "50%"}, {"share": "100%"}]
    assert deed_of(calm, "rmm-1.0.1")["release"] == "rmm-1.0.1"
    with pytest.raises(UserMistake, match="no rollout"):
        deed_of(calm, None)
