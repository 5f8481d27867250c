"""Whole tokens: the bytes of both collection forms, recomputed without our encoder."""

from __future__ import annotations

import hashlib

import cbor2
import msgspec
import pytest
from ecdsa import NIST384p
from ecdsa import SigningKey as PureKey
from pycose.keys import EC2Key
from pycose.keys.curves import P384
from pycose.messages import CoseMessage

from attestation import token as tokens
from attestation.claims import PlatformClaims, RealmClaims
from attestation.errors import RefusalReason, Refused
from attestation.keys import SigningKey
from attestation.token import Wrapper, create, decode, encode_collection


def _sign(key: SigningKey, payload: bytes) -> bytes:
    protected = bytes.fromhex("a1013822")
    structure = cbor2.dumps(["Signature1", protected, b"", payload])
    pure = PureKey.from_string(key.private_bytes(), NIST384p)
    signature = pure.sign_deterministic(structure, hashfunc=hashlib.sha384)
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def test_a_token_equals_its_independent_construction(
    token: bytes, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey
) -> None:
    x, y = rak.public.coordinates()
    cose_key = cbor2.dumps({1: 2, -1: 2, -2: x, -3: y})
    platform = cbor2.dumps(
        {
            265: "tag:arm.com,2023:cca_platform#1.0.0",
            10: hashlib.sha256(cose_key).digest(),
            2396: platform_claims.implementation_id,
            256: platform_claims.instance_id,
            2401: platform_claims.config,
            2395: 0x3003,
            2402: "sha-256",
            2400: "https://verifier.example/",
            2399: [
                {1: c.measurement_type, 5: c.signer_id, 4: c.version, 2: c.measurement_value, 6: "sha-256"}
                for c in platform_claims.sw_components
            ],
        }
    )
    realm = cbor2.dumps(
        {
            10: realm_claims.challenge,
            44235: realm_claims.personalization_value,
            44237: cose_key,
            44236: "sha-256",
            44240: "sha-256",
            265: "tag:arm.com,2023:realm#1.0.0",
            44238: realm_claims.initial_measurement,
            44239: list(realm_claims.extensible_measurements),
        }
    )
    expected = cbor2.CBORTag(399, {44234: _sign(cpak, platform), 44241: _sign(rak, realm)})
    assert token == cbor2.dumps(expected)
    assert token.startswith(bytes.fromhex("d9018fa219acca59"))


def test_pycose_verifies_both_parts_of_a_token(token: bytes, cpak: SigningKey, rak: SigningKey) -> None:
    parts = cbor2.loads(token).value
    for label, key in ((44234, cpak), (44241, rak)):
        message = CoseMessage.decode(parts[label])
        x, y = key.public.coordinates()
        message.key = EC2Key(crv=P384, x=x, y=y)
        assert message.verify_signature()


def test_the_cmw_form_wraps_each_token_with_its_content_format(token: bytes) -> None:
    evidence = decode(token)
    wrapped = encode_collection(evidence.platform.token, evidence.realm.token, Wrapper.CMW_907)
    assert wrapped.startswith(bytes.fromhex("d9038ba219acca82190107"))
    again = decode(wrapped)
    assert again.wrapper is Wrapper.CMW_907
    assert (again.platform, again.realm) == (evidence.platform, evidence.realm)


def test_decoding_keeps_the_original_bytes(token: bytes) -> None:
    evidence = decode(token)
    assert evidence.token == token
    assert evidence.platform.token in token
    assert evidence.realm.sign1 is not None
    assert evidence.realm.sign1.payload in token


def test_mixed_and_foreign_collections_are_refused(token: bytes) -> None:
    parts = cbor2.loads(token).value
    platform, realm = parts[44234], parts[44241]
    wrapped = {label: [263, part] for label, part in parts.items()}
    bad = {
        "399 with arrays": (399, wrapped),
        "907 with bare bytes": (907, parts),
        "907 with another format": (907, {44234: [262, platform], 44241: [263, realm]}),
        "907 with three members": (907, {44234: [263, platform, 1], 44241: [263, realm]}),
        "399 with a third entry": (399, {**parts, 7: b""}),
        "no realm": (399, {44234: platform}),
        "no platform": (907, {44241: [263, realm]}),
        "an array": (399, [platform, realm]),
        "another tag": (398, parts),
        "swapped": (399, {44234: realm, 44241: platform}),
    }
    for name, (tag, body) in bad.items():
        with pytest.raises(Refused) as refused:
            decode(cbor2.dumps(cbor2.CBORTag(tag, body)))
        assert refused.value.reason in (RefusalReason.MALFORMED, RefusalReason.CLAIMS, RefusalReason.PROFILE), name
    with pytest.raises(Refused):
        decode(platform)
    with pytest.raises(Refused):
        decode(b"")


def test_further_entries_of_a_cmw_collection_are_ignored_and_reported(token: bytes) -> None:
    parts = {label: [263, part] for label, part in cbor2.loads(token).value.items()}
    evidence = decode(cbor2.dumps(cbor2.CBORTag(907, {**parts, 44300: [60, b"activity list"]})))
    assert evidence.ignored == ("collection entry 44300",)


def test_offsets_point_into_the_whole_token(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey, token: bytes
) -> None:
    at = token.index(bytes.fromhex("19095b193003"))
    broken = token[: at + 4] + b"\x31" + token[at + 5 :]
    for wrapper in Wrapper:
        parts = cbor2.loads(broken).value
        data = encode_collection(parts[44234], parts[44241], wrapper)
        with pytest.raises(Refused) as refused:
            decode(data)
        assert refused.value.label == 2395
        assert data[refused.value.offset or 0 :][:3] == bytes.fromhex("193103")
    shorter = msgspec.structs.replace(realm_claims, extensible_measurements=(bytes(32),) * 3)
    with pytest.raises(Refused) as refused:
        create(platform_claims, shorter, cpak, rak)
    assert refused.value.label == 44239


def test_a_nonce_is_padded_on_the_right() -> None:
    for size in (8, 32, 48, 63, 64):
        assert tokens.pad_nonce(b"\xaa" * size) == b"\xaa" * size + bytes(64 - size)
    with pytest.raises(ValueError, match="more than 64"):
        tokens.pad_nonce(bytes(65))
