"""`realmfleet rollout plan`: what it prints, and what it says to a wrong argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.errors import UserMistake

CLUSTERS = Path(__file__).resolve().parents[3] / "clusters"
LIVE = str(CLUSTERS / "rmm-fix-live.yaml")


def test_the_plan_prints_distributions_and_a_recommendation() -> None:
    done = CliRunner().invoke(app, ["rollout", "plan", LIVE, "--futures", "1", "--strategy", "live"])
    assert done.exit_code == 0
    assert "recommended: live" in done.stdout
    assert "100% of 1" in done.stdout


def test_the_plan_as_json_holds_every_future() -> None:
    done = CliRunner().invoke(app, ["rollout", "plan", LIVE, "--futures", "1", "--strategy", "live", "--json"])
    found = json.loads(done.stdout)
    assert found["recommended"] == "live"
    assert [future["updated"] for future in found["strategies"]["live"]] == [8]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([LIVE, "--strategy", "hope"], "there is no strategy hope"),
        ([LIVE, "--activation-failure", "half"], "is not a share"),
        ([LIVE, "--timing", "boot.tea=1s"], "there is no cost boot.tea"),
        ([str(CLUSTERS / "realm-attest.yaml")], "has no rollout"),
        (["nowhere.yaml"], "cannot read"),
    ],
)
def test_a_wrong_argument_is_told(words: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["rollout", "plan", *words])
    assert isinstance(done.exception, UserMistake)
    assert told in str(done.exception)
