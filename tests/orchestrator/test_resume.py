"""A killed run goes on to the digest of an undisturbed one, or says why it cannot."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import rundir
from orchestrator.api import Run, RunOptions, RunResult, open_file
from orchestrator.errors import UserMistake
from orchestrator.inputs import CordonMachine
from orchestrator.progress import Watch
from orchestrator.resume import read_left, resume_run

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "clusters" / "small.yaml"
S = 1_000_000_000
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def watching(until_ns: int, *, quiet: bool) -> Iterator[Watch]:
    yield lambda now_ns, line: None


def run_of(out: Path) -> Run:
    cluster, text = open_file(SMALL)
    return Run(cluster, text, RunOptions(fleet="local", out=out, until_ns=330 * S, file=str(SMALL)))


def killed(folder: Path, at_ns: int = 250 * S) -> Path:
    """What a head killed at `at_ns` leaves: the directory as it is in the middle of the run."""
    with run_of(folder / "living") as run:
        run.run_until(100 * S)
        run.engine.admit(CordonMachine("r1-std-01", "cleaning"))
        run.run_until(at_ns)
        shutil.copytree(run.path, folder / "dead")
    return folder / "dead"


def resumed(run_dir: Path) -> RunResult:
    return resume_run(run_dir, RunOptions(fleet="local"), watching, quiet=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    with run_of(tmp_path_factory.mktemp("undisturbed") / "run") as run:
        run.run_until(100 * S)
        run.engine.admit(CordonMachine("r1-std-01", "cleaning"))
        run.run_until(330 * S)
        return run.finish()


def test_a_killed_run_ends_with_the_digest_of_an_undisturbed_one_its_operators_inputs_included(
    undisturbed: RunResult, tmp_path: Path
) -> None:
    dead = killed(tmp_path)
    left = read_left(dead)
    assert 0 < left.records < undisturbed.work["trace_records"]
    assert len(left.inputs) == 1
    result = resumed(dead)
    assert result.trace_digest == undisturbed.trace_digest
    assert result.virtual_ns == undisturbed.virtual_ns
    assert rundir.read_manifest(dead)["status"] == "finished"


def test_a_run_killed_again_while_it_was_resumed_is_resumed_again(undisturbed: RunResult, tmp_path: Path) -> None:
    dead = killed(tmp_path, 150 * S)
    left = read_left(dead)
    again = RunOptions(fleet="local", out=dead, until_ns=left.until_ns, file=str(SMALL))
    with Run(left.cluster, left.text, again, resumed=left.inputs) as run:
        run.run_until(280 * S)
    assert read_left(dead).records > left.records
    assert resumed(dead).trace_digest == undisturbed.trace_digest


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    resumed(dead)
    with pytest.raises(UserMistake, match="its manifest says finished"):
        resumed(dead)


def test_a_run_whose_head_lives_is_not_resumed(tmp_path: Path) -> None:
    with run_of(tmp_path / "run") as run:
        run.run_until(10 * S)
        with pytest.raises(UserMistake, match="a run that lives"):
            resumed(run.path)


def test_a_file_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    database = dead / rundir.DATABASE
    fold_the_log(database)
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    with pytest.raises(UserMistake, match=r"run\.db: .*(malformed|damaged)") as refused:
        resumed(dead)
    assert "run it anew: realmfleet run" in refused.value.hint


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    for left in dead.glob("run.db*"):
        left.unlink()
    (dead / rundir.DATABASE).write_bytes(b"this is no database at all" * 100)
    with pytest.raises(UserMistake, match=r"run\.db"):
        resumed(dead)


def test_a_trace_with_a_line_gone_is_refused(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    edit(dead, "DELETE FROM trace WHERE line_number = 5")
    with pytest.raises(UserMistake, match="trace lines"):
        resumed(dead)


def test_a_trace_with_a_changed_line_disagrees_with_the_run(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    edit(dead, "UPDATE trace SET line = replace(line, 'at_ns', 'at_nz') WHERE line_number = 5")
    with pytest.raises(UserMistake, match="disagrees with the run"):
        resumed(dead)


def test_records_beyond_the_end_of_the_run_are_not_passed_over(undisturbed: RunResult, tmp_path: Path) -> None:
    """The dead head went on longer than the manifest says: what it wrote last would stand in the file unmade."""
    dead = killed(tmp_path, 329 * S)
    manifest = rundir.read_manifest(dead)
    edit(dead, "DELETE FROM beats WHERE boundary_ns > 200000000000")
    rundir.write_manifest(dead, {**manifest, "until_ns": 200 * S})
    with pytest.raises(UserMistake, match="were not made again"):
        resumed(dead)


def test_another_cluster_file_is_refused(tmp_path: Path) -> None:
    dead = killed(tmp_path)
    with (dead / rundir.CLUSTER).open("a") as file:
        file.write("# one more line\n")
    with pytest.raises(UserMistake, match="not the file that the run was begun with"):
        resumed(dead)


def test_the_head_killed_by_the_kernel_is_survived(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "orchestrator.cli"]
    begin = [*words, "run", str(SMALL), "--fleet", "local", "--speed", "120", "--until", "5min", "--out", "run"]
    head = subprocess.Popen(begin, cwd=tmp_path, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and stored(tmp_path / "run" / "run.db") < 60:
        time.sleep(0.05)
    os.kill(head.pid, signal.SIGKILL)
    head.wait()
    go_on = [*words, "resume", "run", "--fleet", "local", "--json"]
    straight = [*words, "run", str(SMALL), "--fleet", "local", "--until", "5min", "--out", "other", "--json"]
    digests = []
    for command in (go_on, straight):
        done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout)["trace_digest"])
    assert digests[0] == digests[1]
    refused = subprocess.run(go_on, cwd=tmp_path, env=ENV, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "was not killed" in refused.stderr


def stored(database: Path) -> int:
    """Trace lines that a run has made durable so far."""
    if not database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM trace").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def fold_the_log(database: Path) -> None:
    edit(database.parent, "PRAGMA wal_checkpoint(TRUNCATE)")


def edit(run_dir: Path, statement: str) -> None:
    connection = sqlite3.connect(run_dir / rundir.DATABASE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def small_files() -> None:
    """As on a full disk: no file grows beyond 300 000 bytes; writing more is an error, not the end of the process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def test_a_full_disk_ends_the_run_with_advice_and_the_advice_works(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "orchestrator.cli", "run", str(SMALL), "--fleet", "local"]
    whole = subprocess.run(
        [*words, "--out", "whole", "--json"], cwd=tmp_path, env=ENV, capture_output=True, text=True, check=True
    )
    full = subprocess.run(
        [*words, "--out", "full"], cwd=tmp_path, env=ENV, capture_output=True, text=True, check=False,
        preexec_fn=small_files,
    )  # fmt: skip
    assert full.returncode == 2
    assert "full/run.db" in full.stderr
    assert "realmfleet resume full" in full.stderr
    assert "Traceback" not in full.stderr
    result = resumed(tmp_path / "full")
    assert result.trace_digest == json.loads(whole.stdout)["trace_digest"]
