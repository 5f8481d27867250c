"""TCB recovery: revoked firmware costs trust, secrets stay where they are, and only evidence brings trust back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import inputs as i
from orchestrator.api import RunOptions
from orchestrator.chaos.history import Line, read
from orchestrator.cli import app
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import RevokeEvent
from orchestrator.firmware.image import build_images, revoked_by
from orchestrator.firmware.tcb_outcome import drills

DRILL = Path(__file__).resolve().parents[3] / "clusters" / "tcb-recovery.yaml"
S = 1_000_000_000


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tcb") / "run"
    done = CliRunner().invoke(app, ["run", str(DRILL), "--fleet", "local", "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def lines(run_dir: Path) -> list[Line]:
    done = CliRunner().invoke(app, ["inspect", str(run_dir), "--trace", "--json"])
    return list(read(line.encode() for line in done.stdout.splitlines()))


def test_every_realm_that_served_loses_trust_and_regains_it_by_evidence_after_its_machine_was_activated(
    lines: list[Line],
) -> None:
    [drill] = drills(lines, 480 * S)
    assert sorted(one.realm for one in drill.realms) == [f"web-{number:03d}" for number in range(1, 10)]
    activated = {line.source: line.at_ns for line in lines if line.kind == "firmware.activated"}
    passed = [line for line in lines if line.kind == "realm.verdict" and line.what["passed"]]
    for one in drill.realms:
        assert one.lost_ns < 121 * S
        assert one.regained_ns is not None
        assert one.regained_ns > activated[one.regained_on]
        proof = [line.what["replied_ns"] for line in passed if line.what["realm"] == one.realm]
        assert one.regained_ns == pytest.approx(max(proof), abs=S)


def test_no_evidence_over_the_revoked_image_passes_after_the_revocation(lines: list[Line]) -> None:
    activated = {line.source: line.at_ns for line in lines if line.kind == "firmware.activated"}
    after = [line for line in lines if line.kind == "realm.verdict" and line.what["arrived_ns"] > 120 * S]
    assert after
    for line in after:
        new = line.what["arrived_ns"] > activated[line.what["machine"]]
        assert line.what["passed"] is new


def test_secrets_asked_for_meanwhile_are_withheld_and_released_once_there_is_a_good_machine(lines: list[Line]) -> None:
    [drill] = drills(lines, 480 * S)
    assert sorted(held.realm for held in drill.withheld) == ["late-001", "late-002", "late-003"]
    released = {line.what["realm"]: line.at_ns for line in lines if line.kind == "secret.released"}
    assert all(released[held.realm] > 240 * S for held in drill.withheld)


def test_realms_without_trust_go_on_serving_until_their_activation(lines: list[Line]) -> None:
    still = [line for line in lines if line.kind == "realm.still" and line.at_ns > 120 * S]
    assert {line.what["why"] for line in still if line.what["realm"].startswith("web")} == {"activation"}


def test_the_report_is_a_table_and_json(run_dir: Path) -> None:
    shown = CliRunner().invoke(app, ["tcb", "report", str(run_dir)])
    assert shown.exit_code == 0
    assert "revoked at 120.000 s: RMM 1.0.0 (base/RMM)" in shown.stdout
    assert "Realms that lost trust   9; still without 0" in shown.stdout
    found = json.loads(CliRunner().invoke(app, ["tcb", "report", str(run_dir), "--json"]).stdout)
    [drill] = found["revocations"]
    lost = sum(one["regained_ns"] - one["lost_ns"] for one in drill["realms"])
    assert drill["untrusted_ns"] == lost
    metrics = (run_dir / "metrics.om").read_text()
    assert "realmfleet_firmware_revocations_total" in metrics
    assert "realmfleet_realms_without_trust" in metrics


def test_where_nothing_was_revoked_the_report_says_what_to_do(tmp_path: Path) -> None:
    text = "\n".join(DRILL.read_text().split("events:")[0].splitlines()).replace("duration: 8min", "duration: 10s")
    file = tmp_path / "calm.yaml"
    file.write_text(text.replace("recover_within: 3min", "recover_within: 1s").replace("start_at: 119500ms", ""))
    CliRunner().invoke(app, ["run", str(file), "--fleet", "local", "--out", str(tmp_path / "run")])
    done = CliRunner().invoke(app, ["tcb", "report", str(tmp_path / "run")])
    assert "nothing was revoked" in str(done.exception)


def changed(**event: Any) -> str:
    text = DRILL.read_text()
    old = "    component: RMM\n    version: 1.0.0\n"
    return text.replace(old, "".join(f"    {key}: {value}\n" for key, value in event.items()))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"component": "RMM"}, "give component and version, or signer"),
        ({"component": "RMM", "version": "1.0.0", "signer": "vendor"}, "give component and version, or signer"),
        ({"signer": "vendro"}, "no signer is called 'vendro'"),
        ({"component": "RMM", "version": "9.9.9"}, "no release holds RMM 9.9.9"),
        ({"component": "SP1", "version": "1.0.0"}, "SP1"),
    ],
)
def test_a_revocation_of_what_there_is_not_is_refused_with_the_line(event: dict[str, Any], told: str) -> None:
    loaded = load_text(changed(**event), "drill.yaml")
    assert loaded.value is None
    assert told in loaded.render()


def test_a_revoked_signer_takes_every_image_that_needs_his_signature() -> None:
    loaded = load_text(changed(signer="auditor"), "drill.yaml").value
    assert loaded is not None
    [event] = [event for event in loaded.events if isinstance(event, RevokeEvent)]

    def hit(threshold: int) -> set[str]:
        policy = loaded.firmware.policy.model_copy(update={"threshold": threshold})
        cluster = loaded.model_copy(update={"firmware": loaded.firmware.model_copy(update={"policy": policy})})
        found = revoked_by(build_images(cluster, 7), cluster, 7, [event])
        return {f"{image.release}/{image.component}" for image in found}

    assert hit(1) == set()
    assert hit(2) == {"base/BL2", "base/BL31", "base/RMM", "fix/RMM"}


def test_made_to_attest_at_once_realms_are_refused_stopped_and_wait_for_a_good_machine(tmp_path: Path) -> None:
    from orchestrator.api import Run

    text = changed(component="RMM", version="1.0.0", realms="reattest")
    cluster = load_text(text, "drill.yaml").value
    assert cluster is not None
    with Run(cluster, text, RunOptions(fleet="local", out=tmp_path / "run"), repeat="") as run:
        run.run_until(200 * S)
        states = {name: realm.state for name, realm in run.assembly.control.store.realms.items()}
        assert set(states.values()) == {"wanted"}
        run.run_until(cluster.duration)
        states = {name: realm.state for name, realm in run.assembly.control.store.realms.items()}
        assert set(states.values()) == {"serving"}


def test_an_operators_revocation_takes_effect_like_the_files(tmp_path: Path) -> None:
    from orchestrator.api import Run

    text = "\n".join(DRILL.read_text().split("events:")[0].splitlines())
    cluster = load_text(text, "drill.yaml").value
    assert cluster is not None
    with Run(cluster, text, RunOptions(fleet="local", out=tmp_path / "run"), repeat="") as run:
        run.run_until(20 * S)
        run.engine.admit(i.RevokeFirmware({"component": "RMM", "version": "7.7.7"}))
        run.engine.admit(i.RevokeFirmware({"component": "RMM", "version": "1.0.0"}))
        run.run_until(22 * S)
        refused, accepted = run.assembly.desk.take_answers()
        assert (refused.rule, "no release holds" in refused.what) == ("invalid", True)
        assert accepted.what == "RMM 1.0.0 is revoked"
        assert {view.state for view in run.assembly.control.store.machines.values()} == {"refused"}
