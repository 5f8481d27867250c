"""The command line as its user meets it: real processes, their output, their exit codes, what they leave behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[3]
SMALL = ROOT / "clusters" / "small.yaml"
ATTEST = ROOT / "clusters" / "realm-attest.yaml"
REALMFLEET = [sys.executable, "-m", "orchestrator.cli"]

Finished: TypeAlias = tuple[Path, dict[str, object]]


def realmfleet(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*REALMFLEET, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One finished local run and the JSON it printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = realmfleet("run", ATTEST, "--fleet", "local", "--json", "--out", folder / "run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run", json.loads(done.stdout)


def test_a_run_prints_one_json_object_with_what_scripts_need(finished: Finished) -> None:
    _, result = finished
    wanted = {
        "seed", "trace_digest", "virtual_s", "wall_s", "machines", "realms_running", "attestations", "migrations",
        "activations", "faults", "checkers", "actor_restarts",
    }  # fmt: skip
    assert wanted <= set(result)
    assert result["virtual_s"] == 60
    assert result["realms_running"] == 1
    assert result["attestations"] == {"passed": 1, "refused": 0}
    assert set(result["checkers"].values()) == {"pass"}  # type: ignore[attr-defined]


def test_the_digest_is_the_sha256_of_the_printed_trace(finished: Finished, tmp_path: Path) -> None:
    run, result = finished
    trace = realmfleet("inspect", run, "--trace", "--json", cwd=tmp_path)
    assert hashlib.sha256(trace.stdout.encode()).hexdigest() == result["trace_digest"]


def test_a_seed_changes_the_digest_and_its_absence_does_not(finished: Finished, tmp_path: Path) -> None:
    _, result = finished
    again = realmfleet("run", ATTEST, "--fleet", "local", "--json", cwd=tmp_path, PYTHONHASHSEED="4711")
    other = realmfleet("run", ATTEST, "--fleet", "local", "--json", "--seed", "99", cwd=tmp_path)
    assert json.loads(again.stdout)["trace_digest"] == result["trace_digest"]
    assert json.loads(other.stdout)["trace_digest"] != result["trace_digest"]


def test_the_seed_and_the_repeating_command_stand_first_and_last(tmp_path: Path) -> None:
    done = realmfleet("run", ATTEST, "--fleet", "local", "--json", cwd=tmp_path)
    lines = done.stderr.strip().splitlines()
    assert lines[0] == lines[-1]
    assert lines[0].startswith("seed 1 ")
    assert f"realmfleet run {ATTEST} --seed 1" in lines[0]


def test_the_summary_for_people_names_every_checker_and_the_run_directory(tmp_path: Path) -> None:
    done = realmfleet("run", ATTEST, "--fleet", "local", cwd=tmp_path)
    wanted = ("availability", "downtime per event", "attestations", "alive-once", "trace digest", "runs/realm-attest")
    for word in wanted:
        assert word in done.stdout


def test_a_token_of_the_run_verifies_under_its_anchors_and_not_with_a_flipped_bit(
    finished: Finished, tmp_path: Path
) -> None:
    run, _ = finished
    stored = tmp_path / "token.cbor"
    realm = json.loads(realmfleet("inspect", run, "--trace", "--json", cwd=tmp_path).stdout.splitlines()[-1])
    assert realm
    name = next(
        record["what"]["realm"]
        for line in realmfleet("inspect", run, "--trace", "--json", cwd=tmp_path).stdout.splitlines()
        if (record := json.loads(line))["kind"] == "realm.evidence"
    )
    assert realmfleet("inspect", run, "--token", name, "--out", stored, cwd=tmp_path).returncode == 0
    anchors = tmp_path / "anchors.json"
    assert realmfleet("inspect", run, "--anchors", "--out", anchors, cwd=tmp_path).returncode == 0
    good = realmfleet("token", "verify", stored, "--key", anchors, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    token = bytearray(stored.read_bytes())
    token[-40] ^= 1
    stored.write_bytes(token)
    bad = realmfleet("token", "verify", stored, "--key", anchors, "--json", cwd=tmp_path)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["verdict"] == "refused"


def test_explain_tells_why_a_realm_is_where_it_is(finished: Finished, tmp_path: Path) -> None:
    run, _ = finished
    told = realmfleet("explain", run, "solo-001", "--json", cwd=tmp_path)
    name = "solo-001"
    if told.returncode:
        name = told.stderr.split("did you mean ")[1].split(",")[0].rstrip("?\n")
        told = realmfleet("explain", run, name, "--json", cwd=tmp_path)
    kinds = [event["kind"] for event in json.loads(told.stdout)["events"]]
    for kind in ("realm.wanted", "realm.placed", "realm.built", "realm.verdict", "secret.released", "realm.live"):
        assert kind in kinds


def test_an_unknown_object_is_answered_with_the_nearest_names(finished: Finished, tmp_path: Path) -> None:
    run, _ = finished
    told = realmfleet("explain", run, "no-such-thing-anywhere", cwd=tmp_path)
    assert told.returncode == 2
    assert "nothing in this run is called no-such-thing-anywhere" in told.stderr
    assert "Traceback" not in told.stderr


# -- what is wrong ----------------------------------------------------------------------------------------------------

BROKEN = """\
version: 1
name: broken
profiles:
  std: {pes: 8, memroy: 16GiB, firmware: base}
racks:
  r1: {machines: {std: 1}}
