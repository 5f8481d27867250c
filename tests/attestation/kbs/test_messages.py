"""Messages of the key-broker exchange: canonical form, the bound challenge, bodies, errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from attestation.errors import Denied, RefusalReason, Refused
from attestation.kbs import messages
from attestation.kbs.client import Guest


def test_the_recorded_exchange_has_its_canonical_form_and_challenge(vectors: Path) -> None:
    worked = json.loads((vectors / "attestation/trustee/kbs-worked.json").read_text())
    runtime = worked["runtime_data"]
    bound = messages.canonical_json({"additional-evidence": "", **runtime})
    assert bound.hex() == worked["canonical_primary_hex"]
    assert hashlib.sha384(bound).hexdigest() == worked["sha384"]
    challenge = messages.bound_challenge(runtime["nonce"], runtime["tee-pubkey"])
    assert challenge.hex() == worked["cca_challenge_64"]
    device = hashlib.sha384(messages.canonical_json(runtime)).hexdigest()
    assert device == worked["canonical_device_sha384"]
    known = worked["kat"]
    assert messages.canonical_json(json.loads(known["canonical"])).decode() == known["canonical"]
    assert hashlib.sha384(known["canonical"].encode()).hexdigest() == known["sha384"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ({"\u20ac": 1, "\r": 2, "\U0001f600": 3, "\ufb33": 4}, '{"\\r":2,"€":1,"\U0001f600":3,"\ufb33":4}'),
        ('quote " and \u0007', '"quote \\" and \\u0007"'),
    ],
)
def test_canonical_json_is_that_of_rfc_8785(value: Any, text: str) -> None:
    assert messages.canonical_json(value).decode() == text


@pytest.mark.parametrize("value", [1.5, 1 << 60, b"bytes", {"a": 1.0}])
def test_values_without_one_form_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="canonical"):
        messages.canonical_json(value)


def test_the_old_request_is_refused_with_both_versions(vectors: Path) -> None:
    old = (vectors / "attestation/trustee/kbs-request.json").read_bytes()
    with pytest.raises(Denied, match=r"0\.2\.0.*0\.4\.0") as refused:
        messages.check_request(old)
    assert refused.value.reason is RefusalReason.VERSION
    messages.check_request(messages.request_body())


def test_the_request_names_protocol_tee_and_hashes() -> None:
    assert json.loads(messages.request_body()) == {
        "version": "0.4.0",
        "tee": "cca",
        "extra-params": {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]},
    }


def test_an_attestation_carries_the_token_as_integers() -> None:
    guest = Guest(b"seed")
    guest.challenge("bm9uY2U=")
    body = json.loads(guest.attestation(b"\xd9\x01\x8f"))
    assert body["init-data"] is None
    assert body["tee-evidence"] == {"primary_evidence": {"token": [217, 1, 143]}, "additional_evidence": ""}
    assert body["runtime-data"]["nonce"] == "bm9uY2U="
    assert list(body["runtime-data"]["tee-pubkey"]) == ["kty", "crv", "alg", "x", "y"]


def _body(**changes: Any) -> bytes:
    guest = Guest(b"seed")
    guest.challenge("bm9uY2U=")
    return json.dumps(json.loads(guest.attestation(b"\xd9")) | changes).encode()


def _runtime(**changes: Any) -> bytes:
    runtime = json.loads(_body())["runtime-data"]
    return _body(**{"runtime-data": runtime | changes})


def _key(**changes: Any) -> bytes:
    key = json.loads(_body())["runtime-data"]["tee-pubkey"]
    return _runtime(**{"tee-pubkey": key | changes})


BAD_BODIES = {
    "not JSON": b"{",
    "not an object": b"[]",
    "deep": b"[" * 100_000,
    "deep object": b'{"runtime-data":{"nonce":"","tee-pubkey":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}",
    "duplicate member": b'{"runtime-data":{},"runtime-data":{}}',
    "too large": b" " * (messages.MAX_BODY_BYTES + 1),
    "no runtime data": _body(**{"runtime-data": None}),
    "no evidence": _body(**{"tee-evidence": []}),
    "no token": _body(**{"tee-evidence": {"primary_evidence": {}}}),
    "token as base64": _body(**{"tee-evidence": {"primary_evidence": {"token": "2QGP"}}}),
    "token with 256": _body(**{"tee-evidence": {"primary_evidence": {"token": [256]}}}),
    "token with -1": _body(**{"tee-evidence": {"primary_evidence": {"token": [-1]}}}),
    "token with true": _body(**{"tee-evidence": {"primary_evidence": {"token": [True]}}}),
    "additional evidence": _body(**{"tee-evidence": {"primary_evidence": {"token": [1]}, "additional_evidence": 1}}),
    "nonce a number": _runtime(nonce=1),
    "lone surrogate": _runtime(nonce="\ud800"),
    "no key": _runtime(**{"tee-pubkey": None}),
    "key for another algorithm": _key(alg="RSA-OAEP-256"),
    "key off its curve": _key(x="A" * 43),
    "key on P-384": _key(crv="P-384"),
    "key with a float": _key(extra=1.5),
}


@pytest.mark.parametrize("name", list(BAD_BODIES))
def test_a_bad_attestation_body_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        messages.Attestation(BAD_BODIES[name])


def test_errors_have_the_names_and_statuses_of_the_protocol() -> None:
    for reason, status, name in (
        (RefusalReason.POLICY, 401, "PolicyDeny"),
        (RefusalReason.SIGNATURE, 401, "AttestationError"),
        (RefusalReason.VERSION, 401, "AttestationError"),
        (RefusalReason.PATH, 404, "InvalidRequestPath"),
        (RefusalReason.SESSION, 401, "TokenNotFound"),
    ):
        got, body = messages.error_response(Denied("why", reason=reason))
        assert got == status
        assert json.loads(body) == {
            "type": f"https://github.com/confidential-containers/kbs/errors/{name}",
            "detail": "why",
        }
