"""A branch shares its past with its run, has the future that was injected, and is refused when it parts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import rundir
from orchestrator.api import Run, RunOptions, RunResult, open_file
from orchestrator.branch_point import pack, read_standing, unpack
from orchestrator.cli import app
from orchestrator.engine.run_store import RunReader
from orchestrator.errors import UserMistake
from orchestrator.fork import fork, read_injection, stand
from orchestrator.inputs import CordonMachine, InjectFault, MigrateRealm, StopRealm
from orchestrator.progress import Watch
from orchestrator.replay import replay_run

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "clusters" / "small.yaml"
S = 1_000_000_000
BRANCH_NS = 60 * S

INJECTION = """\
faults:
  - {fault: machine.power-loss, at: 90s, for: 20s, select: {machine: r1-std-01}}
events:
  - {kind: stop, at: 70s, realm: web-001}
"""


@contextmanager
def watching(until_ns: int, *, quiet: bool) -> Iterator[Watch]:
    yield lambda now_ns, line: None


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three virtual minutes with an operator's input in its first, and one after the branch."""
    folder = tmp_path_factory.mktemp("origin") / "run"
    cluster, text = open_file(SMALL)
    with Run(cluster, text, RunOptions(fleet="local", out=folder, until_ns=180 * S, file=str(SMALL))) as run:
        run.run_until(30 * S)
        run.engine.admit(CordonMachine("r2-std-01", "cleaning"))
        run.run_until(100 * S)
        run.engine.admit(CordonMachine("r3-std-01", "cleaning"))
        run.run_until(180 * S)
        run.finish()
    return folder


def branch(source: Path, at_ns: int | None, out: Path, injection: Path | None = None) -> RunResult:
    standing = read_standing(source, at_ns)
    cluster, _ = open_file(SMALL)
    injected = [] if injection is None else read_injection(injection, cluster, standing.at_ns)
    return fork(standing, source, injected, RunOptions(fleet="local", out=out), watching, quiet=True)


def records(run_dir: Path) -> list[dict[str, object]]:
    with RunReader(run_dir / rundir.DATABASE) as reader:
        return [json.loads(line) for line in reader.trace()]


def before(run_dir: Path, at_ns: int) -> list[dict[str, object]]:
    return [record for record in records(run_dir) if record["at_ns"] < at_ns]  # type: ignore[operator]


def test_a_branch_shares_the_past_and_has_the_future_that_was_injected(origin: Path, tmp_path: Path) -> None:
    injection = tmp_path / "inject.yaml"
    injection.write_text(INJECTION)
    branch(origin, BRANCH_NS, tmp_path / "branch", injection)
    assert before(tmp_path / "branch", BRANCH_NS) == before(origin, BRANCH_NS)
    cordons = [r for r in records(tmp_path / "branch") if r["kind"] == "operator.accepted"]
    asked = [record["what"]["asked"] for record in cordons]  # type: ignore[index]
    assert asked == ["cordon-machine", "stop-realm", "inject-fault"]
    begun = [record for record in records(tmp_path / "branch") if record["kind"] == "fault.injected"]
    assert [record["at_ns"] for record in begun] == [90 * S]
    assert not [record for record in records(origin) if record["kind"] == "fault.injected"]


def test_a_branch_with_the_inputs_of_its_run_is_its_run(origin: Path, tmp_path: Path) -> None:
    later = branch(origin, 150 * S, tmp_path / "branch")
    assert later.trace_digest == rundir.read_manifest(origin)["trace_digest"]


def test_a_branch_is_replayed_and_branched_again(origin: Path, tmp_path: Path) -> None:
    injection = tmp_path / "inject.yaml"
    injection.write_text(INJECTION)
    result = branch(origin, BRANCH_NS, tmp_path / "branch", injection)
    assert replay_run(tmp_path / "branch").same
    again = branch(tmp_path / "branch", 150 * S, tmp_path / "twig")
    assert again.trace_digest == result.trace_digest


def test_a_snapshot_holds_all_that_a_branch_needs(origin: Path, tmp_path: Path) -> None:
    file = tmp_path / "at.snapshot"
    file.write_bytes(pack(stand(read_standing(origin, 150 * S))))
    assert len(unpack(file.read_bytes(), "x").machines) == 6
    result = branch(file, None, tmp_path / "branch")
    assert result.trace_digest == rundir.read_manifest(origin)["trace_digest"]


def test_a_snapshot_whose_machine_stood_elsewhere_is_refused(origin: Path, tmp_path: Path) -> None:
    early, late = stand(read_standing(origin, 0)), stand(read_standing(origin, BRANCH_NS))
    late.machines["r1-std-01"] = early.machines["r1-std-01"]
    file = tmp_path / "at.snapshot"
    file.write_bytes(pack(late))
    with pytest.raises(UserMistake, match="the state of r1-std-01 differs"):
        branch(file, None, tmp_path / "branch")


