"""Loading a run: what is refused with which words, and where the samples come to lie."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserMistake
from orchestrator.metrics.backfill import backfill, parse_epoch
from orchestrator.metrics.export import EPOCH_S, FILE, write_metrics
from orchestrator.metrics.process import from_manifest

MANIFEST: dict[str, Any] = {
    "status": "finished",
    "versions": {"realmfleet": "0.1.0", "python": "3.11.7", "ray": "2.60.0"},
    "result": {
        "fleet": "ray", "actors": 4, "actor_restarts": 2, "wall_s": 12.345, "work": {"beats": 70, "fleet_calls": 80},
    },
}  # fmt: skip


@pytest.fixture
def run_dir(day, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(MANIFEST), encoding="utf-8")
    write_metrics(folder / FILE, day.samples())
    return folder


@pytest.fixture
def spy(tmp_path: Path) -> Path:
    """Stands where promtool does and keeps what it is given."""
    script = tmp_path / "promtool-spy"
    script.write_text(f'#!/bin/sh\ncp "$5" {tmp_path}/given.om\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def test_the_samples_are_given_with_the_facts_about_the_execution(run_dir: Path, spy: Path, tmp_path: Path) -> None:
    loaded = backfill(run_dir, tmp_path / "db", promtool=str(spy))
    text = (tmp_path / "given.om").read_text("utf-8")
    assert f"realmfleet_sim_time_seconds 15 {EPOCH_S + 15}.000\n" in text
    assert f"realmfleet_actor_restarts_total 2 {EPOCH_S}\n" in text
    assert f"realmfleet_run_wall_seconds 12.345 {EPOCH_S + 100}\n" in text
    assert text.count("# EOF\n") == 1
    assert text.endswith("# EOF\n")
    assert (loaded.from_ms, loaded.until_ms) == (EPOCH_S * 1000, (EPOCH_S + 100) * 1000)


def test_another_epoch_moves_every_sample(run_dir: Path, spy: Path, tmp_path: Path) -> None:
    loaded = backfill(run_dir, tmp_path / "db", epoch_s=2_000_000_000, promtool=str(spy))
    stamps = {
        line.rpartition(" ")[2].partition(".")[0]
        for line in (tmp_path / "given.om").read_text("utf-8").splitlines()
        if not line.startswith("#")
    }
    assert min(stamps) == "2000000000"
    assert max(stamps) == "2000000100"
    assert loaded.from_ms == 2_000_000_000_000


def test_nothing_temporary_stays_behind(run_dir: Path, spy: Path, tmp_path: Path) -> None:
    backfill(run_dir, tmp_path / "db", promtool=str(spy))
    assert list((tmp_path / "db").iterdir()) == []


def test_a_missing_promtool_is_named_with_the_package_that_brings_it(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="promtool-that-is-not-there is not installed") as mistake:
        backfill(run_dir, tmp_path / "db", promtool="promtool-that-is-not-there")
    assert "apt-get install prometheus" in mistake.value.hint


def test_what_promtool_refuses_is_passed_on_in_its_words(run_dir: Path, tmp_path: Path, promtool: str) -> None:
    (run_dir / FILE).write_text("realmfleet_sim_time_seconds one 5\n# EOF\n", encoding="utf-8")
    with pytest.raises(UserMistake, match="promtool could not load") as mistake:
        backfill(run_dir, tmp_path / "db", promtool=promtool)
    assert "one" in mistake.value.hint


def test_a_run_that_did_not_finish_has_nothing_to_load(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "manifest.json").write_text(json.dumps({"status": "running"}), encoding="utf-8")
    with pytest.raises(UserMistake, match="did not finish"):
        backfill(run_dir, tmp_path / "db")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="not a run directory"):
        backfill(tmp_path, tmp_path / "db")


def test_a_target_that_is_a_file_is_refused(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "db").write_text("", encoding="utf-8")
    with pytest.raises(UserMistake, match="cannot write"):
        backfill(run_dir, tmp_path / "db")


@pytest.mark.parametrize(
    "text", ["1767225600", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "2026-01-01T02:00:00+02:00"]
)
def test_an_epoch_is_written_as_seconds_or_as_an_instant(text: str) -> None:
    assert parse_epoch(text) == EPOCH_S


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "-5", "1969-12-31T23:59:59Z", "9" * 30])
def test_what_is_no_epoch_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserMistake, match="--epoch") as mistake:
        parse_epoch(text)
    assert "2026-11-01T00:00:00Z" in mistake.value.hint


def test_a_run_in_one_process_has_no_actors() -> None:
    result = {**MANIFEST["result"], "fleet": "local", "actors": 1}
    process = from_manifest({**MANIFEST, "result": result})
    assert process is not None
    assert process.actors == 0
