"""Results of ours as others read them: no EAR library is published for Python, so joserfc and a JSON schema stand in.

joserfc checks the signature and parses the claims without any code of ours; the schema is written after the CDDL of
draft-ietf-rats-ear and the members that Veraison and Trustee add, and is held to recorded results first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from joserfc import jws as jose
from joserfc.jwk import ECKey

from attestation.appraise import Scheme, appraise
from attestation.ear import sign_jwt
from attestation.ear_results import Issuer, trustee_result
from attestation.keys import Curve, SigningKey, derive_key
from attestation.policy import facts_of
from attestation.session import EVIDENCE_MEDIA_TYPE, NonceRequest, SessionService
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.verify import verify

NONCE = bytes(range(64))
KEY = derive_key(b"verifier", "EAR", Curve.P256)
MEMBERS = (
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque",
    "storage-opaque", "sourced-data",
)  # fmt: skip
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["eat_profile", "iat", "ear.verifier-id", "submods"],
    "properties": {
        "eat_profile": {"type": "string", "pattern": "^tag:"},
        "iat": {"type": "integer"},
        "exp": {"type": "integer"},
        "eat_nonce": {"type": "string", "minLength": 8, "maxLength": 88},
        "ear.raw-evidence": {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"},
        "ear.verifier-id": {
            "type": "object",
            "required": ["build", "developer"],
            "properties": {"build": {"type": "string"}, "developer": {"type": "string"}},
        },
        "submods": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["ear.status"],
                "properties": {
                    "ear.status": {"enum": ["none", "affirming", "warning", "contraindicated"]},
                    "ear.appraisal-policy-id": {"type": "string"},
                    "ear.trustworthiness-vector": {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"enum": list(MEMBERS)},
                        "additionalProperties": {"type": "integer", "minimum": -128, "maximum": 127},
                    },
                },
            },
        },
    },
}


def tier(value: int) -> str:
    """The tier of a signed 8-bit value, by the ranges of AR4SI."""
    if -1 <= value <= 1:
        return "none"
    if -32 <= value <= 31:
        return "affirming"
    return "warning" if -96 <= value <= 95 else "contraindicated"


ORDER = ("none", "affirming", "warning", "contraindicated")


def outside(token: str) -> dict[str, Any]:
    """The claims of a result as joserfc reads them under the verifier's public key."""
    signed = jose.deserialize_compact(token, ECKey.import_key(KEY.public.jwk()), algorithms=["ES256"])
    claims: dict[str, Any] = json.loads(signed.payload)
    jsonschema.validate(claims, SCHEMA)
    for submod in claims["submods"].values():
        worst = max((tier(value) for value in submod["ear.trustworthiness-vector"].values()), key=ORDER.index)
        assert submod["ear.status"] == worst
    return claims


@pytest.mark.parametrize("name", ["claims", "claims-tv-ok", "claims-extension-ok", "claims-key-attestation-ok"])
def test_the_schema_takes_recorded_results(vectors: Path, name: str) -> None:
    jsonschema.validate(json.loads((vectors / f"attestation/ear/arc-ear-{name}.json").read_bytes()), SCHEMA)


@pytest.mark.parametrize("wrong", [
    {"iat": "now"}, {"submods": {}}, {"submods": {"a": {"ear.status": "good"}}}, {"eat_nonce": "short"},
    {"submods": {"a": {"ear.status": "none", "ear.trustworthiness-vector": {"luck": 2}}}},
])  # fmt: skip
def test_the_schema_refuses_what_is_no_result(wrong: dict[str, Any]) -> None:
    good = {
        "eat_profile": "tag:x", "iat": 1, "ear.verifier-id": {"build": "b", "developer": "d"},
        "submods": {"a": {"ear.status": "none"}},
    }  # fmt: skip
    jsonschema.validate(good, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(good | wrong, SCHEMA)


def test_a_result_of_a_verification_session_is_read_by_others(token: bytes, anchors: TrustAnchors) -> None:
    service = SessionService(anchors, ReferenceValues(), Issuer(KEY))
    session = service.new_session(NonceRequest(NONCE, 64), session_id="s", entropy=bytes(64), now_ns=10**9)
    told = service.submit(session.id, EVIDENCE_MEDIA_TYPE, token, now_ns=10**9)
    claims = outside(told.result)
    assert set(claims["submods"]) == {"CCA_SSD_PLATFORM", "CCA_REALM"}
    assert claims["iat"] == 1


def test_a_refusal_is_a_result_that_others_read_too(token: bytes, anchors: TrustAnchors) -> None:
    service = SessionService(anchors, ReferenceValues(), Issuer(KEY))
    session = service.new_session(NonceRequest(bytes(64), 64), session_id="s", entropy=bytes(64), now_ns=10**9)
    claims = outside(service.submit(session.id, EVIDENCE_MEDIA_TYPE, token, now_ns=10**9).result)
    [submod] = claims["submods"].values()
    assert submod["ear.status"] == "contraindicated"
    assert set(submod["ear.trustworthiness-vector"].values()) == {99}
    assert len(submod["ear.trustworthiness-vector"]) == 8


def test_a_result_for_trustee_is_read_by_others(token: bytes, anchors: TrustAnchors, rak: SigningKey) -> None:
    verified, references = verify(token, anchors, NONCE), ReferenceValues()
    appraisal = appraise(verified, references, Scheme.VERAISON)
    runtime = {"nonce": "n", "tee-pubkey": rak.public.jwk()}
    facts = facts_of(verified, appraisal, references)
    result = trustee_result(appraisal, verified, issued_at=1, runtime_data=runtime, facts=facts, issuer=Issuer(KEY))
    claims = outside(sign_jwt(result, KEY, embed_key=True))
    assert set(claims["submods"]) == {"cpu0"}
    assert claims["eat_profile"] == "tag:github.com,2024:confidential-containers/Trustee"
