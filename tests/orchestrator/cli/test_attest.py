"""The commands of attestation engineers: recorded tokens get their verdicts, files go in a circle, mistakes told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner, Result

from attestation import ear
from attestation.ear import Ear, Submod, VerifierId
from attestation.keys import Curve, derive_key
from attestation.trust import Tier, TrustClaim
from orchestrator.cli import app
from orchestrator.cli.key_files import read_endorsements, read_keys
from orchestrator.errors import UserMistake
from orchestrator.serve import kbs

SEED = "a machine"
SIGNER = derive_key(b"verifier", "EAR", Curve.P256)


def realmfleet(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def told(result: Result) -> Any:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def mistake(result: Result) -> str:
    assert isinstance(result.exception, UserMistake), result.output
    return f"{result.exception.message}; {result.exception.hint}"


@pytest.fixture
def recorded(vectors: Path) -> Path:
    return vectors / "attestation"


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    """A claims file in the form of evcli."""

    def b64(data: bytes) -> str:
        return base64.b64encode(data).decode()

    document = {
        "cca-platform-token": {
            "cca-platform-profile": "tag:arm.com,2023:cca_platform#1.0.0",
            "cca-platform-implementation-id": b64(b"\xa1" * 32),
            "cca-platform-instance-id": b64(b"\x01" + b"\xb2" * 32),
            "cca-platform-config": b64(b"\xcf"),
            "cca-platform-lifecycle": 12288,
            "cca-platform-sw-components": [
                {"measurement-type": "RMM", "measurement-value": b64(b"\x12" * 32), "signer-id": b64(b"\xc3" * 32),
                 "version": "1"}
            ],
            "cca-platform-hash-algo-id": "sha-256",
        },
        "cca-realm-delegated-token": {
            "cca-realm-profile": "tag:arm.com,2023:realm#1.0.0",
            "cca-realm-personalization-value": b64(bytes(64)),
            "cca-realm-initial-measurement": b64(b"\x44" * 32),
            "cca-realm-extensible-measurements": [b64(bytes(32))] * 4,
            "cca-realm-hash-algo-id": "sha-256",
            "cca-realm-public-key-hash-algo-id": "sha-256",
        },
    }  # fmt: skip
    file = tmp_path / "claims.json"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def made(claims: Path, tmp_path: Path) -> Path:
    """A token made from the claims file, beside its trust anchor and reference values."""
    token = tmp_path / "token.cbor"
    done = realmfleet(
        "token", "create", "--claims", claims, "--seed", SEED, "--nonce", "aa" * 32, "--out", token,
        "--anchors", tmp_path / "anchors.json", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    references = {
        "platform": [
            {
                "implementation-id": "a1" * 32, "platform-configuration": "cf",
                "sw-components": [{"measurement-value": "12" * 32, "signer-id": "c3" * 32, "component-type": "RMM"}],
            }
        ],
        "realm": [{"initial-measurement": "44" * 32}],
    }  # fmt: skip
    (tmp_path / "references.json").write_text(json.dumps(references))
    return token


def pem(file: Path, curve: ec.EllipticCurve) -> Path:
    key = ec.generate_private_key(curve)
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    file.with_suffix(".pub").write_bytes(public)
    return file


# -- recorded evidence ------------------------------------------------------------------------------------------------


def test_every_made_vector_gets_its_verdict_and_exit_code(recorded: Path) -> None:
    folder = recorded / "derived"
    for case in json.loads((folder / "cases.json").read_text())["cases"]:
        done = realmfleet("token", "verify", folder / case["file"], "--key", _key(folder, case["key"]), "--json")
        if case["expect"] != "either":
            assert done.exit_code == (0 if case["expect"] == "accept" else 1), (case["file"], done.output)
        assert told(done)["verdict"] == ("accepted" if done.exit_code == 0 else "refused")


def _key(folder: Path, name: str) -> Path:
    return next(
        path for path in (folder / name, folder / "keys" / name, folder.parent / "keys" / name) if path.exists()
    )


def test_every_appraisal_vector_gets_its_submods(recorded: Path) -> None:
    cases = json.loads((recorded / "derived" / "appraisal" / "cases.json").read_text())["cases"]
    judged = [case for case in cases if case.get("submods")]
    for case in judged:
        corims = [word for name in case["corims"] for word in ("--corim", recorded / name)]
        done = realmfleet("token", "appraise", recorded / case["token"], *corims, "--nonce", case["nonce"], "--json")
        assert {name: _short(submod) for name, submod in told(done)["submods"].items()} == case["submods"], case["name"]
        affirming = all(submod["status"] == "affirming" for submod in case["submods"].values())
        assert done.exit_code == (0 if affirming else 1)
    assert len(judged) == 10


def _short(submod: dict[str, Any]) -> dict[str, Any]:
    """A submod as the recorded cases write it: without members that carry no claim."""
    vector = {claim: value for claim, value in submod["trustworthiness_vector"].items() if value}
    return {"status": submod["status"], "vector": vector}


def test_the_legacy_token_is_shown_with_the_verdict_beside_its_claims(recorded: Path) -> None:
    token, key = recorded / "tokens" / "cca-token-01.cbor", recorded / "keys" / "rust-cpak.json"
    done = realmfleet("token", "verify", token, "--key", key, "--nonce", "ab" * 64)
    assert done.exit_code == 0
    assert "platform   ✓ signature holds under the trust anchor" in done.stdout
    challenge = next(line for line in done.stdout.splitlines() if "ab" * 64 in line)
    assert challenge.endswith("✓ answers the nonce")


def test_a_wrong_binding_is_marked_at_its_claim_and_explained_as_the_only_fault(recorded: Path) -> None:
    token, key = recorded / "tokens" / "bug-33-repro.cbor", recorded / "stores" / "rust-ta-tfa.json"
    done = realmfleet("token", "verify", token, "--key", key, "--json")
    assert done.exit_code == 1
    assert told(done)["refusal"]["reason"] == "binding"
    assert told(done)["notes"]["platform.challenge"]["mark"] == "bad"
    explained = realmfleet("token", "explain", token, "--key", key, "--json")
    assert explained.exit_code == 1
    assert {step["step"] for step in told(explained)["steps"] if step["mark"] == "bad"} == {
        "binding of realm to platform"
    }


def test_diagnostic_notation_opens_the_token(recorded: Path) -> None:
    done = realmfleet("token", "decode", recorded / "tokens" / "cca-token-01.cbor", "--diag")
    assert done.exit_code == 0
    assert '265: "http://arm.com/CCA-SSD/1.0.0"' in done.stdout


def test_recorded_corims_are_inspected_or_refused_in_the_words_of_the_library(recorded: Path) -> None:
    folder = recorded / "corim" / "services"
    good = realmfleet("corim", "inspect", folder / "corim-cca-platform-valid.cbor", "--json")
    assert good.exit_code == 0
    assert len(told(good)["anchors"]) == 1
    bad = realmfleet("corim", "inspect", folder / "corim-cca-realm-bad-no-rim.cbor")
    assert bad.exit_code == 1
    assert "RIM (cca.rim) measurement is mandatory but not found" in bad.stderr


# -- files in a circle ------------------------------------------------------------------------------------------------


def test_a_made_token_verifies_under_its_anchor_and_nonce_alone(made: Path) -> None:
    anchors = made.with_name("anchors.json")
    assert realmfleet("token", "verify", made, "--key", anchors, "--nonce", "aa" * 32).exit_code == 0
    stale = realmfleet("token", "verify", made, "--key", anchors, "--nonce", "ab" * 32, "--json")
    assert stale.exit_code == 1
    assert told(stale)["refusal"]["reason"] == "freshness"


@pytest.mark.parametrize("form", ["hex", "base64"])
def test_a_token_may_be_given_as_text(made: Path, form: str) -> None:
    data = made.read_bytes()
    made.write_bytes(data.hex().encode() + b"\n" if form == "hex" else base64.encodebytes(data))
    assert realmfleet("token", "verify", made, "--key", made.with_name("anchors.json")).exit_code == 0


def test_appraisal_by_store_and_by_corim_agree(made: Path) -> None:
    folder = made.parent
    for profile in ("platform", "realm"):
        words = ["--anchors", folder / "anchors.json"] if profile == "platform" else []
        done = realmfleet(
            "corim", "create", "--profile", profile, "--store", folder / "references.json", *words,
            "--out", folder / f"{profile}.cbor",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    by_store = realmfleet(
        "token", "appraise", made, "--key", folder / "anchors.json", "--store", folder / "references.json", "--json"
    )
    by_corim = realmfleet(
        "token", "appraise", made, "--corim", folder / "platform.cbor", "--corim", folder / "realm.cbor", "--json"
    )
    assert by_store.exit_code == by_corim.exit_code == 0

    def vectors_of(result: Result) -> dict[str, Any]:
        return {name: submod["trustworthiness_vector"] for name, submod in told(result)["submods"].items()}

    assert vectors_of(by_store) == vectors_of(by_corim)
    unknown = realmfleet("token", "appraise", made, "--key", folder / "anchors.json")
    assert unknown.exit_code == 1
    assert "CCA_SSD_PLATFORM is warning" in unknown.stderr


def test_a_corim_is_signed_and_verified_by_its_signer_alone(made: Path) -> None:
    folder = made.parent
    key, stranger = pem(folder / "endorser.pem", ec.SECP384R1()), pem(folder / "stranger.pem", ec.SECP384R1())
    unsigned, signed = folder / "realm.cbor", folder / "realm.signed.cbor"
    realmfleet("corim", "create", "--profile", "realm", "--store", folder / "references.json", "--out", unsigned)
    assert realmfleet("corim", "sign", unsigned, "--key", key, "--out", signed).exit_code == 0
    assert realmfleet("corim", "verify", signed, "--key", key.with_suffix(".pub")).exit_code == 0
    refused = realmfleet("corim", "verify", signed, "--key", stranger.with_suffix(".pub"), "--json")
    assert refused.exit_code == 1
    assert told(refused)["refusal"]["reason"] == "signature"


@pytest.mark.parametrize("form", ["jwt", "cwt"])
def test_a_result_is_good_only_when_signed_in_time_and_affirming(tmp_path: Path, form: str) -> None:
    public = tmp_path / "verifier.pub"
    public.write_text(SIGNER.public.pem())
    for status, value, at, code in (
        (Tier.AFFIRMING, 2, 1000, 0), (Tier.WARNING, 33, 1000, 1), (Tier.AFFIRMING, 96, 1000, 1),
        (Tier.AFFIRMING, 2, 2000, 1),
    ):  # fmt: skip
        submods = {"CCA_REALM": Submod(status=status, vector={TrustClaim.EXECUTABLES: value})}
        result = Ear(issued_at=1000, expires_at=1500, verifier=VerifierId("a", "b"), submods=submods)
        file = tmp_path / "result"
        file.write_bytes(ear.sign_jwt(result, SIGNER).encode() if form == "jwt" else ear.sign_cwt(result, SIGNER))
        assert realmfleet("ear", "verify", file, "--key", public, "--at", str(at)).exit_code == code


def test_a_forged_corpus_can_be_judged_from_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    assert realmfleet("token", "forge", "--out", folder, "--seed", "7", "--count", "30").exit_code == 0
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    assert len(cases) == 30
    for case in cases:
        words = ["token", "verify", folder / case["file"], "--key", folder / "anchors.json"]
        done = realmfleet(*words, "--nonce", case["nonce"])
        assert done.exit_code == (0 if case["verdict"] == "accepted" else 1), case["file"]


def test_a_secret_is_served_and_got(made: Path, claims: Path, served_broker: str, tmp_path: Path) -> None:
    out = tmp_path / "secret"
    words = ["kbs", "get", "default/disk/key", "--claims", claims, "--url", served_broker]
    assert realmfleet(*words, "--seed", SEED, "--out", out).exit_code == 0
    assert out.read_bytes() == b"open sesame"
    refused = realmfleet(*words, "--seed", "another machine", "--json")
    assert refused.exit_code == 1
    assert told(refused)["verdict"] == "refused"
    assert "signature" in told(refused)["refusal"]["message"]


@pytest.fixture
def served_broker(made: Path) -> Iterator[str]:
    folder = made.parent
    references, _ = read_endorsements((), folder / "references.json")
    anchors = read_keys((folder / "anchors.json").read_bytes(), "anchors.json")
    app = kbs.create_app(kbs.room({"default/disk/key": b"open sesame"}, anchors, references))
    server = kbs.server(app, "127.0.0.1", 0)
    listening = server.config.bind_socket()
    listening.listen(16)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_the_users_mistake_with_a_hint(made: Path, claims: Path, tmp_path: Path) -> None:
    anchors, here = made.with_name("anchors.json"), tmp_path
    for words, word in (
        (["token", "verify", made, "--key", anchors, "--nonce", "xyz"], "hexadecimal"),
        (["token", "verify", made, "--key", anchors, "--nonce", "aa" * 65], "65 bytes"),
        (["token", "verify", made, "--key", made], "no key that can be read"),
        (["token", "appraise", made], "no key to trust"),
        (["token", "appraise", made, "--key", anchors, "--store", anchors], "reference store"),
        (["token", "appraise", made, "--key", anchors, "--corim", made], "CoRIM"),
        (["token", "create", "--claims", claims, "--out", here / "x"], "two keys"),
        (["token", "create", "--claims", claims, "--out", here / "x", "--seed", "1", "--wrapper", "398"], "399 or 907"),
        (["token", "create", "--claims", claims, "--out", here / "x", "--cpak", anchors, "--rak", anchors], "private"),
        (["token", "forge", "--out", here], "exists already"),
        (["token", "forge", "--out", here / "c", "--kind", "poem"], "no kind called poem"),
        (["corim", "create", "--profile", "poem", "--out", here / "x"], "no CoRIM profile"),
        (["corim", "create", "--profile", "realm", "--out", here / "x"], "nothing to endorse"),
        (["corim", "verify", made, "--key", made], "no key that can be read"),
        (["kbs", "serve", "--resources", here / "absent", "--key", anchors], "not a directory"),
        (["kbs", "get", "a/b/c", "--claims", claims, "--seed", "1", "--url", "http://127.0.0.1:1"], "no broker"),
    ):  # fmt: skip
        assert word in mistake(realmfleet(*words)), words


def test_evidence_that_is_no_token_is_refused_and_not_a_mistake(tmp_path: Path, made: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xd9\x01\x8f\xbf")
    key = made.with_name("anchors.json")
    for words in (
        ["token", "decode", broken], ["token", "decode", broken, "--diag"], ["token", "verify", broken, "--key", key],
        ["token", "explain", broken], ["corim", "inspect", broken], ["token", "create", "--claims", broken, "--out",
        tmp_path / "x", "--seed", "1"],
    ):  # fmt: skip
        plain, as_json = realmfleet(*words), realmfleet(*words, "--json")
        assert plain.exit_code == as_json.exit_code == 1, words
        assert told(as_json)["verdict"] == "refused"


def test_no_private_key_enters_an_error(tmp_path: Path, made: Path) -> None:
    key = pem(tmp_path / "k.pem", ec.SECP256K1())
    done = realmfleet("corim", "sign", made, "--key", key, "--out", tmp_path / "x")
    assert "private key is not on" in mistake(done)
    assert not any(line in mistake(done) for line in key.read_text().splitlines() if "-----" not in line)
