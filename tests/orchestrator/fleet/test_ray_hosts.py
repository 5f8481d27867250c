"""Several Ray hosts with addresses of their own: one that is cut off counts as dead, and its machines move."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from live_run import RunUnderWay
from ray_hosts import ENVIRONMENT, Hosts, missing

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "clusters" / "small.yaml"

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


def test_machines_of_a_host_that_is_cut_off_move_and_nothing_changes(tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    straight = RunUnderWay(tmp_path / "straight", SMALL, "--fleet", "local").result()["trace_digest"]
    with Hosts(f"rf{os.getpid() % 100_000}", 2, cpus=2) as hosts:
        words = (
            "--fleet",
            "ray",
            "--ray-address",
            hosts.address,
            "--actors",
            "2",
            "--speed",
            "120",
            "--every-heartbeat",
        )
        run = RunUnderWay(tmp_path / "hosts", SMALL, *words, prefix=hosts.inside(0), environment=ENVIRONMENT)
        assert len(set(run.manifest()["actor_hosts"])) == 2
        run.pass_beats(300)
        hosts.cut_off(1)
        result = run.result()
    assert result["actor_restarts"] >= 1
    assert result["trace_digest"] == straight
    assert len(set(run.manifest()["actor_hosts"])) == 1
