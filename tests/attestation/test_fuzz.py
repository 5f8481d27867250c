"""Hostile bytes: nothing but Refused escapes, and nothing changed is accepted. The budget is fixed."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestation import claims, corim, corim_write, cose, ear, eventlog, firmware, jws
from attestation.container import oci
from attestation.container.encryption import decrypt_layer, encrypt_layer
from attestation.container.init_data import read_init_data
from attestation.container.signature import keys_for
from attestation.ear_results import Issuer
from attestation.errors import Refused
from attestation.kbs import jwe, messages, service
from attestation.keys import Curve, PublicKey, SigningKey, derive_key
from attestation.stores import ReferenceValues, TrustAnchors, read_anchor_store, read_reference_store
from attestation.token import decode
from attestation.trust import Tier
from attestation.verify import verify

NONCE = bytes(range(64))
BUDGET = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SMALL = settings(BUDGET, max_examples=150)

NOBODY, NOTHING = TrustAnchors(), ReferenceValues()
ISSUER = Issuer(derive_key(b"fuzz", "results", Curve.P256))

READERS: dict[str, Callable[[bytes], object]] = {
    "token": decode,
    "platform claims": claims.decode_platform,
    "realm claims": claims.decode_realm,
    "sign1": cose.parse,
    "corim": corim.read,
    "firmware image": firmware.read_manifest,
    "COSE_Key": PublicKey.from_cose_key,
    "raw key": PublicKey.from_raw,
    "PEM": PublicKey.from_pem,
    "anchors": read_anchor_store,
    "references": read_reference_store,
    "KBS request": messages.check_request,
    "KBS challenge": messages.read_challenge,
    "KBS attestation": messages.Attestation,
    "EAR claims in CBOR": ear.read_cbor_claims,
    "JWS": jws.parse,
    "event log": eventlog.read,
    "attestation request": lambda data: service.evaluate(data, NOBODY, NOTHING, ISSUER, now_ns=0),
    "OCI manifest": oci.read_manifest,
    "OCI configuration": oci.read_diff_ids,
    "layer": oci.unpack_layer,
    "init-data": lambda data: read_init_data(data, hashlib.sha512(data).digest()),
    "image policy": lambda data: keys_for(data.decode("utf-8", "replace"), "registry.example/a/b:c"),
    "JWE": lambda data: jwe.unseal(data, derive_key(b"guest", "tee", Curve.P256)),
}


def _refusal(reader: Callable[[bytes], object], data: bytes) -> Refused | None:
    try:
        reader(data)
    except Refused as refused:
        return refused
    return None


def _quiet(reader: Callable[[bytes], object], data: bytes) -> None:
    refused = _refusal(reader, data)
    if refused is not None:
        assert str(refused)
        assert refused.reason
        assert refused.offset is None or 0 <= refused.offset <= len(data)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=200))
@BUDGET
def test_raw_bytes_raise_nothing_but_refused(name: str, data: bytes) -> None:
    _quiet(READERS[name], data)


LEAVES = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=70)
ANY = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([0, 1, 2, 3, 4, 10, 256, 265, 2399, 44234, 44241]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.sampled_from([18, 399, 907, 501, firmware.IMAGE_TAG]), ANY)
@BUDGET
def test_well_formed_cbor_of_any_shape_raises_nothing_but_refused(tag: int, body: Any) -> None:
    data = cbor2.dumps(cbor2.CBORTag(tag, body))
    for name in ("token", "sign1", "corim", "firmware image"):
        _quiet(READERS[name], data)


@given(st.dictionaries(st.sampled_from([10, 256, 265, 2394, 2395, 2396, 2399, 2400, 2401, 2402, 44237, 44239]), ANY))
@SMALL
def test_claims_of_any_shape_raise_nothing_but_refused(values: dict[int, Any]) -> None:
    for profile in (*claims.PlatformProfile, *claims.RealmProfile):
        data = cbor2.dumps({265: str(profile)} | values if profile else values)
        _quiet(claims.decode_platform, data)
        _quiet(claims.decode_realm, data)


def _mutations(size: int) -> st.SearchStrategy[tuple[str, int, int, int]]:
    at = st.integers(0, size - 1)
    return st.tuples(st.sampled_from(["flip", "set", "cut", "insert", "repeat"]), at, at, st.integers(0, 255))


def _mutate(data: bytes, mutation: tuple[str, int, int, int]) -> bytes:
    kind, at, other, value = mutation
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << value % 8)]) + data[at + 1 :]
        case "set":
            return data[:at] + bytes([value]) + data[at + 1 :]
        case "cut":
            return data[: min(at, other)] + data[max(at, other) :]
        case "insert":
            return data[:at] + bytes([value]) + data[at:]
        case _:
            return data[:at] + data[min(at, other) :]


@given(st.data())
@BUDGET
def test_a_changed_token_is_never_accepted(token: bytes, anchors: TrustAnchors, data: st.DataObject) -> None:
    changed = token
    for mutation in data.draw(st.lists(_mutations(len(token)), min_size=1, max_size=3)):
        changed = _mutate(changed, (mutation[0], min(mutation[1], len(changed) - 1), mutation[2], mutation[3])) or b"\0"
    if changed == token:
        return
    with pytest.raises(Refused):
        verify(changed, anchors, NONCE)


@given(st.data())
@SMALL
def test_a_changed_image_is_never_opened(data: st.DataObject) -> None:
    key = derive_key(b"vendor", "firmware")
    manifest = firmware.FirmwareManifest(component="RMM", version="1", security_version=1)
    image = firmware.build(manifest, bytes(64), key)
    changed = _mutate(image, data.draw(_mutations(len(image))))
    if changed == image:
        return
    with pytest.raises(Refused):
        firmware.open_image(changed, {firmware.signer_id(key.public): key.public})


@given(st.data())
@SMALL
def test_a_changed_corim_or_body_raises_nothing_but_refused(
    references: ReferenceValues, anchors: TrustAnchors, data: st.DataObject
) -> None:
    good = {
        "corim": corim_write.write_platform("fleet", bytes(16), references.records()[0], anchors),
        "KBS attestation": messages.attestation_body("bm9uY2U=", messages.tee_pubkey(_guest().public), bytes(40)),
        "JWE": jwe.seal(b"secret", _guest().public, b"seed"),
    }
    for name, body in good.items():
        _quiet(READERS[name], _mutate(body, data.draw(_mutations(len(body)))))


def _guest() -> SigningKey:
    return derive_key(b"guest", "tee", Curve.P256)


def test_bombs_are_refused_at_once() -> None:
    bombs = [
        b"\x81" * 60_000,
        b"\xc1" * 60_000,
        b"\xa1\x00" * 30_000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        bytes.fromhex("d9018f") + b"\x81" * 60_000,
        bytes(10_000_000),
        b"\x9a\x00\x00\xff\xf0" + b"\x80" * 0xFFF0,
    ]
    start = time.perf_counter()
    for bomb in bombs:
        for name in ("token", "sign1", "corim", "platform claims", "COSE_Key"):
            with pytest.raises(Refused):
                READERS[name](bomb)
    assert time.perf_counter() - start < 5


def test_recorded_tokens_cut_anywhere_are_refused(vectors: Path) -> None:
    data = (vectors / "attestation/tokens/cca-token-draft-ffm-00.cbor").read_bytes()
    for size in range(0, len(data), 13):
        with pytest.raises(Refused):
            decode(data[:size])


def test_a_json_store_of_any_shape_raises_nothing_but_refused() -> None:
    for document in (
        [[]],
        [None],
        [{"instance-id": "01" * 33, "implementation-id": "00" * 32, "pkey": []}],
        {"realm": {}},
    ):
        for name in ("anchors", "references", "KBS attestation"):
            _quiet(READERS[name], json.dumps(document).encode())


MUTANTS = 400
"""Changed copies of each valid input."""


def changed(data: bytes, draws: random.Random) -> bytes:
    """One change of one kind: a flipped bit, bytes cut out, doubled, or put in."""
    at = draws.randrange(len(data))
    size = draws.randrange(1, 9)
    kind = draws.randrange(4)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << draws.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + data[at + size :]
    if kind == 2:
        return data[:at] + data[at : at + size] + data[at:]
    return data[:at] + draws.randbytes(size) + data[at:]


def test_changed_inputs_of_every_kind_are_refused_and_counted(
    token: bytes, anchors: TrustAnchors, record_property: Callable[[str, object], None]
) -> None:
    guest, signer = derive_key(b"guest", "tee", Curve.P256), ISSUER.key
    result = ear.Ear(
        issued_at=1,
        verifier=ear.VerifierId(build="b", developer="d"),
        submods={"a": ear.Submod(status=Tier.AFFIRMING)},
    )
    layer, blob = encrypt_layer(b"layer" * 100, bytes(32), "kbs:///a/b/c", bytes(60), {})
    init = b'version = "0.1.0"\nalgorithm = "sha512"\n[data]\n"a" = "b"\n'
    rpv = hashlib.sha512(init).digest()
    kinds: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "token": (token, lambda data: verify(data, anchors, NONCE)),
        "EAR as JWT": (ear.sign_jwt(result, signer).encode(), lambda data: ear.verify_jwt(data, signer.public)),
        "EAR as CWT": (ear.sign_cwt(result, signer), lambda data: ear.verify_cwt(data, signer.public)),
        "JWE": (jwe.seal(b"secret", guest.public, bytes(32)), lambda data: jwe.unseal(data, guest)),
        "layer": (blob, lambda data: decrypt_layer(layer, data, bytes(32))),
        "init-data": (init, lambda data: read_init_data(data, rpv)),
    }
    inputs = 0
    for name, (valid, reader) in kinds.items():
        reader(valid)
        draws = random.Random(name)
        for _ in range(MUTANTS):
            data = changed(valid, draws)
            if data != valid:
                inputs += 1
                assert _refusal(reader, data) is not None, (name, data.hex())
    record_property("fuzz_inputs_attestation", inputs)
    assert inputs > 0.95 * MUTANTS * len(kinds)
