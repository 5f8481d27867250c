"""Signed firmware images: a format of ours, shared by the side that releases firmware and the side that boots it.

An image is a CBOR tag around [COSE_Sign1, payload] or, with countersigners, [COSE_Sign1, payload, [COSE_Sign1, ...]].
The first signature, the vendor's, covers a manifest in canonical CBOR that names component, versions, size and SHA-256
of the firmware; each countersignature covers the SHA-256 of that manifest. Signers are named by the SHA-256 of their
COSE_Key.
Modelled: real CCA platforms use several vendor formats (trusted-firmware.org, "Trusted Board Boot"); this one is ours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from attestation import cbor, cose
from attestation.errors import Malformed, RefusalReason, Refused, Untrusted
from attestation.firmware_policy import SigningPolicy, judge
from attestation.keys import PublicKey, SigningKey

IMAGE_TAG = 0x52465749
"""CBOR tag of an image: "RFWI", from the first-come range, unregistered."""
MANIFEST_FORMAT = 1
ENDORSEMENT_FORMAT = 2
"""Member 0 of what a countersigner signs: never that of a manifest, so that neither passes for the other."""
MAX_COUNTERSIGNERS = 15
IMAGE_LIMITS = cbor.Limits(max_bytes=64 * 1024 * 1024, max_depth=4)
ANY_SIGNER = SigningPolicy()
"""One trusted signature is enough."""


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
    needs: Mapping[str, str] = {}
    """Lowest version of another component, or of the `host`, that this one works with; empty: of any."""


NEEDS_KEY = 8
"""Member of the manifest that holds `needs`; absent when it needs nothing, so that such images keep their bytes."""

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


def unmet(needs: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """The first need that these versions (by component, and of the host) do not meet, in words; empty when all are.

    A component whose version nobody told meets nothing.
    """
    for name in sorted(needs):
        if version_key(versions.get(name, "")) < version_key(needs[name]):
            return f"needs {name} {needs[name]}, there is {versions.get(name) or 'none'}"
    return ""


def version_key(version: str) -> tuple[int, ...]:
    """A dotted version by which versions are ordered; what is no number counts as 0, no version comes first."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")) if version else ()


def measurement(payload: bytes) -> bytes:
    """What measured boot records for a firmware payload: its SHA-256."""
    return hashlib.sha256(payload).digest()


class Countersignature(NamedTuple):
    """One authority's approval of a manifest: who, over which manifest (SHA-256), and the signature."""

    signer_id: bytes
    manifest_digest: bytes
    sign1: cose.Sign1


class ParsedImage(NamedTuple):
    """An image taken apart and not judged."""

    manifest: FirmwareManifest
    sign1: cose.Sign1
    countersignatures: tuple[Countersignature, ...]
    payload: bytes


class VerifiedImage(NamedTuple):
    """An image that passed; `signers` are the ids that count under the policy, the vendor's first."""

    manifest: FirmwareManifest
    payload: bytes
    signers: tuple[bytes, ...]


def build(manifest: FirmwareManifest, payload: bytes, key: SigningKey, also: Sequence[SigningKey] = ()) -> bytes:
    """Sign a firmware image; digest, size and signer of the manifest are set from payload and key.

    `also` are the keys of countersigners, in the order in which their signatures shall stand.
    """
    filled = msgspec.structs.replace(
        manifest,
        payload_digest=measurement(payload),
        payload_size=len(payload),
        signer_id=signer_id(key.public),
    )
    signed = cose.sign(_encode_manifest(filled), key)
    image = cbor.encode(cbor.tagged(IMAGE_TAG, [signed, payload]))
    for one in also:
        image = countersign(image, one)
    return image


def countersign(image: bytes, key: SigningKey) -> bytes:
    """The image with one countersignature more.

    Raises:
        Malformed: this is no image, this signer signed it already, or it has as many signatures as an image may have.
    """
    parsed = parse_image(image)
    mine = signer_id(key.public)
    if mine in (parsed.manifest.signer_id, *(each.signer_id for each in parsed.countersignatures)):
        raise Malformed(f"firmware signer {mine.hex()} has signed this image already", label=8)
    parts = cbor.decode(image, IMAGE_LIMITS).value
    statement = {0: ENDORSEMENT_FORMAT, 1: hashlib.sha256(parsed.sign1.payload).digest(), 2: mine}
    added = [*(parts[2] if len(parts) > 2 else ()), cose.sign(cbor.encode_canonical(statement), key)]
    if len(added) > MAX_COUNTERSIGNERS:
        raise Malformed(f"an image has at most {MAX_COUNTERSIGNERS} countersignatures", label=8)
    return cbor.encode(cbor.tagged(IMAGE_TAG, [parts[0], parts[1], added]))


def _encode_manifest(manifest: FirmwareManifest) -> bytes:
    members: dict[int, Any] = {0: MANIFEST_FORMAT}
    members |= {key: getattr(manifest, field) for key, field, _ in _FIELDS}
    if manifest.needs:
        members[NEEDS_KEY] = dict(manifest.needs)
    return cbor.encode_canonical(members)


def read_manifest(image: bytes) -> tuple[FirmwareManifest, cose.Sign1, bytes]:
    """Read manifest, vendor's signature and payload of an image without judging them. Raises Malformed."""
    parsed = parse_image(image)
    return parsed.manifest, parsed.sign1, parsed.payload


