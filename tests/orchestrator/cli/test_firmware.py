"""`realmfleet firmware`: an image goes from payload to verdict, and what is refused leaves with exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from orchestrator.cli import app

RUNNER = CliRunner()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("vendor", "auditor", "stranger"), start=2):
        key = ec.derive_private_key(number, ec.SECP384R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        Path(f"{name}.key").write_bytes(private)
        Path(f"{name}.pem").write_bytes(public)
    Path("payload").write_bytes(b"the new RMM" * 100)
    done = firmware(
        "build payload --component RMM --firmware-version 1.0.1 --security-version 2 --key vendor.key --out one.img"
    )
    assert done[0] == 0
    return tmp_path


def firmware(line: str) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["firmware", *line.split()])
    return done.exit_code, done.output


def test_a_countersigned_image_passes_a_policy_that_the_vendor_alone_does_not(room: Path) -> None:
    Path("policy.json").write_text(json.dumps({"threshold": 2, "required": ["auditor.pem"]}))
    keys = "--key vendor.pem --key auditor.pem --policy policy.json"
    code, told = firmware(f"verify one.img {keys}")
    assert (code, "lacks the signature" in told) == (1, True)
    assert firmware("sign one.img --key auditor.key --out two.img")[0] == 0
    code, told = firmware(f"verify two.img {keys} --json")
    assert code == 0
    assert len(json.loads(told)["signers"]) == 2


def test_inspect_names_everybody_who_claims_to_have_signed(room: Path) -> None:
    firmware("sign one.img --key stranger.key --out two.img")
    code, told = firmware("inspect two.img --json")
    found = json.loads(told)
    assert (code, found["component"], found["security_version"]) == (0, "RMM", 2)
    assert len(found["countersigners"]) == 1
    assert found["payload_bytes"] == 1100


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("verify one.img --key stranger.pem", "unknown-key"),
        ("verify one.img --key vendor.pem --component BL31", "the image is for RMM"),
        ("verify one.img --key vendor.pem --counter 3", "below the stored 3"),
        ("sign one.img --key vendor.key --out two.img", "signed this image already"),
        ("inspect payload", "malformed"),
    ],
)
def test_what_must_not_run_is_refused_with_exit_code_1_and_the_reason(room: Path, line: str, word: str) -> None:
    code, told = firmware(line)
    assert code == 1
    assert word in told


def test_a_revoked_version_is_refused(room: Path) -> None:
    Path("policy.json").write_text(json.dumps({"revoked_versions": [["RMM", "1.0.1"]]}))
    code, told = firmware("verify one.img --key vendor.pem --policy policy.json")
    assert (code, "is revoked" in told) == (1, True)
