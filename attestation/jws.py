"""Signed JSON in the compact form that attestation results travel in: one signature, ECDSA, nothing optional.

The key that the caller trusts fixes the algorithm, the header does not; a key in the header is never trusted.
Sources: RFC 7515 (compact serialization), RFC 7518 section 3.4 (ECDSA), RFC 8725 (what JWT readers get wrong).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from attestation.cose import ALGORITHM_NAMES
from attestation.errors import Malformed, Refused, Untrusted
from attestation.keys import PublicKey, SigningKey, from_base64url, to_base64url
from attestation.stores import read_json

MAX_BYTES = 1024 * 1024


class Jws(NamedTuple):
    """A parsed compact JWS; ``signed`` are the bytes under the signature."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signed: bytes
    signature: bytes

    def verify(self, key: PublicKey) -> None:
        """Check the signature; alg must be the one that fits the key. Raises Untrusted (signature)."""
        expected = ALGORITHM_NAMES[key.algorithm]
        if self.header["alg"] != expected:
            raise Untrusted(f"alg in the header does not fit a key on {key.curve}: expected {expected}", label="alg")
        key.verify(self.signed, self.signature)


def sign(claims: Mapping[str, Any], key: SigningKey, *, embed_key: bool = False) -> str:
    """Sign ``claims``, members in the order given; ``embed_key`` puts the public key into the header."""
    header: dict[str, Any] = {"alg": ALGORITHM_NAMES[key.public.algorithm], "typ": "JWT"}
    if embed_key:
        header["jwk"] = key.public.jwk()
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode('ascii')))}"


def _part(value: Mapping[str, Any]) -> str:
    return to_base64url(json.dumps(value, separators=(",", ":")).encode("ascii"))


def parse(token: str | bytes) -> Jws:
    """Parse a compact JWS strictly, without judging its signature. Raises Malformed."""
    if len(token) > MAX_BYTES:
        raise Malformed(f"token of {len(token)} bytes exceeds the limit of {MAX_BYTES}")
    try:
        text = token.decode("ascii") if isinstance(token, bytes) else token
    except UnicodeDecodeError as error:
        raise Malformed("token is not ASCII", offset=error.start) from None
    parts = text.split(".")
    if len(parts) != 3:
        raise Malformed(f"not a compact JWS: {len(parts)} parts instead of 3")
    header, payload = _object(parts[0], "header"), _object(parts[1], "payload")
    if header.get("alg") not in ALGORITHM_NAMES.values():
        raise Malformed("algorithm is none of ES256, ES384, ES512", label="alg", part="header")
    for member in ("crit", "b64"):
        if member in header:
            raise Malformed("header extension is not understood", label=member, part="header")
    try:
        signature = from_base64url(parts[2])
    except Refused as refusal:
        raise refusal.located(part="signature") from None
    return Jws(header, payload, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def _object(text: str, part: str) -> dict[str, Any]:
    try:
        document = read_json(from_base64url(text), part)
    except Refused as refusal:
        raise refusal.located(part=part) from None
    if not isinstance(document, dict):
        raise Malformed(f"{part} is not a JSON object", part=part)
    return document
