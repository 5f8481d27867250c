"""The platform token, read by our verifier and by pycose, which knows nothing of it."""

from __future__ import annotations

import hashlib

import cbor2
import pytest
from pycose.keys import EC2Key
from pycose.keys.curves import P384
from pycose.messages import Sign1Message

from attestation.errors import Refused
from attestation.keys import SigningKey
from attestation.stores import TrustAnchor, TrustAnchors
from attestation.token import decode_platform_token
from attestation.verify import verify_platform
from cca_machine.monitor.platform_token import platform_identity


def anchors(rig) -> TrustAnchors:
    identity = platform_identity(rig.spec.seed)
    return TrustAnchors([TrustAnchor(identity.instance_id, rig.spec.implementation_id, identity.cpak.public)])


def claims(rig):
    return decode_platform_token(rig.services.platform_token()).claims


def test_the_token_verifies_under_the_key_of_the_machine(rig):
    verified = verify_platform(rig.services.platform_token(), anchors(rig))
    assert verified.claims.instance_id == platform_identity(rig.spec.seed).instance_id


def test_the_token_of_another_machine_does_not_verify_here(rig, make_rig):
    other = make_rig(seed=bytes(32))
    with pytest.raises(Refused):
        verify_platform(other.services.platform_token(), anchors(rig))


def test_pycose_reads_and_verifies_the_token(rig):
    x, y = platform_identity(rig.spec.seed).cpak.public.coordinates()
    message = Sign1Message.decode(rig.services.platform_token())
    message.key = EC2Key(crv=P384, x=x, y=y)
    assert message.verify_signature()
    assert cbor2.loads(message.payload)[265] == "tag:arm.com,2023:cca_platform#1.0.0"


def test_the_claims_are_those_of_the_spec_and_of_the_firmware(rig, spec):
    payload = cbor2.loads(cbor2.loads(rig.services.platform_token()).value[2])
    assert payload[2396] == spec.implementation_id
    assert payload[2395] == 0x3003
    assert payload[2402] == "sha-256"
    (signer,) = {component[5] for component in payload[2399]}
    assert signer in spec.anchors
    assert [(component[1], component[2], component[4], component[6]) for component in payload[2399]] == [
        (name, hashlib.sha256(f"{name} 1.0.0".encode()).digest(), "1.0.0", "sha-256")
        for name in ("HES", "BL2", "BL31", "RMM", "SP1")
    ]


def test_the_instance_id_is_33_bytes_of_type_rand_and_stays_over_boots(rig):
    first = claims(rig).instance_id
    rig.reset()
    assert (len(first), first[0]) == (33, 1)
    assert claims(rig).instance_id == first


def challenge_matches_the_key(rig) -> bool:
    rak = SigningKey.from_private_bytes(rig.services.realm_key())
    return claims(rig).challenge == hashlib.sha256(rak.public.cose_key()).digest()


def test_the_challenge_is_the_hash_of_the_rak_after_boot_reset_and_every_activation(rig, image):
    assert challenge_matches_the_key(rig)
    rig.reset()
    assert challenge_matches_the_key(rig)
    for component in ("RMM", "BL31"):
        rig.primed(component, image(component, "1.1.0"))
        rig.activate(component)
        assert challenge_matches_the_key(rig)


def test_the_rak_is_a_p384_scalar_of_48_bytes(rig):
    assert len(rig.services.realm_key()) == 48


def test_another_seed_boot_or_firmware_has_another_rak(rig, make_rig, spec, image):
    keys = [rig.services.realm_key(), make_rig(seed=bytes(32)).services.realm_key()]
    keys.append(make_rig(firmware={**spec.firmware, "BL2": image("BL2", "1.1.0")}).services.realm_key())
    rig.reset()
    keys.append(rig.services.realm_key())
    assert len(set(keys)) == 4


def test_the_lifecycle_comes_from_the_spec(make_rig):
    assert claims(make_rig(lifecycle=0x4000)).lifecycle == 0x4000


def test_after_an_activation_the_token_names_the_new_image_and_its_signer(rig, image, spec):
    before = {component.measurement_type: component for component in claims(rig).sw_components}
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.activate("RMM")
    verified = verify_platform(rig.services.platform_token(), anchors(rig))
    after = {component.measurement_type: component for component in verified.claims.sw_components}
    assert after["RMM"].measurement_value == hashlib.sha256(b"RMM 1.1.0").digest()
    assert (after["RMM"].version, after["RMM"].signer_id in spec.anchors) == ("1.1.0", True)
    assert {name: one for name, one in after.items() if name != "RMM"} == {
        name: one for name, one in before.items() if name != "RMM"
    }
