"""What travels between guest and broker: canonical JSON, the bound challenge, bodies and errors.

Sources: confidential-containers/trustee kbs/docs/kbs_attestation_protocol.md and kbs/src (protocol 0.4.0), RFC 8785
(canonical JSON).
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from attestation.errors import Denied, Malformed, RefusalReason, Refused
from attestation.keys import Curve, PublicKey
from attestation.stores import read_json
from attestation.token import NONCE_SIZE

PROTOCOL_VERSION = "0.4.0"
TEE = "cca"
COOKIE = "kbs-session-id"
MAX_BODY_BYTES = 1024 * 1024
_ERROR_TYPE = "https://github.com/confidential-containers/kbs/errors/"


def canonical_json(value: Any) -> bytes:
    """RFC 8785 for strings, integers, booleans, null, arrays and objects. Raises ValueError for anything else."""
    return _canonical(value).encode()


def _canonical(value: Any) -> str:
    if isinstance(value, dict):
        # RFC 8785 section 3.2.3: members sort by the UTF-16 code units of their names
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_canonical(name)}:{_canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) < 1 << 53:
        return str(value)
    raise ValueError(f"no canonical JSON for a value of type {type(value).__name__}")


def compact_json(value: Any) -> bytes:
    """JSON without blanks, members in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def bound_challenge(nonce: str, tee_pubkey: dict[str, Any], additional_evidence: str = "") -> bytes:
    """The 64 bytes that the Realm token must carry: SHA-384 of the canonical runtime data, zero padded.

    Raises Malformed when the runtime data have no canonical form.
    """
    runtime_data = {"additional-evidence": additional_evidence, "nonce": nonce, "tee-pubkey": tee_pubkey}
    try:
        return hashlib.sha384(canonical_json(runtime_data)).digest().ljust(NONCE_SIZE, b"\0")
    except (ValueError, RecursionError):
        raise Malformed("runtime data have no canonical JSON form", label="runtime-data") from None


def request_body() -> bytes:
    """The Request: what the guest speaks."""
    extra = {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]}
    return compact_json({"version": PROTOCOL_VERSION, "tee": TEE, "extra-params": extra})


def challenge_body(nonce: bytes) -> bytes:
    """The Challenge: the nonce in standard base64; absence of a selected hash means SHA-384."""
    return compact_json({"nonce": base64.b64encode(nonce).decode(), "extra-params": ""})


def read_challenge(body: bytes) -> str:
    """The nonce text of a Challenge. Raises Malformed."""
    nonce = read_object(body, "challenge").get("nonce")
    if not isinstance(nonce, str) or not nonce:
        raise Malformed("challenge has no nonce", label="nonce")
    return nonce


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object of bounded size. Raises Malformed."""
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"{what} is larger than {MAX_BODY_BYTES} bytes")
    document = read_json(body, what)
    if not isinstance(document, dict):
        raise Malformed(f"{what} is not a JSON object")
    return document


def check_request(body: bytes) -> None:
    """Check a Request: protocol version and kind of TEE. Raises Malformed or Denied (version)."""
    request = read_object(body, "request")
    version = request.get("version")
    if version != PROTOCOL_VERSION:
        raise Denied(
            f"protocol version {version!r:.40} is not supported, this broker speaks {PROTOCOL_VERSION}",
            reason=RefusalReason.VERSION,
            label="version",
        )
    if request.get("tee") != TEE:
        raise Denied(f"only evidence of kind {TEE!r} is accepted", reason=RefusalReason.VERSION, label="tee")


def attestation_body(nonce: str, tee_pubkey: dict[str, str], token: bytes) -> bytes:
    """The Attestation: runtime data and the CCA token as an array of integers."""
    return compact_json(
        {
            "init-data": None,
            "runtime-data": {"nonce": nonce, "tee-pubkey": tee_pubkey},
            "tee-evidence": {"primary_evidence": {"token": list(token)}, "additional_evidence": ""},
        }
    )


def response_body(token: str) -> bytes:
    """The Response: the signed attestation result."""
    return compact_json({"token": token})


def read_response(body: bytes) -> str:
    """The token of a Response. Raises Malformed."""
    token = read_object(body, "response").get("token")
    if not isinstance(token, str) or not token:
        raise Malformed("response has no token", label="token")
    return token


class Attestation:
    """A parsed Attestation: the nonce it claims, the guest's key, the token, and the challenge all that binds."""

    def __init__(self, body: bytes) -> None:
        message = read_object(body, "attestation")
        runtime = message.get("runtime-data")
        evidence = message.get("tee-evidence")
        if not isinstance(runtime, dict):
            raise Malformed("attestation has no runtime data", label="runtime-data")
        if not isinstance(evidence, dict):
            raise Malformed("attestation has no evidence", label="tee-evidence")
        nonce, jwk = runtime.get("nonce"), runtime.get("tee-pubkey")
        if not isinstance(nonce, str):
            raise Malformed("runtime data have no nonce", label="nonce")
        if not isinstance(jwk, dict):
            raise Malformed("runtime data have no public key", label="tee-pubkey")
        additional = evidence.get("additional_evidence", "")
        if not isinstance(additional, str):
            raise Malformed("additional evidence is not a string", label="additional_evidence")
        self.nonce = nonce
        self.tee_key = read_tee_key(jwk)
        self.token = read_token(evidence.get("primary_evidence"))
        self.challenge = bound_challenge(nonce, jwk, additional)


def tee_pubkey(key: PublicKey) -> dict[str, str]:
    """The guest's public key as the protocol writes it."""
    jwk = key.jwk()
    return {"kty": "EC", "crv": jwk["crv"], "alg": "ECDH-ES+A256KW", "x": jwk["x"], "y": jwk["y"]}


def read_tee_key(jwk: dict[str, Any]) -> PublicKey:
    """Read the guest's public key: EC on P-256 or P-521 for ECDH-ES+A256KW. Raises Malformed."""
    if jwk.get("alg") != "ECDH-ES+A256KW":
        raise Malformed("public key is not for ECDH-ES+A256KW", label="tee-pubkey")
    key = PublicKey.from_jwk(jwk)
    if key.curve not in (Curve.P256, Curve.P521):
        raise Malformed("public key is neither on P-256 nor on P-521", label="tee-pubkey")
    return key


def read_token(evidence: Any) -> bytes:
    """The CCA token in primary evidence: an array of octets. Raises Malformed."""
    octets = evidence.get("token") if isinstance(evidence, dict) else None
    if not isinstance(octets, list) or not all(type(octet) is int and 0 <= octet < 256 for octet in octets):
        raise Malformed("CCA evidence is not an array of octets", label="token")
    return bytes(octets)


_ERROR_NAMES = {
    RefusalReason.MALFORMED: "SerdeError",
    RefusalReason.POLICY: "PolicyDeny",
    RefusalReason.SESSION: "TokenNotFound",
    RefusalReason.RESOURCE: "PluginInternalError",
    RefusalReason.PATH: "InvalidRequestPath",
}


def error_response(refusal: Refused) -> tuple[int, bytes]:
    """HTTP status and JSON body of a refusal: 404 for a path that cannot be one, else 401."""
    name = _ERROR_NAMES.get(refusal.reason, "AttestationError")
    status = 404 if refusal.reason is RefusalReason.PATH else 401
    return status, compact_json({"type": _ERROR_TYPE + name, "detail": str(refusal)})
