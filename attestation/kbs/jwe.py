"""The encrypted resource: a flattened JWE with ECDH-ES+A256KW and A256GCM, in the one form that guests open.

The guest of confidential-containers/guest-components rebuilds the additional data from the parsed header, so members
must stand as alg, enc, then the rest sorted, without blanks.
Sources: RFC 7516, RFC 7518 sections 4.6 and 5.3, RFC 3394.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from attestation.errors import Malformed, Refused, Untrusted
from attestation.kbs.messages import compact_json, read_object
from attestation.keys import PublicKey, SigningKey, derive_key, from_base64url, to_base64url
from attestation.stores import read_json

ALG = "ECDH-ES+A256KW"
ENC = "A256GCM"
_CEK_BYTES, _IV_BYTES, _TAG_BYTES = 32, 12, 16


def key_encryption_key(shared: bytes) -> bytes:
    """Concat KDF of RFC 7518 section 4.6.2 for A256KW with empty party information: 32 bytes."""
    name = ALG.encode()
    other = struct.pack(">I", len(name)) + name + struct.pack(">III", 0, 0, 256)
    return hashlib.sha256(struct.pack(">I", 1) + shared + other).digest()


def protected_header(ephemeral: PublicKey) -> bytes:
    """The protected header, exactly as the broker writes it."""
    jwk = ephemeral.jwk()
    epk = {"crv": jwk["crv"], "kty": "EC", "x": jwk["x"], "y": jwk["y"]}
    return compact_json({"alg": ALG, "enc": ENC, "epk": epk})


def seal(plaintext: bytes, recipient: PublicKey, ephemeral_seed: bytes) -> bytes:
    """Encrypt for ``recipient``; ephemeral key, content key and IV are derived, so that a run repeats.

    Recipient and plaintext enter the derivation: two different messages never share a key and IV, even under one seed.
    """
    context = hashlib.sha256(recipient.raw() + hashlib.sha256(plaintext).digest()).digest()
    ephemeral = derive_key(ephemeral_seed + context, "kbs jwe ephemeral key", recipient.curve)
    wide = HKDF(hashes.SHA256(), _CEK_BYTES + _IV_BYTES, None, b"kbs jwe content key and iv\0" + context)
    derived = wide.derive(ephemeral_seed)
    cek, iv = derived[:_CEK_BYTES], derived[_CEK_BYTES:]
    header = to_base64url(protected_header(ephemeral.public))
    sealed = AESGCM(cek).encrypt(iv, plaintext, header.encode("ascii"))
    wrapped = aes_key_wrap(key_encryption_key(ephemeral.agree(recipient)), cek)
    return compact_json(
        {
            "protected": header,
            "encrypted_key": to_base64url(wrapped),
            "iv": to_base64url(iv),
            "ciphertext": to_base64url(sealed[:-_TAG_BYTES]),
            "tag": to_base64url(sealed[-_TAG_BYTES:]),
        }
    )


def unseal(jwe: bytes, key: SigningKey) -> bytes:
    """Decrypt a resource as the guest does. Raises Malformed, or Untrusted when it was not sealed for ``key``."""
    message = read_object(jwe, "JWE")
    header_text = _member(message, "protected")
    header = from_base64url(header_text)
    ephemeral = _read_header(header)
    wrapped, iv, ciphertext, tag = (
        from_base64url(_member(message, name)) for name in ("encrypted_key", "iv", "ciphertext", "tag")
    )
    if len(iv) != _IV_BYTES or len(tag) != _TAG_BYTES or len(wrapped) != _CEK_BYTES + 8:
        raise Malformed("JWE parts have wrong sizes")
    try:
        cek = aes_key_unwrap(key_encryption_key(key.agree(ephemeral)), wrapped)
        return AESGCM(cek).decrypt(iv, ciphertext + tag, header_text.encode("ascii"))
    except (InvalidUnwrap, InvalidTag, Refused):
        raise Untrusted("JWE was not sealed for this key, or was changed") from None


def _member(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise Malformed(f"JWE has no {name}", label=name)
    return value


def _read_header(header: bytes) -> PublicKey:
    members = read_json(header, "JWE header")
    if not isinstance(members, dict) or members.get("alg") != ALG or members.get("enc") != ENC:
        raise Malformed(f"JWE is not {ALG} with {ENC}", label="protected")
    epk = members.get("epk")
    if not isinstance(epk, dict):
        raise Malformed("JWE header has no ephemeral key", label="epk")
    rest = {name: members[name] for name in sorted(members) if name not in ("alg", "enc")}
    rebuilt = {"alg": ALG, "enc": ENC, **rest, "epk": {name: epk[name] for name in sorted(epk)}}
    if compact_json(rebuilt) != header:
        raise Malformed("JWE header is not in the form that guests rebuild", label="protected")
    return PublicKey.from_jwk(epk)
