"""`realmfleet token decode|verify`: tokens as people and scripts want to see them.

The judging is all in `attestation`; here files become bytes, bytes become keys, and answers become text or JSON. A
token file may hold CBOR, or the same bytes as hex or base64 text. A key file may be PEM, a JWK, a JWK set, or a
ccatoken store.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import msgspec
from msgspec import Struct

from attestation.claim_records import lifecycle_name
from attestation.errors import Refused
from attestation.keys import PublicKey
from attestation.stores import TrustAnchors, read_anchor_store
from attestation.token import NONCE_SIZE, Evidence
from attestation.token import decode as decode_token
from attestation.verify import verify as verify_token
from orchestrator.errors import UserMistake

NONCE_FORM = f"1 to {NONCE_SIZE} bytes in hex"
KEY_FORMS = "PEM, a JWK, a JWK set, or a ccatoken trust anchor store"


class Answer(Struct, frozen=True):
    """What was found out about one token: the decoded claims if it could be read, the refusal if there is one."""

    kind: str
    claims: dict[str, Any] | None
    refusal: dict[str, Any] | None
    checks: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether nothing was refused."""
        return self.refusal is None

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {
            "kind": self.kind,
            "verdict": "accepted" if self.good else "refused",
            "refusal": self.refusal,
            "checks": list(self.checks),
            "claims": self.claims,
        }

    def text(self) -> str:
        """The answer for people: the verdict, then the claims as a tree."""
        lines = []
        if self.refusal is not None:
            lines.append(f"refused ({self.refusal['reason']}): {self.refusal['message']}")
        elif self.checks:
            lines.append("accepted: " + "; ".join(self.checks))
        if self.claims is not None:
            lines.extend(_tree(self.claims, 0))
        return "\n".join(lines)


def decode(data: bytes) -> Answer:
    """Take a token apart; nothing is judged but its form."""
    try:
        evidence = decode_token(read_token(data))
    except Refused as refusal:
        return Answer("token", None, _refusal(refusal))
    return Answer("token", _claims(evidence), None)


def verify(data: bytes, anchors: TrustAnchors, nonce: bytes | None) -> Answer:
    """Verify a token under `anchors`; without a nonce freshness is not judged, and the answer says so."""
    token = read_token(data)
    try:
        verified = verify_token(token, anchors, nonce)
    except Refused as refusal:
        return Answer("verification", None, _refusal(refusal))
    fresh = "challenge answers the nonce" if verified.fresh else "freshness not judged (no --nonce)"
    checks = ("platform signature", "realm signature", "binding of realm to platform", fresh)
    return Answer("verification", _claims(verified.evidence), None, checks)


def read_token(data: bytes) -> bytes:
    """Bytes of a token file: as they are, or out of hex or base64 text."""
    text = data.strip()
    if not text or not text.isascii() or b"\x00" in text:
        return data
    compact = b"".join(text.split())
    try:
        return bytes.fromhex(compact.decode())
    except ValueError:
        pass
    try:
        return base64.b64decode(compact, validate=True)
    except binascii.Error:
        return data


def read_nonce(text: str | None) -> bytes | None:
    """The nonce argument; a wrong one is the user's mistake."""
    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UserMistake("--nonce is not hexadecimal", NONCE_FORM) from None
    if not 0 < len(nonce) <= NONCE_SIZE:
        raise UserMistake(f"--nonce has {len(nonce)} bytes", NONCE_FORM)
    return nonce


def read_keys(data: bytes, name: str) -> TrustAnchors:
    """Trust anchors out of a key file; a key without identities is trusted for whatever instance the token names."""
    try:
        if b"-----BEGIN" in data:
            return TrustAnchors.any_instance(PublicKey.from_pem(data))
        value = json.loads(data)
        if isinstance(value, dict) and isinstance(value.get("keys"), list) and value["keys"]:
            return TrustAnchors.any_instance(_platform_key(value["keys"]))
        if isinstance(value, dict):
            return TrustAnchors.any_instance(PublicKey.from_jwk(value))
        return read_anchor_store(data)
    except Refused as refusal:
        raise UserMistake(f"{name}: {refusal}", KEY_FORMS) from None
    except (ValueError, RecursionError):
        raise UserMistake(f"{name} holds no key that can be read", KEY_FORMS) from None


def _platform_key(keys: list[Any]) -> PublicKey:
    """The one signing key of a JWK set; a set with several does not say which signs platforms."""
    if len(keys) != 1 or not isinstance(keys[0], dict):
        raise UserMistake(f"the key set holds {len(keys)} keys", "a set of one key, or a ccatoken trust anchor store")
    return PublicKey.from_jwk(keys[0])


def _refusal(refusal: Refused) -> dict[str, Any]:
    return {
        "reason": refusal.reason.value,
        "message": str(refusal),
        "part": refusal.part,
        "label": refusal.label,
        "offset": refusal.offset,
    }


def _claims(evidence: Evidence) -> dict[str, Any]:
    """Both claim sets as plain data, byte strings in hex, with the names of things where numbers have one."""
    platform = _plain(msgspec.structs.asdict(evidence.platform.claims))
    lifecycle = lifecycle_name(evidence.platform.claims.lifecycle)
    platform["lifecycle_name"] = lifecycle.value if lifecycle is not None else None
    realm = _plain(msgspec.structs.asdict(evidence.realm.claims))
    ignored = evidence.ignored + evidence.platform.ignored + evidence.realm.ignored
    return {"wrapper": int(evidence.wrapper), "platform": platform, "realm": realm, "ignored": list(ignored)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Struct):
        return _plain(msgspec.structs.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _tree(value: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, item in value.items():
        if item in (None, [], ""):
            continue
        margin = "  " * depth
        if isinstance(item, dict):
            lines += [f"{margin}{key}", *_tree(item, depth + 1)]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{margin}{key}")
            for number, entry in enumerate(item):
                lines += [f"{margin}  [{number}]", *_tree(entry, depth + 2)]
        elif isinstance(item, list):
            lines += [f"{margin}{key}", *(f"{margin}  {entry}" for entry in item)]
        else:
            lines.append(f"{margin}{key}: {item}")
    return lines
