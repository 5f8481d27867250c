"""The run's file: what is written, what a killed process leaves, and how an interrupted run goes on."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from toy_machine import FACTORY, toy_fleet
from toy_run import BEAT, ToyRun

from orchestrator.engine.errors import NondeterminismFound, StoreUnreadable
from orchestrator.engine.instant import MS, S
from orchestrator.engine.journal import ExternalInput
from orchestrator.engine.loop import Engine
from orchestrator.engine.run_store import RunReader, RunStore, Sample, StoredToken
from orchestrator.engine.trace import Trace
from orchestrator.fleet.local import LocalFleet

ROOT = Path(__file__).resolve().parents[3]
END = 2 * S


def run(store: RunStore, until_ns: int, seed: int = 1, recorded: list[ExternalInput] | None = None) -> Engine:
    """The toy run of `seed`, written into `store` and left unfinished at `until_ns`."""
    toy = ToyRun(LocalFleet(toy_fleet(4, 40 * MS, seed), 1, FACTORY), seed=seed)
    engine = Engine(BEAT, toy.fleet, toy.control, toy.links, Trace(store), store, recorded=recorded or ())
    engine.run_until(until_ns)
    return engine


def test_the_trace_can_be_read_back_and_its_digest_recomputed(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run.db") as store:
        digest = run(store, END).finish()
    with RunReader(tmp_path / "run.db") as reader:
        lines = list(reader.trace())
        assert hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest() == digest
        assert len(list(reader.beats())) == END // BEAT
        some = list(reader.trace(kind="toy.seen"))
        assert some == [line for line in lines if msgspec.json.decode(line)["kind"] == "toy.seen"]
        assert list(reader.trace(source="m1")) == [line for line in lines if b'"source":"m1","what"' in line]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.db"]


def test_tokens_samples_inputs_and_facts_come_back(tmp_path: Path) -> None:
    token = StoredToken("web-1", 2, 5, "m0", b"\xd9\x01\x8f")
    sample = Sample(7, "realmfleet_realms", '{"state":"running"}', 3)
    with RunStore.create(tmp_path / "run.db") as store:
        store.set_meta("seed", "1")
        store.keep_token(token)
        store.keep_samples([sample])
        store.admitted(ExternalInput(1, 100, {"drain": "m0"}))
    with RunReader(tmp_path / "run.db") as reader:
        assert reader.meta() == {"format": "1", "seed": "1"}
        assert (list(reader.tokens()), list(reader.tokens("db-1"))) == ([token], [])
        assert list(reader.samples("realmfleet_realms")) == [sample]
        assert reader.inputs(msgspec.json.decode) == [ExternalInput(1, 100, {"drain": "m0"})]


def test_a_reader_sees_what_is_committed_while_the_run_goes_on(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path / "run.db")
    run(store, END)
    store.commit()
    with RunReader(tmp_path / "run.db") as reader:
        assert len(list(reader.trace())) > 10
    store.close()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_run_store import run
from orchestrator.engine.run_store import RunStore
engine = run(RunStore.create(Path(sys.argv[1])), 4_000_000_000)
engine.admit({"drain": "m1"})
engine.run_until(5_000_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_a_readable_run_that_resumes_to_the_same_digest(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    folders = [str(Path(__file__).parent), str(ROOT / "tests" / "toys")]
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), *folders], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    with RunReader(path) as reader:
        left = list(reader.trace())
        inputs = reader.inputs(msgspec.json.decode)
    assert len(left) > 10
    assert inputs == [ExternalInput(1, 4 * S, {"drain": "m1"})]
    with RunStore.resume(path) as store:
        resumed = run(store, 6 * S, recorded=inputs).finish()
    with RunStore.create(tmp_path / "straight.db") as store:
        straight = run(store, 6 * S, recorded=inputs).finish()
    assert resumed == straight
    with RunReader(path) as one, RunReader(tmp_path / "straight.db") as other:
        assert list(one.trace()) == list(other.trace())


def test_resuming_with_another_seed_is_noticed_at_the_first_record(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run.db") as store:
        run(store, END, seed=1)
    with RunStore.resume(tmp_path / "run.db") as store, pytest.raises(NondeterminismFound, match="interrupted run has"):
        run(store, END, seed=2)


def test_what_is_no_run_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="no such file"):
        RunReader(tmp_path / "missing.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreUnreadable, match="not a"):
        RunReader(tmp_path / "text.db")
    with RunStore.create(tmp_path / "old.db") as store:
        store.set_meta("format", "0")
    with pytest.raises(StoreUnreadable, match="format 0"):
        RunReader(tmp_path / "old.db")
    with pytest.raises(StoreUnreadable):
        RunStore.create(tmp_path / "no" / "folder" / "run.db")


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    RunStore.create(tmp_path / "run.db").close()
    with pytest.raises(FileExistsError):
        RunStore.create(tmp_path / "run.db")
