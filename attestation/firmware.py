"""Signed firmware images: a format of ours, shared by the side that releases firmware and the side that boots it.

An image is a CBOR tag around [COSE_Sign1, payload]; the signed payload is a manifest in canonical CBOR that names
component, versions, size and SHA-256 of the firmware. The signer is named by the SHA-256 of its COSE_Key.
Modelled: real CCA platforms use several vendor formats (trusted-firmware.org, "Trusted Board Boot"); this one is ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from attestation import cbor, cose
from attestation.errors import Malformed, RefusalReason, Refused, Untrusted
from attestation.keys import PublicKey, SigningKey

IMAGE_TAG = 0x52465749
"""CBOR tag of an image: "RFWI", from the first-come range, unregistered."""
MANIFEST_FORMAT = 1
IMAGE_LIMITS = cbor.Limits(max_bytes=64 * 1024 * 1024, max_depth=4)


class FirmwareManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed about a firmware image.

    ``security_version`` counts up with each security fix; ``data_format`` is the version of the state that the
    component hands over on live activation. Digest, size and signer are filled in by :func:`build`.
    """

    component: str
    version: str
    security_version: int
    data_format: int = 1
    payload_digest: bytes = b""
    payload_size: int = 0
    signer_id: bytes = b""


_FIELDS: tuple[tuple[int, str, type], ...] = (
    (1, "component", str),
    (2, "version", str),
    (3, "security_version", int),
    (4, "data_format", int),
    (5, "payload_digest", bytes),
    (6, "payload_size", int),
    (7, "signer_id", bytes),
)


def signer_id(key: PublicKey) -> bytes:
    """Name a signer: SHA-256 of its public COSE_Key bytes."""
    return hashlib.sha256(key.cose_key()).digest()


def measurement(payload: bytes) -> bytes:
    """What measured boot records for a firmware payload: its SHA-256."""
    return hashlib.sha256(payload).digest()


def build(manifest: FirmwareManifest, payload: bytes, key: SigningKey) -> bytes:
    """Sign a firmware image; digest, size and signer of the manifest are set from payload and key."""
    filled = msgspec.structs.replace(
        manifest,
        payload_digest=measurement(payload),
        payload_size=len(payload),
        signer_id=signer_id(key.public),
    )
    signed = cose.sign(_encode_manifest(filled), key)
    return cbor.encode(cbor.tagged(IMAGE_TAG, [signed, payload]))


def _encode_manifest(manifest: FirmwareManifest) -> bytes:
    members: dict[int, Any] = {0: MANIFEST_FORMAT}
    members |= {key: getattr(manifest, field) for key, field, _ in _FIELDS}
    return cbor.encode_canonical(members)


def read_manifest(image: bytes) -> tuple[FirmwareManifest, cose.Sign1, bytes]:
    """Read manifest, signature and payload of an image without judging them. Raises Malformed."""
    outer = cbor.decode(image, IMAGE_LIMITS)
    if not isinstance(outer, cbor.Tag) or outer.number != IMAGE_TAG:
        raise Malformed("not a firmware image: its tag is missing", offset=0)
    parts = outer.value
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, bytes) for part in parts):
        raise Malformed("firmware image is not [signed manifest, payload]", offset=5)
    signed, payload = parts
    try:
        sign1 = cose.parse(signed)
        manifest = _decode_manifest(sign1.payload)
    except Refused as refusal:
        raise refusal.located(part="manifest", base=cbor.locate(image, (0,), content=True)) from None
    return manifest, sign1, payload


def _decode_manifest(data: bytes) -> FirmwareManifest:
    members = cbor.decode(data)
    if not isinstance(members, dict) or members.get(0) != MANIFEST_FORMAT:
        raise Malformed(f"manifest is not of format {MANIFEST_FORMAT}", label=0)
    fields: dict[str, Any] = {}
    for key, field, kind in _FIELDS:
        if type(members.get(key)) is not kind:
            raise Malformed(f"manifest member {field} is missing or of the wrong type", label=key)
        fields[field] = members[key]
    manifest = FirmwareManifest(**fields)
    if min(manifest.security_version, manifest.data_format, manifest.payload_size) < 0:
        raise Malformed("manifest numbers must not be negative")
    if _encode_manifest(manifest) != data:
        raise Malformed("manifest is not in its one canonical form")
    return manifest


def open_image(image: bytes, anchors: Mapping[bytes, PublicKey]) -> tuple[FirmwareManifest, bytes]:
    """Verify an image against signers (by signer id) and return manifest and payload.

    Raises Malformed (framing, truncation, trailing bytes), Untrusted (unknown-key, signature), or Untrusted (binding)
    when the payload is not the one that was signed.
    """
    manifest, sign1, payload = read_manifest(image)
    key = anchors.get(manifest.signer_id)
    if key is None:
        raise Untrusted(
            f"firmware signer {manifest.signer_id.hex()} is not trusted", reason=RefusalReason.UNKNOWN_KEY, label=7
        )
    if signer_id(key) != manifest.signer_id:
        raise Untrusted("trusted key does not have the signer id it is filed under", reason=RefusalReason.UNKNOWN_KEY)
    try:
        sign1.verify(key)
    except Refused as refusal:
        raise refusal.located(part="manifest") from None
    same_size = len(payload) == manifest.payload_size
    if not same_size or not hmac.compare_digest(measurement(payload), manifest.payload_digest):
        raise Untrusted(
            "firmware payload is not the one that was signed", reason=RefusalReason.BINDING, label=5, part="payload"
        )
    return manifest, payload
