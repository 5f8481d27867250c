"""Sweeps from a script: the table of `realmfleet sweep`, a plot, and no run twice."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest

from orchestrator import FleetError, Spec, UserMistake, run_sweep


def lab() -> Spec:
    spec = Spec("lab", memory="2GiB", duration="1min").rack("r1", 2).realms("web", count=1, memory="16MiB")
    spec.data["faults"] = [
        {"fault": "machine.power-loss", "at": "10s", "for": "5s", "select": {"realm": "web-001"}},
    ]
    return spec


def test_a_sweep_is_a_table_with_a_row_a_run_and_a_plot(tmp_path: Path) -> None:
    swept = run_sweep(lab(), {"control.lease": ["10s", "20s"]}, seeds=[1, 2], out=tmp_path, jobs=1)
    assert swept.table.select("control.lease", "seed").rows() == [("10s", 1), ("10s", 2), ("20s", 1), ("20s", 2)]
    mean = swept.table.group_by("control.lease").agg(polars.mean("downtime_total_ms")).sort("control.lease")
    lost_ms = mean["downtime_total_ms"]
    assert 8_000 < lost_ms[1] - lost_ms[0] < 12_000  # a lease is waited for before a restart: ten seconds more
    assert swept.table["trace_digest"].to_list() == [
        results.trace_digest
        for results in sorted(swept.results(), key=lambda run: (run.cluster.control.lease, run.seed))
    ]
    figure = swept.plot("downtime_total_ms")
    assert list(figure.data[0].x) == ["control.lease=10s", "control.lease=20s"]
    assert len(figure.data[1].y) == 4
    assert "control.lease=20s" in swept._repr_html_()
    assert run_sweep(lab(), {"control.lease": ["10s", "20s"]}, seeds=[1, 2], out=tmp_path, jobs=1).summary.reused == 4


def test_what_cannot_be_swept_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="needs a seed"):
        run_sweep(lab(), seeds=[], out=tmp_path)
    with pytest.raises(UserMistake, match=r"control\.lese"):
        run_sweep(lab(), {"control.lese": ["10s"]}, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="no figure happiness"):
        run_sweep(lab(), seeds=[1], out=tmp_path, jobs=1).plot("happiness")