firmware: {releases: {base: {components: {RMM: {version: 1.0.0, signed_by: vendor}}}}}
images: {web: {size: 3 bananas}}
realms: {}
"""


def test_a_broken_file_is_refused_with_every_mistake_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(BROKEN)
    done = realmfleet("run", "broken.yaml", "--fleet", "local", cwd=tmp_path)
    assert done.returncode == 2
    assert "broken.yaml:4:" in done.stderr
    assert "did you mean 'memory'" in done.stderr
    assert "broken.yaml:8:" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.yaml"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "absent.yaml"], "there is no file absent.yaml"),
        (["run", str(ATTEST), "--seed", "minus"], "--seed"),
        (["run", str(ATTEST), "--seed", "-4"], "--seed"),
        (["run", str(ATTEST), "--actors", "many"], "--actors many is not a number of actors"),
        (["run", str(ATTEST), "--until", "soon"], "--until soon"),
        (["run", str(ATTEST), "--fleet", "ray", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1"),
        (["run", str(ATTEST), "--record-door", "nobody", "door.jsonl"], "there is no machine nobody"),
        (["inspect", "nowhere"], "nowhere is not a run directory"),
        (["explain", "nowhere", "web-001"], "nowhere is not a run directory"),
        (["schema", "--kind", "poem"], "there is no schema called poem"),
        (["chaos", "run", "absent.yaml"], "there is no file absent.yaml"),
        (["chaos", "run", str(SMALL), "--seeds", "9..2"], "--seeds 9..2 names no seed"),
        (["token", "decode", "absent.cbor"], "there is no file absent.cbor"),
        (["token", "verify", str(ATTEST), "--key", str(ATTEST)], "holds no key that can be read"),
        (["dance"], "dance"),
    ],
)
def test_a_users_mistake_is_one_clear_message_and_leaves_nothing(words: list[str], told: str, tmp_path: Path) -> None:
    done = realmfleet(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_existing_run_directory_is_kept_unless_the_user_says_replace(tmp_path: Path) -> None:
    first = realmfleet("run", ATTEST, "--fleet", "local", "--out", "here", cwd=tmp_path)
    assert first.returncode == 0
    before = (tmp_path / "here" / "manifest.json").read_bytes()
    refused = realmfleet("run", ATTEST, "--fleet", "local", "--out", "here", cwd=tmp_path)
    assert refused.returncode == 2
    assert "here exists already" in refused.stderr
    assert (tmp_path / "here" / "manifest.json").read_bytes() == before
    assert realmfleet("run", ATTEST, "--fleet", "local", "--out", "here", "--replace", cwd=tmp_path).returncode == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    spared = realmfleet("run", ATTEST, "--fleet", "local", "--out", "mine", "--replace", cwd=tmp_path)
    assert spared.returncode == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_malformed_evidence_is_answered_no_rather_than_with_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "token.cbor").write_bytes(b"\xd9\x01\x8f\xbf")
    done = realmfleet("token", "decode", "token.cbor", cwd=tmp_path)
    assert done.returncode == 1
    assert "refused (malformed)" in done.stderr


# -- the rest of the verbs --------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_validates_and_never_overwrites(tmp_path: Path) -> None:
    assert realmfleet("init", "mine.yaml", cwd=tmp_path).returncode == 0
    assert realmfleet("validate", "mine.yaml", cwd=tmp_path).returncode == 0
    text = (tmp_path / "mine.yaml").read_text()
    assert text.count("#") > 10
    assert realmfleet("init", "mine.yaml", cwd=tmp_path).returncode == 2
    assert (tmp_path / "mine.yaml").read_text() == text


@pytest.mark.parametrize(
    "words",
    [
        ["validate", str(SMALL)],
        ["schema"],
        ["schema", "--kind", "experiment"],
        ["doctor"],
        ["init", "new.yaml"],
    ],
)
def test_json_stands_alone_on_standard_output(words: list[str], tmp_path: Path) -> None:
    done = realmfleet(*words, "--json", cwd=tmp_path)
    assert isinstance(json.loads(done.stdout), dict)
    assert done.stdout.count("\n") == 1


def test_version_and_help_start_without_the_heavy_packages(tmp_path: Path) -> None:
    assert realmfleet("--version", cwd=tmp_path).stdout.startswith("realmfleet 0.")
    code = "import sys, orchestrator.cli; print(sorted({'ray', 'polars', 'fastapi', 'pydantic'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "[]"


def test_a_killed_run_leaves_a_directory_that_can_be_read(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*REALMFLEET, "run", str(ATTEST), "--fleet", "local", "--speed", "4", "--out", "cut"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(tmp_path / "cut" / "manifest.json")
        time.sleep(2.5)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    manifest = json.loads(realmfleet("inspect", "cut", "--json", cwd=tmp_path).stdout)
    assert manifest["status"] == "running"
    assert realmfleet("inspect", "cut", "--trace", "--json", cwd=tmp_path).returncode == 0


def test_an_interrupt_ends_the_run_cleanly_with_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*REALMFLEET, "run", str(ATTEST), "--fleet", "local", "--speed", "4", "--out", "cut", "--json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    _wait_for(tmp_path / "cut" / "manifest.json")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["interrupted"] is True
    assert json.loads((tmp_path / "cut" / "manifest.json").read_text())["status"] == "interrupted"


def _wait_for(path: Path) -> None:
    for _ in range(300):
        if path.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"{path} never appeared")
