"""CoRIM: every recorded file gets its verdict in the words of the library; what we write reads back."""

from __future__ import annotations

from pathlib import Path

import cbor2
import pytest
from pycose.keys import EC2Key
from pycose.keys.curves import P384
from pycose.messages import CoseMessage

from attestation import corim, corim_write
from attestation.corim import CorimProfile
from attestation.errors import Refused
from attestation.keys import derive_key
from attestation.stores import ReferenceValues, TrustAnchors

REFUSALS = {
    "platform-bad-no-class": "environment.class is required",
    "platform-bad-ta-no-instance": "environment.instance (instance-id) is required",
    "platform-bad-ta-instance": "instance-id must be of type 'ueid', got 'bytes'",
    "platform-bad-ta-cert": "verification-key must be of type 'pkix-base64-key', got 'pkix-base64-cert'",
    "platform-bad-refval-instance": "profile",
    "platform-bad-refval-no-mkey": "mkey is mandatory but not set",
    "platform-bad-refval-mkey": "mkey must be of type 'string', got 'uint'",
    "platform-bad-refval-mkey-string": 'invalid mkey "cca.bad-component"',
    "platform-bad-refval-cryptokeys": "cryptokeys (signer-id) must be of type 'bytes'",
    "platform-bad-refval-no-digests": "digests field is mandatory but not set",
    "platform-bad-refval-no-raw-value": "raw-value is mandatory for cca.platform-config",
    "realm-bad-no-integ-regs": "digests field is mandatory but not set",
    "realm-bad-instance": "RIM must be of type 'bytes', got 'uuid'",
    "realm-bad-no-instance": "environment.class is required for CCA Realm profile",
    "realm-bad-no-rim": "RIM (cca.rim) measurement is mandatory but not found",
    "realm-bad-no-raw-value": "raw-value is mandatory for cca.rpv",
}


def test_every_recorded_corim_gets_its_verdict(vectors: Path) -> None:
    folder = vectors / "attestation/corim"
    paths = sorted([*(folder / "services").glob("*.cbor"), *(folder / "profile").glob("*.cbor")])
    for path in paths:
        if path.stem.endswith("-valid") or path.stem == "no-profile":
            read = corim.read(path.read_bytes())
            assert bool(read.anchors or read.platform or read.realm) is (path.stem != "no-profile")
            continue
        with pytest.raises(Refused) as refused:
            corim.read(path.read_bytes())
        assert REFUSALS.get(path.stem.removeprefix("corim-cca-"), "") in refused.value.message, path.name
    assert set(REFUSALS) <= {path.stem.removeprefix("corim-cca-") for path in paths}
    print(f"{len(paths)} CoRIM files")


def test_a_valid_platform_file_holds_what_its_source_says(vectors: Path) -> None:
    read = corim.read((vectors / "attestation/corim/services/corim-cca-platform-valid.cbor").read_bytes())
    assert read.profile is CorimProfile.PLATFORM
    assert [component.name for component in read.platform[0].components] == ["BL", "M1", "M2", "M3"]
    assert read.platform[0].config == bytes([1, 2, 3])
    assert read.anchors[0].instance_id == b"\x01" + bytes([2]) * 32


def test_written_corims_read_back(references: ReferenceValues, anchors: TrustAnchors) -> None:
    platform, realm = references.records()
    data = corim_write.write_platform("fleet", bytes(16), platform, anchors)
    read = corim.read(data)
    assert read.anchors == tuple(anchors)
    assert [c.measurement_value for c in read.platform[0].components] == [
        c.measurement_value for c in platform[0].components
    ]
    assert read.platform[0].config == platform[0].config
    back = corim.read(corim_write.write_realm("fleet", bytes(16), realm)).realm[0]
    assert back.initial_measurement == back.class_id == realm[0].initial_measurement
    assert back.extensible_measurements == realm[0].extensible_measurements


def test_a_recorded_file_survives_read_and_write(vectors: Path) -> None:
    for name in ("platform", "realm"):
        original = (vectors / f"attestation/corim/services/corim-cca-{name}-valid.cbor").read_bytes()
        read = corim.read(original)
        if name == "platform":
            written = corim_write.write_platform(read.id, bytes(16), read.platform, read.anchors)
        else:
            written = corim_write.write_realm(read.id, bytes(16), read.realm)
        again = corim.read(written)
        assert (again.platform, again.realm, again.anchors) == (read.platform, read.realm, read.anchors)


def test_a_signed_corim_verifies_here_and_under_pycose(references: ReferenceValues) -> None:
    key = derive_key(b"vendor", "endorser")
    unsigned = corim_write.write_realm("fleet", bytes(16), references.records()[1])
    signed = corim_write.sign(unsigned, key, key_id=b"endorser")
    assert corim.read_signed(signed, key.public) == corim.read(unsigned)
    message = CoseMessage.decode(signed)
    x, y = key.public.coordinates()
    message.key = EC2Key(crv=P384, x=x, y=y)
    assert message.verify_signature()
    with pytest.raises(Refused):
        corim.read_signed(signed, derive_key(b"stranger", "endorser").public)
    with pytest.raises(Refused):
        corim.read_signed(signed.replace(b"rim+cbor", b"rim+json"), key.public)


def _changed(data: bytes, change: dict[int, object]) -> bytes:
    outer = cbor2.loads(data)
    return cbor2.dumps(cbor2.CBORTag(501, outer.value | change))


def test_a_foreign_profile_or_no_corim_is_refused(references: ReferenceValues) -> None:
    data = corim_write.write_realm("fleet", bytes(16), references.records()[1])
    for bad in (
        b"", b"\xa0", cbor2.dumps(cbor2.CBORTag(502, {})), _changed(data, {3: cbor2.CBORTag(32, "urn:other")}),
        _changed(data, {3: "tag:arm.com,2025:cca_realm#1.0.0"}), _changed(data, {1: []}), data + b"\0",
        _changed(data, {1: [cbor2.CBORTag(506, b"\xff")]}), _changed(data, {1: [cbor2.CBORTag(506, b"\xa0")]}),
    ):  # fmt: skip
        with pytest.raises(Refused):
            corim.read(bad)
