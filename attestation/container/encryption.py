"""Encrypted layers: AES-256-CTR under HMAC-SHA-256, the layer key wrapped under a key that a broker keeps.

The layer's key, plain digest and nonce are a JSON record, encrypted with AES-256-GCM and put into the layer's
annotations with the broker's name of the wrapping key, so that a guest knows what to ask for.
Sources: containers/ocicrypt blockcipher (AES_256_CTR_HMAC_SHA256) and keywrap/keyprovider, and
confidential-containers/guest-components confidential-data-hub/hub/src/image/annotation_packet (v2).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from attestation.container.oci import ENCRYPTED_LAYER_TYPE, Descriptor, describe, digest, document
from attestation.errors import Malformed, RefusalReason, Untrusted
from attestation.stores import read_json

CIPHER = "AES_256_CTR_HMAC_SHA256"
KEYS_ANNOTATION = "org.opencontainers.image.enc.keys.provider.attestation-agent"
PUBLIC_ANNOTATION = "org.opencontainers.image.enc.pubopts"
WRAP = "A256GCM"
KEY_BYTES, NONCE_BYTES, IV_BYTES = 32, 16, 12


def encrypt_layer(
    plain: bytes, wrapping_key: bytes, key_id: str, entropy: bytes, annotations: dict[str, str]
) -> tuple[Descriptor, bytes]:
    """The encrypted layer and its descriptor; layer key, nonce and IV are the 60 bytes of `entropy`."""
    if len(wrapping_key) != KEY_BYTES or len(entropy) != KEY_BYTES + NONCE_BYTES + IV_BYTES:
        raise ValueError("a wrapping key of 32 and entropy of 60 bytes are needed")
    key, nonce, iv = entropy[:32], entropy[32:48], entropy[48:]
    ciphertext = _ctr(key, nonce, plain)
    private = {
        "symkey": _text(key),
        "digest": digest(plain),
        "cipheroptions": {"nonce": _text(nonce)},
        "previouslayersdigest": "",
    }
    packet = {
        "version": "0.1.0",
        "kid": key_id,
        "wrapped_data": _text(AESGCM(wrapping_key).encrypt(iv, document(private), None)),
        "provider": "kbs",
        "iv": _text(iv),
        "wrap_type": WRAP,
    }
    public = {"cipher": CIPHER, "hmac": _text(_mac(key, ciphertext)), "cipheroptions": {}}
    told = {
        **annotations,
        KEYS_ANNOTATION: _text(document(packet)),
        PUBLIC_ANNOTATION: _text(document(public)),
    }
    return describe(ciphertext, ENCRYPTED_LAYER_TYPE, told), ciphertext


def key_id_of(layer: Descriptor) -> str:
    """The broker's name of the key that a layer's key is wrapped under (`kbs:///repository/type/tag`)."""
    return _member(_packet(layer), "kid")


def decrypt_layer(layer: Descriptor, ciphertext: bytes, wrapping_key: bytes) -> bytes:
    """The plain tar stream of an encrypted layer.

    Raises:
        Malformed: the annotations are not those of an encrypted layer.
        Untrusted: the wrapping key does not open the layer's key, or the bytes are not those that were encrypted.
    """
    packet = _packet(layer)
    if packet.get("provider", "kbs") != "kbs" or packet.get("wrap_type") != WRAP:
        raise Malformed(f"layer key is not wrapped with {WRAP} under a key of the broker", label="wrap_type")
    iv = _bytes(packet, "iv")
    if len(iv) != IV_BYTES:
        raise Malformed(f"layer key's IV is not {IV_BYTES} bytes", label="iv")
    try:
        opened = AESGCM(wrapping_key).decrypt(iv, _bytes(packet, "wrapped_data"), None)
    except (InvalidTag, ValueError):
        message = "the released key does not open the key of the layer"
        raise Untrusted(message, reason=RefusalReason.UNKNOWN_KEY, label="wrapped_data") from None
    private = _object(opened, "layer key record")
    public = _object(_base64(layer.annotations.get(PUBLIC_ANNOTATION, "")), "public layer options")
    if public.get("cipher") != CIPHER:
        raise Malformed(f"layer is not encrypted with {CIPHER}", label="cipher")
    key, nonce = _bytes(private, "symkey"), _bytes(private.get("cipheroptions"), "nonce")
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise Malformed("layer key record has a key or nonce of the wrong size")
    if not hmac.compare_digest(_mac(key, ciphertext), _bytes(public, "hmac")):
        raise Untrusted("HMAC of the encrypted layer does not hold", reason=RefusalReason.BINDING, label="hmac")
    plain = _ctr(key, nonce, ciphertext)
    if not hmac.compare_digest(digest(plain), _member(private, "digest")):
        raise Untrusted("decrypted layer has another digest", reason=RefusalReason.BINDING, label="digest")
    return plain


def _ctr(key: bytes, nonce: bytes, data: bytes) -> bytes:
    worker = Cipher(AES(key), CTR(nonce)).encryptor()
    return worker.update(data) + worker.finalize()


def _mac(key: bytes, ciphertext: bytes) -> bytes:
    return hmac.digest(key, ciphertext, "sha256")


def _packet(layer: Descriptor) -> dict[str, Any]:
    if layer.media_type != ENCRYPTED_LAYER_TYPE or KEYS_ANNOTATION not in layer.annotations:
        raise Malformed("layer is not an encrypted one with a key for the attestation agent", label=KEYS_ANNOTATION)
    return _object(_base64(layer.annotations[KEYS_ANNOTATION]), "annotation packet")


def _object(data: bytes, what: str) -> dict[str, Any]:
    body = read_json(data, what)
    if not isinstance(body, dict):
        raise Malformed(f"{what} is not a JSON object")
    return body


def _member(body: Any, name: str) -> str:
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise Malformed(f"{name} is missing or not a text", label=name)
    return value


def _bytes(body: Any, name: str) -> bytes:
    return _base64(_member(body, name))


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
