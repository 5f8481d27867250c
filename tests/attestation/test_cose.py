"""COSE_Sign1: an independent library reads and verifies ours, and ours reads only what is strictly one."""

from __future__ import annotations

import hashlib

import cbor2
import pytest
from ecdsa import NIST256p, NIST384p, NIST521p
from ecdsa import SigningKey as PureKey
from pycose.keys import EC2Key
from pycose.keys import curves as pycose_curves
from pycose.messages import CoseMessage

from attestation import cose
from attestation.errors import RefusalReason, Refused
from attestation.keys import FACTS, Curve, SigningKey, derive_key

PYCOSE_CURVES = {Curve.P256: pycose_curves.P256, Curve.P384: pycose_curves.P384, Curve.P521: pycose_curves.P521}
PURE_CURVES = {Curve.P256: NIST256p, Curve.P384: NIST384p, Curve.P521: NIST521p}
HEADERS = {Curve.P256: "a10126", Curve.P384: "a1013822", Curve.P521: "a1013823"}


@pytest.mark.parametrize("curve", list(Curve))
def test_pycose_decodes_and_verifies_what_we_sign(curve: Curve) -> None:
    key = derive_key(b"seed", "signer", curve)
    message = CoseMessage.decode(cose.sign(b"payload", key))
    x, y = key.public.coordinates()
    message.key = EC2Key(crv=PYCOSE_CURVES[curve], x=x, y=y)
    assert message.payload == b"payload"
    assert message.verify_signature()


@pytest.mark.parametrize("curve", list(Curve))
def test_signed_bytes_equal_an_independent_computation(curve: Curve) -> None:
    key = derive_key(b"seed", "signer", curve)
    pure = PureKey.from_string(key.private_bytes(), PURE_CURVES[curve])
    protected = bytes.fromhex(HEADERS[curve])
    structure = cbor2.dumps(["Signature1", protected, b"", b"payload"])
    hash_name = FACTS[curve].hash.name
    signature = pure.sign_deterministic(structure, hashfunc=getattr(hashlib, hash_name))
    expected = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, b"payload", signature]))
    assert cose.sign(b"payload", key) == expected


def _forge(
    key: SigningKey, protected: object, unprotected: object = None, payload: object = b"payload", tag: int = 18
) -> bytes:
    header = protected if isinstance(protected, bytes) else cbor2.dumps(protected)
    signature = key.sign(cose.to_be_signed(header, payload if isinstance(payload, bytes) else b""))
    return cbor2.dumps(cbor2.CBORTag(tag, [header, {} if unprotected is None else unprotected, payload, signature]))


def test_what_is_not_strictly_a_sign1_is_refused() -> None:
    key = derive_key(b"seed", "signer")
    good = cose.sign(b"payload", key)
    cases = {
        "no tag": good[1:],
        "other tag": _forge(key, {1: -35}, tag=17),
        "alg unprotected": _forge(key, {}, {1: -35}),
        "empty protected header": _forge(key, b"", {1: -35}),
        "alg in both": _forge(key, {1: -35}, {1: -35}),
        "alg missing": _forge(key, {4: b"kid"}),
        "alg unknown": _forge(key, {1: -8}),
        "alg as text": _forge(key, {1: "ES384"}),
        "critical header": _forge(key, {1: -35, 2: [4], 4: b"kid"}),
        "nil payload": _forge(key, {1: -35}, payload=None),
        "payload as text": _forge(key, {1: -35}, payload="payload"),
        "unprotected is no map": _forge(key, {1: -35}, []),
        "header is no map": _forge(key, [1, -35]),
        "duplicate alg": _forge(key, bytes.fromhex("a20138220126")),
        "three elements": cbor2.dumps(cbor2.CBORTag(18, [b"\xa1\x01\x38\x22", {}, b"payload"])),
        "trailing byte": good + b"\0",
        "indefinite array": b"\xd2\x9f" + good[2:] + b"\xff",
    }
    for name, data in cases.items():
        with pytest.raises(Refused) as refused:
            cose.parse(data)
        assert refused.value.reason is RefusalReason.MALFORMED, name


def test_further_headers_are_allowed_and_still_signed() -> None:
    key = derive_key(b"seed", "signer")
    parsed = cose.parse(_forge(key, {1: -35, 4: b"kid"}, {33: b"certificate"}))
    parsed.verify(key.public)
    assert parsed.headers[4] == b"kid"


def test_alg_must_fit_the_key() -> None:
    key = derive_key(b"seed", "signer", Curve.P384)
    parsed = cose.parse(_forge(key, {1: -7}))
    with pytest.raises(Refused, match="does not fit") as refused:
        parsed.verify(key.public)
    assert refused.value.reason is RefusalReason.SIGNATURE
