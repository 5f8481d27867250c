"""Firmware of several authorities: m of n, named signers, revocation; a signature of something else is none."""

from __future__ import annotations

import cbor2
import pytest

from attestation import firmware
from attestation.errors import Malformed, RefusalReason, Refused
from attestation.firmware import FirmwareManifest, build, countersign, parse_image, signer_id, verify_image
from attestation.firmware_policy import Endorsing, SigningPolicy
from attestation.keys import SigningKey, derive_key

VENDOR, AUDITOR, OWNER, STRANGER = (derive_key(name, "firmware") for name in (b"vendor", b"auditor", b"owner", b"who"))
ANCHORS = {signer_id(key.public): key.public for key in (VENDOR, AUDITOR, OWNER)}
MANIFEST = FirmwareManifest(component="RMM", version="1.0.1", security_version=2)
PAYLOAD = bytes(range(256)) * 8
TWO_OF_THREE = SigningPolicy(general=Endorsing(threshold=2))


def made(*also: SigningKey) -> bytes:
    return build(MANIFEST, PAYLOAD, VENDOR, also)


def refused(image: bytes, policy: SigningPolicy) -> Refused:
    with pytest.raises(Refused) as caught:
        verify_image(image, ANCHORS, policy)
    return caught.value


def ids(*keys: SigningKey) -> tuple[bytes, ...]:
    return tuple(signer_id(key.public) for key in keys)


def test_the_vendor_alone_is_one_of_two_and_any_countersigner_makes_it_two() -> None:
    assert refused(made(), TWO_OF_THREE).reason is RefusalReason.POLICY
    assert verify_image(made(AUDITOR), ANCHORS, TWO_OF_THREE).signers == ids(VENDOR, AUDITOR)
    assert verify_image(made(OWNER), ANCHORS, TWO_OF_THREE).signers == ids(VENDOR, OWNER)


def test_an_unknown_countersigner_counts_for_nothing_and_harms_nothing() -> None:
    image = made(STRANGER)
    assert verify_image(image, ANCHORS).signers == ids(VENDOR)
    assert refused(image, TWO_OF_THREE).reason is RefusalReason.POLICY


def test_a_required_signer_is_not_replaced_by_others() -> None:
    policy = SigningPolicy(general=Endorsing(required=ids(AUDITOR), threshold=2))
    assert refused(made(OWNER), policy).reason is RefusalReason.POLICY
    assert verify_image(made(OWNER, AUDITOR), ANCHORS, policy).signers == ids(VENDOR, OWNER, AUDITOR)


def test_a_component_may_ask_for_more_than_the_rest() -> None:
    policy = SigningPolicy(components={"RMM": Endorsing(threshold=3)})
    assert refused(made(AUDITOR), policy).reason is RefusalReason.POLICY
    other = build(FirmwareManifest(component="BL31", version="1.0.0", security_version=1), PAYLOAD, VENDOR)
    assert verify_image(other, ANCHORS, policy).signers == ids(VENDOR)


def test_a_revoked_countersigner_no_longer_counts() -> None:
    policy = SigningPolicy(general=Endorsing(threshold=2), revoked_signers=ids(AUDITOR))
    assert refused(made(AUDITOR), policy).reason is RefusalReason.POLICY
    assert verify_image(made(AUDITOR, OWNER), ANCHORS, policy).signers == ids(VENDOR, OWNER)


def test_a_revoked_vendor_is_refused_whoever_else_signed() -> None:
    policy = SigningPolicy(revoked_signers=ids(VENDOR))
    assert "is revoked" in str(refused(made(AUDITOR, OWNER), policy))


def test_a_revoked_version_is_refused_and_its_neighbour_is_not() -> None:
    assert "RMM 1.0.1 is revoked" in str(refused(made(), SigningPolicy(revoked_versions=(("RMM", "1.0.1"),))))
    verify_image(made(), ANCHORS, SigningPolicy(revoked_versions=(("RMM", "1.0.0"), ("BL31", "1.0.1"))))


def test_a_countersignature_of_another_image_is_no_countersignature() -> None:
    other = build(FirmwareManifest(component="RMM", version="1.0.2", security_version=2), PAYLOAD, VENDOR, [AUDITOR])
    stolen = cbor2.loads(other).value[2]
    signed, payload = cbor2.loads(made()).value
    image = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [signed, payload, stolen]))
    assert refused(image, TWO_OF_THREE).reason is RefusalReason.BINDING


def test_a_broken_countersignature_of_a_known_signer_is_refused() -> None:
    image = made(AUDITOR)
    assert refused(image[:-1] + bytes([image[-1] ^ 1]), SigningPolicy()).reason is RefusalReason.SIGNATURE


def test_nobody_signs_twice() -> None:
    for key in (VENDOR, AUDITOR):
        with pytest.raises(Malformed):
            countersign(made(AUDITOR), key)
    signed, payload, more = cbor2.loads(made(AUDITOR)).value
    twice = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [signed, payload, more * 2]))
    assert refused(twice, TWO_OF_THREE).reason is RefusalReason.MALFORMED


def test_an_image_without_countersigners_has_the_bytes_that_it_had_before_there_were_any() -> None:
    outer = cbor2.loads(made())
    assert len(outer.value) == 2
    assert parse_image(made()).countersignatures == ()


def test_an_empty_list_of_countersignatures_is_not_the_one_form_of_none() -> None:
    signed, payload = cbor2.loads(made()).value
    image = cbor2.dumps(cbor2.CBORTag(firmware.IMAGE_TAG, [signed, payload, []]))
    assert refused(image, SigningPolicy()).reason is RefusalReason.MALFORMED


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_a_truncated_image_is_malformed(cut: int) -> None:
    with pytest.raises(Malformed):
        parse_image(made(AUDITOR)[:-cut])


def test_more_countersignatures_than_an_image_may_have_are_refused() -> None:
    image = made(*(derive_key(b"%d" % number, "firmware") for number in range(firmware.MAX_COUNTERSIGNERS)))
    with pytest.raises(Malformed):
        countersign(image, AUDITOR)
