"""The encrypted resource: an independent JOSE library opens ours, and ours opens the recorded one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from joserfc import jwe as jose
from joserfc.jwk import ECKey

from attestation.errors import Refused
from attestation.kbs import jwe
from attestation.keys import Curve, PublicKey, SigningKey, derive_key, from_base64url, to_base64url

GUEST = derive_key(b"guest", "tee", Curve.P256)
SECRET = b"resource bytes: not text\x00\xff"


def _jose_key(key: SigningKey) -> ECKey:
    return ECKey.import_key({**key.public.jwk(), "d": to_base64url(key.private_bytes())})


@pytest.mark.parametrize("curve", [Curve.P256, Curve.P521])
def test_joserfc_opens_what_we_seal(curve: Curve) -> None:
    key = derive_key(b"guest", "tee", curve)
    sealed = json.loads(jwe.seal(SECRET, key.public, b"seed"))
    opened = jose.decrypt_json(sealed, _jose_key(key), algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert opened.plaintext == SECRET


def test_the_recorded_resource_opens_with_its_intermediate_values(vectors: Path) -> None:
    worked = json.loads((vectors / "attestation/trustee/kbs-worked.json").read_text())
    key = SigningKey.from_private_bytes(from_base64url(worked["tee_private_jwk"]["d"]))
    recorded = worked["jwe"]
    ephemeral = PublicKey.from_jwk(json.loads(recorded["protected_text"])["epk"])
    shared = key.agree(ephemeral)
    assert shared.hex() == recorded["z"]
    assert jwe.key_encryption_key(shared).hex() == recorded["kek"]
    assert jwe.protected_header(ephemeral).decode() == recorded["protected_text"]
    assert jwe.unseal(json.dumps(recorded["response"]).encode(), key).hex() == recorded["plaintext_hex"]


def test_sealing_repeats_and_never_shares_a_key_between_messages() -> None:
    once = jwe.seal(SECRET, GUEST.public, b"seed")
    assert jwe.seal(SECRET, GUEST.public, b"seed") == once
    other_text = json.loads(jwe.seal(SECRET + b"!", GUEST.public, b"seed"))
    other_guest = json.loads(jwe.seal(SECRET, derive_key(b"g2", "tee", Curve.P256).public, b"seed"))
    first = json.loads(once)
    for member in ("protected", "iv", "encrypted_key"):
        assert len({first[member], other_text[member], other_guest[member]}) == 3


def test_the_response_is_flattened_without_blanks_or_aad() -> None:
    sealed = jwe.seal(SECRET, GUEST.public, b"seed")
    assert list(json.loads(sealed)) == ["protected", "encrypted_key", "iv", "ciphertext", "tag"]
    assert b" " not in sealed
    assert SECRET not in sealed


def test_a_changed_or_foreign_resource_does_not_open() -> None:
    sealed = json.loads(jwe.seal(SECRET, GUEST.public, b"seed"))
    header = from_base64url(sealed["protected"])
    reordered = json.loads(header)
    reordered = {"enc": reordered["enc"], "alg": reordered["alg"], "epk": reordered["epk"]}
    changes = [
        {member: to_base64url(bytes([from_base64url(sealed[member])[0] ^ 1]) + from_base64url(sealed[member])[1:])}
        for member in ("encrypted_key", "iv", "ciphertext", "tag")
    ]
    changes += [
        {"protected": to_base64url(json.dumps(reordered, separators=(",", ":")).encode())},
        {"protected": to_base64url(json.dumps(json.loads(header)).encode())},
        {"protected": to_base64url(header.replace(b"A256GCM", b"A128GCM"))},
        {"protected": "!"}, {"tag": ""}, {"iv": 7}, {"encrypted_key": None},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(Refused):
            jwe.unseal(json.dumps(sealed | change).encode(), GUEST)
    with pytest.raises(Refused):
        jwe.unseal(json.dumps(sealed).encode(), derive_key(b"stranger", "tee", Curve.P256))
    with pytest.raises(Refused):
        jwe.unseal(b"{}", GUEST)
