"""Trustee's attestation service without a broker: one request in, one signed result out.

Source: confidential-containers/trustee, attestation-service/src/bin/restful (POST /attestation).
"""

from __future__ import annotations

import hashlib
from typing import Any

from attestation import policy as policies
from attestation.appraise import Scheme, appraise
from attestation.ear import sign_jwt
from attestation.ear_results import Issuer, trustee_result
from attestation.errors import Denied, Malformed, RefusalReason
from attestation.kbs import messages
from attestation.keys import from_base64url
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import NONCE_SIZE
from attestation.verify import PlatformCache, verify

_NS_PER_S = 10**9
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


def evaluate(
    body: bytes,
    anchors: TrustAnchors,
    references: ReferenceValues,
    issuer: Issuer,
    *,
    now_ns: int,
    trusted_platforms: PlatformCache | None = None,
) -> str:
    """Judge the evidence of one request; the result as a JWT with its key in the header.

    Raises Refused when the request is not understood or the evidence does not verify.
    """
    request = _request(messages.read_object(body, "attestation request"))
    runtime, name = request.get("runtime_data"), request.get("runtime_data_hash_algorithm", "sha384")
    structured = runtime.get("structured") if isinstance(runtime, dict) else None
    if not isinstance(structured, dict):
        raise Malformed("request has no structured runtime data", label="runtime_data")
    if name not in _HASHES:
        raise Malformed(
            "runtime data are hashed by none of sha256, sha384, sha512", label="runtime_data_hash_algorithm"
        )
    try:
        bound = _HASHES[name](messages.canonical_json(structured)).digest().ljust(NONCE_SIZE, b"\0")
    except (ValueError, RecursionError):
        raise Malformed("runtime data have no canonical JSON form", label="runtime_data") from None
    verified = verify(_token(request), anchors, bound, trusted_platforms=trusted_platforms)
    appraisal = appraise(verified, references, Scheme.VERAISON)
    result = trustee_result(
        appraisal,
        verified,
        issued_at=now_ns // _NS_PER_S,
        runtime_data=structured,
        facts=policies.facts_of(verified, appraisal, references),
        issuer=issuer,
    )
    return sign_jwt(result, issuer.key, embed_key=True)


def _request(body: dict[str, Any]) -> dict[str, Any]:
    requests = body.get("verification_requests")
    if not isinstance(requests, list) or len(requests) != 1 or not isinstance(requests[0], dict):
        raise Malformed("exactly one request for verification is understood", label="verification_requests")
    request: dict[str, Any] = requests[0]
    if request.get("tee") != messages.TEE:
        raise Denied(f"only evidence of kind {messages.TEE!r} is accepted", reason=RefusalReason.VERSION, label="tee")
    return request


def _token(request: dict[str, Any]) -> bytes:
    text = request.get("evidence")
    if not isinstance(text, str):
        raise Malformed("request has no evidence", label="evidence")
    return messages.read_token(messages.read_object(from_base64url(text), "evidence"))
