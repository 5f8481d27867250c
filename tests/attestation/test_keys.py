"""Keys: known answers, every encoding, and refusal of keys that are none."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest

from attestation.errors import RefusalReason, Refused
from attestation.keys import FACTS, Curve, PublicKey, SigningKey, derive_key


@pytest.mark.parametrize("curve", list(Curve))
def test_signatures_are_those_of_rfc_6979(own_vectors: Path, curve: Curve) -> None:
    known = json.loads((own_vectors / "rfc6979.json").read_text())["curves"][curve]
    key = SigningKey.from_private_bytes(bytes.fromhex(known["x"]))
    assert key.curve is curve
    assert key.public.coordinates() == (bytes.fromhex(known["ux"]), bytes.fromhex(known["uy"]))
    for message, (r, s) in known["signatures"].items():
        signature = key.sign(message.encode())
        assert signature == bytes.fromhex(r + s)
        key.public.verify(message.encode(), signature)


@pytest.mark.parametrize("curve", list(Curve))
def test_derived_keys_repeat_and_differ_by_seed_purpose_and_curve(curve: Curve) -> None:
    key = derive_key(b"seed", "RAK", curve)
    assert key.private_bytes() == derive_key(b"seed", "RAK", curve).private_bytes()
    assert 0 < int.from_bytes(key.private_bytes(), "big") < FACTS[curve].order
    others = [derive_key(b"seed", "CPAK", curve), derive_key(b"seeds", "RAK", curve)]
    assert len({key.public, *(other.public for other in others)}) == 3


@pytest.mark.parametrize("curve", list(Curve))
def test_a_public_key_survives_each_encoding(curve: Curve) -> None:
    key = derive_key(b"seed", "any", curve).public
    assert PublicKey.from_cose_key(key.cose_key()) == key
    assert PublicKey.from_raw(key.raw()) == key
    assert PublicKey.from_jwk(key.jwk()) == key
    assert PublicKey.from_pem(key.pem()) == key
    assert pickle.loads(pickle.dumps(key)) == key


def test_a_private_key_survives_a_snapshot_and_never_shows_its_secret() -> None:
    key = derive_key(b"seed", "RAK")
    again = SigningKey.from_private_bytes(key.private_bytes())
    assert again.sign(b"message") == key.sign(b"message")
    assert key.private_bytes().hex() not in repr(key)
    assert str(int.from_bytes(key.private_bytes(), "big")) not in repr(key)


def test_the_p384_cose_key_is_the_107_bytes_the_rmm_writes() -> None:
    key = derive_key(b"seed", "RAK").public
    x, y = key.coordinates()
    assert key.cose_key() == bytes.fromhex("a401022002215830") + x + bytes.fromhex("225830") + y
    assert len(key.cose_key()) == 107
    assert len(derive_key(b"seed", "RAK", Curve.P256).public.cose_key()) == 75


def test_the_sample_rak_has_the_published_cose_key_hash(vectors: Path) -> None:
    key = PublicKey.from_pem((vectors / "attestation/keys/cca_realm.pem").read_bytes())
    published = "0d22e08a98469058486318283489bdb36f09dbefeb1864df433fa6e54ea2d711"
    assert hashlib.sha256(key.cose_key()).hexdigest() == published


def test_every_key_file_of_the_vectors_reads(vectors: Path) -> None:
    folder = vectors / "attestation/keys"
    files = sorted(folder.iterdir())
    for file in files:
        data = file.read_bytes()
        key = PublicKey.from_pem(data) if file.suffix == ".pem" else PublicKey.from_jwk(json.loads(data))
        assert key.curve in (Curve.P256, Curve.P384)
    same = PublicKey.from_jwk(json.loads((folder / "rust-cpak.json").read_bytes()))
    assert same == PublicKey.from_pem((folder / "cca_platform.pem").read_bytes())
    print(f"{len(files)} key files read")


def test_both_sides_of_an_agreement_share_a_secret() -> None:
    one, other = (derive_key(b"seed", who, Curve.P256) for who in ("one", "other"))
    assert one.agree(other.public) == other.agree(one.public)
    with pytest.raises(Refused):
        one.agree(derive_key(b"seed", "third", Curve.P384).public)


def _mutated(key: bytes, at: int, value: int) -> bytes:
    return key[:at] + bytes([value]) + key[at + 1 :]


def test_keys_that_are_none_are_refused_by_reason() -> None:
    key = derive_key(b"seed", "RAK").public
    encoded = key.cose_key()
    bad = [
        lambda: PublicKey.from_raw(key.raw()[:-1] + bytes([key.raw()[-1] ^ 1])),
        lambda: PublicKey.from_raw(b"\x02" + key.raw()[1:49]),
        lambda: PublicKey.from_raw(b""),
        lambda: PublicKey.from_cose_key(encoded + b"\0"),
        lambda: PublicKey.from_cose_key(_mutated(encoded, 2, 1)),
        lambda: PublicKey.from_cose_key(_mutated(encoded, 4, 9)),
        lambda: PublicKey.from_cose_key(_mutated(encoded, 106, encoded[106] ^ 1)),
        lambda: PublicKey.from_cose_key(b"\x80"),
        lambda: PublicKey.from_jwk({**key.jwk(), "x": key.jwk()["y"]}),
        lambda: PublicKey.from_jwk({**key.jwk(), "crv": "P-256"}),
        lambda: PublicKey.from_jwk({**key.jwk(), "x": "*" * 64}),
        lambda: PublicKey.from_jwk({"kty": "OKP"}),
        lambda: PublicKey.from_pem(key.pem().replace("A", "B")),
        lambda: PublicKey.from_pem(b"no key"),
    ]
    for attempt in bad:
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.reason in (RefusalReason.UNKNOWN_KEY, RefusalReason.MALFORMED)


def test_a_changed_message_or_signature_does_not_verify() -> None:
    key = derive_key(b"seed", "RAK")
    signature = key.sign(b"message")
    for message, tried in (
        (b"massage", signature),
        (b"message", signature[:-1] + bytes([signature[-1] ^ 1])),
        (b"message", bytes(96)),
        (b"message", signature + b"\0"),
        (b"message", signature[48:] + signature[:48]),
    ):
        with pytest.raises(Refused) as refused:
            key.public.verify(message, tried)
        assert refused.value.reason is RefusalReason.SIGNATURE


def test_a_refusal_survives_a_process_boundary() -> None:
    with pytest.raises(Refused) as refused:
        PublicKey.from_cose_key(bytes.fromhex("a10120"))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.reason, again.label, str(again)) == (refused.value.reason, 1, str(refused.value))
