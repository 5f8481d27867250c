"""Attestation results: the vectors get their verdicts, other libraries read ours, hostile ones are refused by name."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import cwt
import msgspec
import pytest
from joserfc import jws as jose
from joserfc.jwk import ECKey

from attestation import cose, ear, ear_results, jws
from attestation.appraise import appraise, failed
from attestation.claim_records import PlatformProfile
from attestation.corim import read
from attestation.ear import Ear, EarProfile, Submod, VerifierId
from attestation.errors import RefusalReason, Refused
from attestation.keys import Curve, PublicKey, SigningKey, derive_key, to_base64url
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.trust import Tier, TrustClaim
from attestation.verify import verify

KEY = derive_key(b"seed of a verifier", "EAR", Curve.P256)
NONCE = "bm9uY2Ugb2YgYSBzZXNzaW9u"
NOW = 1_800_000_000
RESULT = Ear(
    issued_at=NOW,
    expires_at=NOW + 300,
    verifier=VerifierId("Acme Inc.", "1.0"),
    raw_evidence=b"\xde\xad\xbe\xef",
    nonce=NONCE,
    submods={
        "CCA_REALM": Submod(
            status=Tier.WARNING,
            vector={TrustClaim.INSTANCE_IDENTITY: 2, TrustClaim.EXECUTABLES: 33, TrustClaim.SOURCED_DATA: -1},
            policy_ids=("policy:1",),
            annotated_evidence={"k": [1, "v"]},
            policy_claims={"problem": "none"},
            key_attestation=b"not parsed",
        )
    },
)


@pytest.fixture
def evidence(vectors: Path) -> Path:
    return vectors / "attestation"


def _document(**changes: Any) -> dict[str, Any]:
    return ear.json_claims(RESULT) | {
        name.replace("__", ".").replace("_", "-"): value for name, value in changes.items()
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("arc-ear-claims", Tier.AFFIRMING),
        ("arc-ear-claims-tv-ok", Tier.AFFIRMING),
        ("arc-ear-claims-extension-ok", Tier.AFFIRMING),
        ("arc-ear-claims-key-attestation-ok", Tier.AFFIRMING),
        ("rust-ear-claims", Tier.AFFIRMING),
    ],
)
def test_the_good_vectors_are_read_and_written_back_unchanged(evidence: Path, name: str, status: Tier) -> None:
    document = json.loads((evidence / "ear" / f"{name}.json").read_text())
    result = ear.read_json_claims(document)
    assert {submod.status for submod in result.submods.values()} == {status}
    assert ear.json_claims(result) == document


def test_a_key_attestation_without_a_key_is_refused(evidence: Path) -> None:
    document = json.loads((evidence / "ear" / "arc-ear-claims-key-attestation-ko.json").read_text())
    with pytest.raises(Refused, match="akpub") as refused:
        ear.read_json_claims(document)
    assert refused.value.label == "ear.veraison.key-attestation"


def test_the_attested_key_of_the_vector_is_a_p256_key(evidence: Path) -> None:
    document = json.loads((evidence / "ear" / "arc-ear-claims-key-attestation-ok.json").read_text())
    key = ear.read_json_claims(document).submods["PARSEC_TPM"].key_attestation
    assert key is not None
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    assert load_der_public_key(key).curve.name == "secp256r1"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["ear-json-1", "ear-json-2", "ext-veraison-json-1", "ext-veraison-json-2"])
def test_the_json_examples_of_the_draft_are_read_and_written_back(evidence: Path, name: str) -> None:
    document = json.loads((evidence / "ear" / "draft" / f"{name}.diag").read_text())
    assert ear.json_claims(ear.read_json_claims(document)) == document


@pytest.mark.parametrize("name", ["ear-cbor-1", "ext-veraison-cbor-1"])
def test_the_cbor_examples_of_the_draft_are_read_and_written_back(evidence: Path, name: str) -> None:
    text = (evidence / "ear" / "draft" / f"{name}.diag").read_text()
    document = ast.literal_eval(re.sub(r"h'([0-9A-Fa-f]*)'", lambda hit: repr(bytes.fromhex(hit[1])), text))
    result = ear.read_cbor_claims(cbor2.dumps(document))
    assert result.profile == EarProfile.DRAFT_03
    assert cbor2.loads(ear.cbor_claims(result)) == document


def test_the_token_of_trustee_is_read(evidence: Path) -> None:
    document = json.loads((evidence / "trustee" / "as-example.token.json").read_text())
    result = ear.read_json_claims(document)
    assert result.profile == EarProfile.TRUSTEE
    assert result.submods["cpu0"].status is Tier.CONTRAINDICATED
    assert ear.json_claims(result) == document


def _judged(evidence: Path) -> tuple[bytes, TrustAnchors, ReferenceValues]:
    token = (evidence / "tokens" / "services-cca-good.cbor").read_bytes()
    key = PublicKey.from_jwk(json.loads((evidence / "keys" / "services-ec.p256.jwk").read_text()))
    references = ReferenceValues()
    for name in ("platform-valid", "realm-valid"):
        for file in sorted((evidence / "corim" / "services").glob(f"*{name}.cbor")):
            corim = read(file.read_bytes())
            for platform in corim.platform:
                references.add_platform(platform)
            for realm in corim.realm:
                references.add_realm(realm)
    return token, TrustAnchors.any_instance(key), references


def test_the_result_for_the_good_token_is_that_of_the_veraison_service(evidence: Path) -> None:
    token, anchors, references = _judged(evidence)
    expected = json.loads((evidence / "veraison" / "cca.end-to-end.json").read_text())
    verified = verify(token, anchors, None)
    result = ear_results.veraison_result(appraise(verified, references), verified, issued_at=NOW, policy_id=None)
    assert ear.json_claims(result)["submods"] == expected


def test_with_a_policy_the_result_names_it_and_differs_in_nothing_else(evidence: Path) -> None:
    token, anchors, references = _judged(evidence)
    expected = json.loads((evidence / "veraison" / "cca.good.json").read_text())
    verified = verify(token, anchors, None)
    result = ear_results.veraison_result(appraise(verified, references), verified, issued_at=NOW)
    # this recorded run used the same claims under the 2023 profile; the stored token still has the legacy one
    annotated = expected["CCA_SSD_PLATFORM"]["ear.veraison.annotated-evidence"]
    assert annotated["cca-platform-profile"] == PlatformProfile.V2023_1_0
    annotated["cca-platform-profile"] = str(PlatformProfile.LEGACY)
    assert ear.json_claims(result)["submods"] == expected


def test_the_result_for_a_stale_token_is_that_of_the_veraison_service(evidence: Path) -> None:
    token, anchors, _ = _judged(evidence)
    expected = json.loads((evidence / "veraison" / "cca.freshness-fail.json").read_text())
    posed = bytes.fromhex("75e69d6de79f" * 10 + "75e69d6d")
    with pytest.raises(Refused) as refused:
        verify(token, anchors, posed)
    result = ear_results.veraison_result(failed(refused.value), None, issued_at=NOW)
    assert ear.json_claims(result)["submods"] == expected


def test_joserfc_reads_our_jwt() -> None:
    token = ear.sign_jwt(RESULT, KEY)
    opened = jose.deserialize_compact(token, ECKey.import_key(KEY.public.pem()), algorithms=["ES256"])
    assert opened.headers() == {"alg": "ES256", "typ": "JWT"}
    assert json.loads(opened.payload or b"") == ear.json_claims(RESULT)
    assert json.loads(opened.payload or b"")["submods"]["CCA_REALM"]["ear.status"] == "warning"


def test_a_jwt_of_joserfc_is_accepted() -> None:
    key = ECKey.generate_key("P-256")
    token = jose.serialize_compact({"alg": "ES256"}, json.dumps(ear.json_claims(RESULT)).encode(), key)
    assert ear.verify_jwt(token, PublicKey.from_jwk(key.as_dict(private=False)), now_s=NOW, nonce=NONCE) == RESULT


def test_a_second_cose_library_reads_our_cwt() -> None:
    key = cwt.COSEKey.from_pem(KEY.public.pem())
    claims = cbor2.loads(cwt.COSE.new(verify_kid=False).decode(ear.sign_cwt(RESULT, KEY), key))
    assert claims[265] == EarProfile.VERAISON
    assert claims[266]["CCA_REALM"][1000] == 32
    assert claims[266]["CCA_REALM"][1001] == {0: 2, 2: 33, 7: -1}


@pytest.mark.parametrize("profile", list(EarProfile))
def test_both_forms_come_back_as_they_went(profile: EarProfile) -> None:
    result = msgspec.structs.replace(RESULT, profile=profile)
    assert ear.verify_jwt(ear.sign_jwt(result, KEY), KEY.public, now_s=NOW, nonce=NONCE) == result
    assert ear.verify_cwt(ear.sign_cwt(result, KEY), KEY.public, now_s=NOW, nonce=NONCE) == result
    assert ear.verify_cwt(b"\xd8\x3d" + ear.sign_cwt(result, KEY), KEY.public) == result


def test_signing_twice_gives_the_same_bytes() -> None:
    assert ear.sign_jwt(RESULT, KEY) == ear.sign_jwt(RESULT, derive_key(b"seed of a verifier", "EAR", Curve.P256))
    assert ear.sign_cwt(RESULT, KEY) == ear.sign_cwt(RESULT, derive_key(b"seed of a verifier", "EAR", Curve.P256))


@pytest.mark.parametrize("curve", list(Curve))
def test_every_curve_signs_and_verifies_with_its_own_algorithm(curve: Curve) -> None:
    key = derive_key(b"another", "EAR", curve)
    assert ear.verify_jwt(ear.sign_jwt(RESULT, key), key.public) == RESULT


def _parts(token: str, *, header: Any = None, payload: Any = None, signature: str | None = None) -> str:
    parts = token.split(".")
    if header is not None:
        parts[0] = to_base64url(json.dumps(header).encode())
    if payload is not None:
        parts[1] = to_base64url(json.dumps(payload).encode())
    if signature is not None:
        parts[2] = signature
    return ".".join(parts)


def _resigned(document: Any, key: SigningKey = KEY) -> str:
    return jws.sign(document, key)


TAMPERED: dict[str, tuple[Callable[[str], str], RefusalReason]] = {
    "no algorithm": (lambda token: _parts(token, header={"alg": "none"}, signature=""), RefusalReason.MALFORMED),
    "a shared secret": (lambda token: _parts(token, header={"alg": "HS256"}), RefusalReason.MALFORMED),
    "another curve's algorithm": (lambda token: _parts(token, header={"alg": "ES384"}), RefusalReason.SIGNATURE),
    "a critical extension": (
        lambda token: _parts(token, header={"alg": "ES256", "crit": ["b64"]}), RefusalReason.MALFORMED,
    ),
    "another header": (lambda token: _parts(token, header={"alg": "ES256"}), RefusalReason.SIGNATURE),
    "another payload": (lambda token: _parts(token, payload=_document(iat=NOW + 1)), RefusalReason.SIGNATURE),
    "a short signature": (lambda token: _parts(token, signature="AAAA"), RefusalReason.SIGNATURE),
    "no signature": (lambda token: token.rpartition(".")[0], RefusalReason.MALFORMED),
    "padding": (lambda token: token + "=", RefusalReason.MALFORMED),
    "a blank": (lambda token: token + " ", RefusalReason.MALFORMED),
    "a fourth part": (lambda token: token + ".AAAA", RefusalReason.MALFORMED),
    "a list for a header": (lambda token: _parts(token, header=[]), RefusalReason.MALFORMED),
    "no ASCII": (lambda token: token[:-1] + "é", RefusalReason.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_jwt_is_refused_for_its_reason(name: str) -> None:
    change, reason = TAMPERED[name]
    with pytest.raises(Refused) as refused:
        ear.verify_jwt(change(ear.sign_jwt(RESULT, KEY)), KEY.public)
    assert refused.value.reason is reason


def test_the_key_in_the_header_is_not_trusted() -> None:
    stranger = derive_key(b"stranger", "EAR", Curve.P256)
    with pytest.raises(Refused) as refused:
        ear.verify_jwt(ear.sign_jwt(RESULT, stranger, embed_key=True), KEY.public)
    assert refused.value.reason is RefusalReason.SIGNATURE


def _without(member: str) -> dict[str, Any]:
    document = ear.json_claims(RESULT)
    del document[member]
    return document


def _submod(**changes: Any) -> dict[str, Any]:
    inner = ear.json_claims(RESULT)["submods"]["CCA_REALM"]
    return _document(
        submods={"x": inner | {name.replace("__", ".").replace("_", "-"): v for name, v in changes.items()}}
    )


BAD: dict[str, tuple[Any, str | int]] = {
    "no profile": (_without("eat_profile"), "eat_profile"),
    "a stranger's profile": (_without("eat_profile") | {"eat_profile": "tag:x"}, "eat_profile"),
    "a profile that is no text": (_without("eat_profile") | {"eat_profile": []}, "eat_profile"),
    "no instant": (_without("iat"), "iat"),
    "an instant with a fraction": (_document(iat=1.5), "iat"),
    "an instant that is true": (_document(iat=True), "iat"),
    "an instant before the epoch": (_document(iat=-1), "iat"),
    "no verifier": (_without("ear.verifier-id"), "ear.verifier-id"),
    "a verifier without build": (_document(ear__verifier_id={"developer": "x"}), "ear.verifier-id"),
    "no submods": (_without("submods"), "submods"),
    "empty submods": (_document(submods={}), "submods"),
    "a nameless submod": (_document(submods={"": {"ear.status": "none"}}), "submods"),
    "no status": (_document(submods={"x": {}}), "ear.status"),
    "an unknown status": (_submod(ear__status="good"), "ear.status"),
    "a status between tiers": (_submod(ear__status=3), "ear.status"),
    "an empty vector": (_submod(ear__trustworthiness_vector={}), "ear.trustworthiness-vector"),
    "an unknown vector member": (_submod(ear__trustworthiness_vector={"luck": 2}), "ear.trustworthiness-vector"),
    "a vector value of 9 bits": (_submod(ear__trustworthiness_vector={"hardware": 128}), "ear.trustworthiness-vector"),
    "a textual vector value": (_submod(ear__trustworthiness_vector={"hardware": "2"}), "ear.trustworthiness-vector"),
    "a list of policy ids": (_submod(ear__appraisal_policy_id=["x"]), "ear.appraisal-policy-id"),
    "evidence that is not base64url": (_document(ear__raw_evidence="3q2+7w=="), "ear.raw-evidence"),
    "annotated evidence that is a list": (
        _submod(ear__veraison__annotated_evidence=[]), "ear.veraison.annotated-evidence",
    ),
    "a nonce of 7 characters": (_without("eat_nonce") | {"eat_nonce": "1234567"}, "eat_nonce"),
    "a nonce of 89 characters": (_without("eat_nonce") | {"eat_nonce": "1" * 89}, "eat_nonce"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_signed_result_that_breaks_its_form_is_refused_with_the_member(name: str) -> None:
    document, label = BAD[name]
    with pytest.raises(Refused) as refused:
        ear.verify_jwt(_resigned(document), KEY.public)
    assert refused.value.label == label
    assert refused.value.reason in (RefusalReason.MALFORMED, RefusalReason.PROFILE)


def test_a_payload_with_a_duplicate_member_is_refused() -> None:
    payload = to_base64url(b'{"iat":1,"iat":2}')
    header = to_base64url(b'{"alg":"ES256"}')
    with pytest.raises(Refused, match="duplicate"):
        ear.verify_jwt(f"{header}.{payload}.AAAA", KEY.public)


def test_unknown_members_are_kept_and_written_back() -> None:
    document = _document(x_mine={"a": 1})
    assert ear.json_claims(ear.read_json_claims(document)) == document


@pytest.mark.parametrize(
    ("now", "good"),
    [(NOW - 61, False), (NOW - 60, True), (NOW, True), (NOW + 299, True), (NOW + 300, False), (None, True)],
)
def test_a_result_holds_from_its_issue_to_its_expiry(now: int | None, good: bool) -> None:
    token = ear.sign_jwt(RESULT, KEY)
    if good:
        assert ear.verify_jwt(token, KEY.public, now_s=now)
        return
    with pytest.raises(Refused) as refused:
        ear.verify_jwt(token, KEY.public, now_s=now)
    assert refused.value.reason is RefusalReason.FRESHNESS


@pytest.mark.parametrize("carried", [None, "another nonce"])
def test_a_result_for_another_nonce_or_none_is_refused(carried: str | None) -> None:
    token = ear.sign_jwt(msgspec.structs.replace(RESULT, nonce=carried), KEY)
    with pytest.raises(Refused) as refused:
        ear.verify_jwt(token, KEY.public, nonce=NONCE)
    assert refused.value.reason is RefusalReason.FRESHNESS


def test_a_cwt_with_another_signature_or_tag_is_refused() -> None:
    token = ear.sign_cwt(RESULT, KEY)
    for bad in (token[:-1] + bytes([token[-1] ^ 1]), token[1:], b"\xd8\x3e" + token, token + b"\0", b""):
        with pytest.raises(Refused):
            ear.verify_cwt(bad, KEY.public)


def test_a_cwt_with_the_json_names_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        ear.verify_cwt(cose.sign(cbor2.dumps(ear.json_claims(RESULT)), KEY), KEY.public)
    assert refused.value.label == 265


def test_a_status_better_than_its_vector_does_not_count_as_affirming() -> None:
    vector = {TrustClaim.EXECUTABLES: 96}
    submod = Submod(status=Tier.AFFIRMING, vector=vector)
    assert submod.contradicted
    assert not msgspec.structs.replace(RESULT, submods={"x": submod}).affirming
    assert msgspec.structs.replace(RESULT, submods={"x": Submod(status=Tier.AFFIRMING)}).affirming


def test_two_policy_ids_have_no_place_in_the_tools_form() -> None:
    submods = {"x": Submod(status=Tier.NONE, policy_ids=("a", "b"))}
    with pytest.raises(ValueError, match="one appraisal policy"):
        ear.sign_jwt(msgspec.structs.replace(RESULT, submods=submods), KEY)
    drafted = msgspec.structs.replace(RESULT, submods=submods, profile=EarProfile.DRAFT_03)
    assert ear.verify_jwt(ear.sign_jwt(drafted, KEY), KEY.public) == drafted
