"""Firmware images: what is signed comes out again, everything else is refused."""

from __future__ import annotations

import hashlib

import cbor2
import pytest

from attestation import cbor, cose, firmware
from attestation.errors import RefusalReason, Refused
from attestation.firmware import FirmwareManifest, build, measurement, open_image, signer_id
from attestation.keys import Curve, derive_key

KEY = derive_key(b"vendor", "firmware")
ANCHORS = {signer_id(KEY.public): KEY.public}
MANIFEST = FirmwareManifest(component="RMM", version="0.6.1", security_version=3, data_format=2)
PAYLOAD = bytes(range(256)) * 33


def _refused(image: bytes) -> RefusalReason:
    with pytest.raises(Refused) as refused:
        open_image(image, ANCHORS)
    return refused.value.reason


@pytest.mark.parametrize("curve", list(Curve))
def test_an_image_opens_to_what_was_signed(curve: Curve) -> None:
    key = derive_key(b"vendor", "firmware", curve)
    image = build(MANIFEST, PAYLOAD, key)
    manifest, payload = open_image(image, {signer_id(key.public): key.public})
    assert payload == PAYLOAD
    assert (manifest.component, manifest.version, manifest.security_version) == ("RMM", "0.6.1", 3)
    assert manifest.payload_digest == hashlib.sha256(PAYLOAD).digest() == measurement(PAYLOAD)
    assert manifest.signer_id == hashlib.sha256(key.public.cose_key()).digest()
    assert build(MANIFEST, PAYLOAD, key) == image


def test_an_unknown_signer_is_refused() -> None:
    image = build(MANIFEST, PAYLOAD, derive_key(b"stranger", "firmware"))
    assert _refused(image) is RefusalReason.UNKNOWN_KEY


def test_a_stranger_who_names_a_trusted_signer_is_refused() -> None:
    outer = cbor2.loads(build(MANIFEST, PAYLOAD, KEY))
    stolen = cose.parse(outer.value[0]).payload
    forged = cose.sign(stolen, derive_key(b"stranger", "firmware"))
    image = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [forged, PAYLOAD]))
    assert _refused(image) is RefusalReason.SIGNATURE


def test_a_key_filed_under_the_wrong_signer_id_is_refused() -> None:
    image = build(MANIFEST, PAYLOAD, KEY)
    with pytest.raises(Refused) as refused:
        open_image(image, {signer_id(KEY.public): derive_key(b"other", "firmware").public})
    assert refused.value.reason is RefusalReason.UNKNOWN_KEY


def test_another_payload_under_a_good_manifest_is_refused() -> None:
    outer = cbor2.loads(build(MANIFEST, PAYLOAD, KEY))
    for payload in (PAYLOAD[:-1], PAYLOAD + b"\0", PAYLOAD[:-1] + b"\0", b""):
        image = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [outer.value[0], payload]))
        assert _refused(image) is RefusalReason.BINDING


def test_an_unsigned_image_is_refused() -> None:
    outer = cbor2.loads(build(MANIFEST, PAYLOAD, KEY))
    bare = cose.parse(outer.value[0]).payload
    for body in ([bare, PAYLOAD], [PAYLOAD], PAYLOAD):
        assert _refused(cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, body))) is RefusalReason.MALFORMED
    assert _refused(PAYLOAD) is RefusalReason.MALFORMED
    assert _refused(b"") is RefusalReason.MALFORMED


def test_truncation_and_trailing_bytes_are_refused() -> None:
    image = build(MANIFEST, PAYLOAD, KEY)
    for size in (0, 1, 5, 100, len(image) - 1):
        assert _refused(image[:size]) is RefusalReason.MALFORMED
    assert _refused(image + b"\0") is RefusalReason.MALFORMED


def test_any_flipped_bit_of_the_signed_part_is_refused() -> None:
    image = build(MANIFEST, b"tiny", KEY)
    for at in range(len(image)):
        with pytest.raises(Refused):
            open_image(image[:at] + bytes([image[at] ^ 0x04]) + image[at + 1 :], ANCHORS)


def test_a_manifest_in_another_encoding_is_refused_even_when_signed() -> None:
    outer = cbor2.loads(build(MANIFEST, PAYLOAD, KEY))
    members = cbor.decode(cose.parse(outer.value[0]).payload)
    reordered = cbor2.dumps(dict(reversed(members.items())))
    extended = cbor2.dumps({**members, 99: 1}, canonical=True)
    for payload in (reordered, extended):
        image = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [cose.sign(payload, KEY), PAYLOAD]))
        assert _refused(image) is RefusalReason.MALFORMED