def test_a_run_whose_past_was_changed_is_not_branched(origin: Path, tmp_path: Path) -> None:
    shutil.copytree(origin, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / rundir.DATABASE) as connection:
        connection.execute("UPDATE beats SET digest = 'ff' WHERE boundary_ns = (SELECT max(boundary_ns) FROM beats "
                           "WHERE boundary_ns < 50000000000)")  # fmt: skip
    with pytest.raises(UserMistake, match="not where"):
        branch(tmp_path / "run", BRANCH_NS, tmp_path / "branch")


HEADER = struct.Struct(">4sHQ32s")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: b"", "is not a snapshot"),
        (lambda content: b"PK\x03\x04" + content[4:], "is not a snapshot"),
        (lambda content: content[:4] + b"\x00\x09" + content[6:], "version 9"),
        (lambda content: content[:-1], "holds"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "was changed"),
    ],
)
def test_a_damaged_snapshot_is_refused_by_name(origin: Path, damage, why: str) -> None:  # type: ignore[no-untyped-def]
    content = pack(read_standing(origin, BRANCH_NS))
    with pytest.raises(UserMistake, match=why):
        unpack(damage(content), "this.snapshot")


@pytest.mark.parametrize(("at_ns", "why"), [(None, "at an instant"), (181 * S, "came to 3min, not to")])
def test_an_instant_that_the_run_did_not_reach_is_refused(origin: Path, at_ns: int | None, why: str) -> None:
    with pytest.raises(UserMistake, match=why):
        read_standing(origin, at_ns)


def test_an_injection_tells_all_its_problems_at_their_lines(tmp_path: Path) -> None:
    cluster, _ = open_file(SMALL)
    file = tmp_path / "inject.yaml"
    file.write_text(
        "faults:\n"
        "  - {fault: machine.power-loss, at: 10s, for: 20s, select: {machine: r1-std-01}}\n"
        "  - {fault: machine.power-loss, at: 90s, for: 20s, select: {machine: nobody}}\n"
        "events:\n"
        "  - {kind: stop, at: 90s, realm: nothing}\n"
    )
    with pytest.raises(UserMistake) as refused:
        read_injection(file, cluster, BRANCH_NS)
    text = refused.value.message
    assert "inject.yaml:2:" in text
    assert "before the branch" in text
    assert "inject.yaml:3:" in text
    assert "inject.yaml:5:" in text


def test_an_injection_is_what_an_operator_would_ask_for(tmp_path: Path) -> None:
    cluster, _ = open_file(SMALL)
    file = tmp_path / "inject.yaml"
    file.write_text(INJECTION + "  - {kind: migrate, at: 80s, realm: web-002}\n")
    assert read_injection(file, cluster, BRANCH_NS) == [
        (70 * S, StopRealm("web-001")),
        (80 * S, MigrateRealm("web-002")),
        (90 * S, InjectFault({"fault": "machine.power-loss", "for": "20s", "select": {"machine": "r1-std-01"}})),
    ]


def test_nothing_injected_is_a_mistake(tmp_path: Path) -> None:
    cluster, _ = open_file(SMALL)
    file = tmp_path / "inject.yaml"
    file.write_text("faults: []\n")
    with pytest.raises(UserMistake, match="nothing is injected"):
        read_injection(file, cluster, BRANCH_NS)


def test_a_replay_to_an_instant_compares_what_is_settled_by_then(origin: Path) -> None:
    part = replay_run(origin, BRANCH_NS)
    assert part.same
    assert part.virtual_ns == BRANCH_NS
    assert 0 < part.records <= len(before(origin, BRANCH_NS))
    assert replay_run(origin, 10_000 * S).records == len(records(origin))


def test_a_replay_to_an_instant_finds_a_changed_line_before_it_and_none_after(origin: Path, tmp_path: Path) -> None:
    shutil.copytree(origin, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / rundir.DATABASE) as connection:
        connection.execute("UPDATE trace SET line = replace(line, '\"number\":', '\"number\":9') WHERE line_number = "
                           "(SELECT min(line_number) FROM trace WHERE at_ns >= 30000000000)")  # fmt: skip
    assert not replay_run(tmp_path / "run", BRANCH_NS).same
    assert replay_run(tmp_path / "run", 20 * S).same


def test_the_commands_write_a_snapshot_and_branch_from_it(origin: Path, tmp_path: Path) -> None:
    cli = CliRunner()
    taken = cli.invoke(app, ["snapshot", str(origin), "--at", "1min", "--out", str(tmp_path / "s"), "--json"])
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["machines"] == 6
    branched = cli.invoke(app, ["fork", str(tmp_path / "s"), "--until", "80s", "--out", str(tmp_path / "b"), "--json"])
    assert branched.exit_code in (0, 1, 4), branched.output
    assert json.loads(branched.stdout)["virtual_s"] == 80
    manifest = rundir.read_manifest(tmp_path / "b")
    assert manifest["forked"] == {"at_ns": BRANCH_NS, "from": str(tmp_path / "s")}
    assert manifest["repeat"] == f"realmfleet replay {tmp_path / 'b'}"