def parse_image(image: bytes) -> ParsedImage:
    """Take an image apart without judging it. Raises Malformed."""
    outer = cbor.decode(image, IMAGE_LIMITS)
    if not isinstance(outer, cbor.Tag) or outer.number != IMAGE_TAG:
        raise Malformed("not a firmware image: its tag is missing", offset=0)
    parts = outer.value
    if (
        not isinstance(parts, list)
        or len(parts) not in (2, 3)
        or not all(isinstance(part, bytes) for part in parts[:2])
    ):
        raise Malformed("firmware image is not [signed manifest, payload] with countersignatures or without", offset=5)
    signed, payload, *more = parts
    try:
        sign1 = cose.parse(signed)
        manifest = _decode_manifest(sign1.payload)
    except Refused as refusal:
        raise refusal.located(part="manifest", base=cbor.locate(image, (0,), content=True)) from None
    return ParsedImage(manifest, sign1, _countersignatures(more, manifest), payload)


def _countersignatures(more: list[Any], manifest: FirmwareManifest) -> tuple[Countersignature, ...]:
    """Those of the third part, which is absent or holds at least one."""
    if not more:
        return ()
    if not isinstance(more[0], list) or not 1 <= len(more[0]) <= MAX_COUNTERSIGNERS:
        raise Malformed(f"countersignatures are not a list of 1 to {MAX_COUNTERSIGNERS}", label=8)
    found: list[Countersignature] = []
    for signed in more[0]:
        if not isinstance(signed, bytes):
            raise Malformed("a countersignature is not a byte string", label=8)
        sign1 = cose.parse(signed)
        members = cbor.decode(sign1.payload)
        if not isinstance(members, dict) or members.get(0) != ENDORSEMENT_FORMAT:
            raise Malformed(f"countersigned statement is not of format {ENDORSEMENT_FORMAT}", label=8)
        digest, signer = members.get(1), members.get(2)
        if not isinstance(digest, bytes) or not isinstance(signer, bytes) or len(members) != 3:
            raise Malformed("countersigned statement is not {format, manifest digest, signer}", label=8)
        if cbor.encode_canonical(members) != sign1.payload:
            raise Malformed("countersigned statement is not in its one canonical form", label=8)
        if signer in (manifest.signer_id, *(each.signer_id for each in found)):
            raise Malformed(f"firmware signer {signer.hex()} signed twice", label=8)
        found.append(Countersignature(signer, digest, sign1))
    return tuple(found)


def _decode_manifest(data: bytes) -> FirmwareManifest:
    members = cbor.decode(data)
    if not isinstance(members, dict) or members.get(0) != MANIFEST_FORMAT:
        raise Malformed(f"manifest is not of format {MANIFEST_FORMAT}", label=0)
    fields: dict[str, Any] = {}
    for key, field, kind in _FIELDS:
        if type(members.get(key)) is not kind:
            raise Malformed(f"manifest member {field} is missing or of the wrong type", label=key)
        fields[field] = members[key]
    needs = members.get(NEEDS_KEY, {})
    if not isinstance(needs, dict) or not all(type(word) is str for pair in needs.items() for word in pair):
        raise Malformed("manifest member needs is no map of texts", label=NEEDS_KEY)
    fields["needs"] = needs
    manifest = FirmwareManifest(**fields)
    if min(manifest.security_version, manifest.data_format, manifest.payload_size) < 0:
        raise Malformed("manifest numbers must not be negative")
    if _encode_manifest(manifest) != data:
        raise Malformed("manifest is not in its one canonical form")
    return manifest


def open_image(
    image: bytes, anchors: Mapping[bytes, PublicKey], policy: SigningPolicy = ANY_SIGNER
) -> tuple[FirmwareManifest, bytes]:
    """Verify an image against signers and policy and return manifest and payload; errors as for `verify_image`."""
    verified = verify_image(image, anchors, policy)
    return verified.manifest, verified.payload


def verify_image(image: bytes, anchors: Mapping[bytes, PublicKey], policy: SigningPolicy = ANY_SIGNER) -> VerifiedImage:
    """Verify an image against signers (by signer id) and policy: the one check of EL3 and of the control plane.

    A countersigner that `anchors` does not know counts for nothing and harms nothing.

    Raises:
        Malformed: framing, truncation, trailing bytes, a signer who signs twice.
        Untrusted: (unknown-key) the vendor is not known; (signature) the vendor's or a known countersigner's signature
            is wrong; (binding) payload or countersignature belong to something else; (policy) revoked, or endorsed by
            too few.
    """
    manifest, sign1, countersignatures, payload = parse_image(image)
    _verify_signature(sign1, manifest.signer_id, anchors)
    same_size = len(payload) == manifest.payload_size
    if not same_size or not hmac.compare_digest(measurement(payload), manifest.payload_digest):
        raise Untrusted(
            "firmware payload is not the one that was signed", reason=RefusalReason.BINDING, label=5, part="payload"
        )
    signers = [manifest.signer_id]
    approved = hashlib.sha256(sign1.payload).digest()
    for each in countersignatures:
        if each.signer_id not in anchors:
            continue
        if each.manifest_digest != approved:
            raise Untrusted(
                f"countersigner {each.signer_id.hex()} approved another image", reason=RefusalReason.BINDING, label=8
            )
        _verify_signature(each.sign1, each.signer_id, anchors)
        signers.append(each.signer_id)
    return VerifiedImage(manifest, payload, judge(policy, manifest.component, manifest.version, signers))


def _verify_signature(sign1: cose.Sign1, signer: bytes, anchors: Mapping[bytes, PublicKey]) -> None:
    key = anchors.get(signer)
    if key is None:
        raise Untrusted(f"firmware signer {signer.hex()} is not trusted", reason=RefusalReason.UNKNOWN_KEY, label=7)
    if signer_id(key) != signer:
        raise Untrusted("trusted key does not have the signer id it is filed under", reason=RefusalReason.UNKNOWN_KEY)
    try:
        sign1.verify(key)
    except Refused as refusal:
        raise refusal.located(part="manifest") from None
