"""Files of attestation engineers: tokens, keys, stores, CoRIMs; what cannot be read is the user's mistake.

A token file may hold CBOR, or the same bytes as hex or base64 text. A key file may be PEM, a JWK, a JWK set, or a
ccatoken trust anchor store.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attestation import corim
from attestation.errors import Refused
from attestation.keys import PublicKey, SigningKey
from attestation.stores import ReferenceValues, TrustAnchors, read_anchor_store, read_reference_store
from attestation.token import NONCE_SIZE
from orchestrator.errors import UserMistake

NONCE_FORM = f"1 to {NONCE_SIZE} bytes in hex"
KEY_FORMS = "PEM, a JWK, a JWK set, or a ccatoken trust anchor store"


def read_file(file: Path) -> bytes:
    """The bytes of a file that the user named."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise UserMistake(f"there is no file {file}", "check the path") from None
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error


def write_file(file: Path, content: bytes) -> None:
    """Write a file that the user named, with the folders that lead to it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise UserMistake(f"cannot write {file}: {error.strerror}", "name a writable file") from error


def read_token(data: bytes) -> bytes:
    """Bytes of a token file: as they are, or out of hex or base64 text."""
    text = data.strip()
    if not text or not text.isascii() or b"\x00" in text:
        return data
    compact = b"".join(text.split())
    try:
        return bytes.fromhex(compact.decode())
    except ValueError:
        pass
    try:
        return base64.b64decode(compact, validate=True)
    except binascii.Error:
        return data


def read_nonce(text: str | None) -> bytes | None:
    """The nonce argument; a wrong one is the user's mistake."""
    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UserMistake("--nonce is not hexadecimal", NONCE_FORM) from None
    if not 0 < len(nonce) <= NONCE_SIZE:
        raise UserMistake(f"--nonce has {len(nonce)} bytes", NONCE_FORM)
    return nonce


def read_keys(data: bytes, name: str) -> TrustAnchors:
    """Trust anchors out of a key file; a key without identities is trusted for whatever instance the token names."""
    try:
        if not data.lstrip().startswith(b"["):
            return TrustAnchors.any_instance(_public_key(data))
        return read_anchor_store(data)
    except Refused as refusal:
        raise UserMistake(f"{name}: {refusal}", KEY_FORMS) from None
    except (ValueError, RecursionError):
        raise UserMistake(f"{name} holds no key that can be read", KEY_FORMS) from None


def read_public_key(file: Path) -> PublicKey:
    """The one public key of a file: PEM, a JWK, or a JWK set of one."""
    try:
        return _public_key(read_file(file))
    except Refused as refusal:
        raise UserMistake(f"{file}: {refusal}", "PEM, a JWK, or a JWK set of one key") from None
    except (ValueError, RecursionError):
        raise UserMistake(f"{file} holds no key that can be read", "PEM, a JWK, or a JWK set of one key") from None


def _public_key(data: bytes) -> PublicKey:
    if b"-----BEGIN" in data:
        return PublicKey.from_pem(data)
    value = json.loads(data)
    if isinstance(value, dict) and isinstance(value.get("keys"), list) and value["keys"]:
        return _only_key(value["keys"])
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return PublicKey.from_jwk(value)


def _only_key(keys: list[Any]) -> PublicKey:
    """The one signing key of a JWK set; a set with several does not say which signs platforms."""
    if len(keys) != 1 or not isinstance(keys[0], dict):
        raise UserMistake(f"the key set holds {len(keys)} keys", "a set of one key, or a ccatoken trust anchor store")
    return PublicKey.from_jwk(keys[0])


def read_signing_key(file: Path) -> SigningKey:
    """The private key of a PEM file; nothing of it enters a message."""
    try:
        return SigningKey.from_pem(read_file(file))
    except Refused as refusal:
        raise UserMistake(f"{file}: {refusal.message}", "an unencrypted PEM private key") from None


def read_endorsements(corims: Iterable[Path], store: Path | None) -> tuple[ReferenceValues, TrustAnchors]:
    """Reference values, and what trust anchors come with them, out of CoRIM files and a ccatoken golden store."""
    references, anchors = ReferenceValues(), TrustAnchors()
    try:
        if store is not None:
            references = read_reference_store(read_file(store))
    except Refused as refusal:
        raise UserMistake(f"{store}: {refusal}", "a ccatoken reference value store") from None
    for file in corims:
        try:
            endorsed = corim.read(read_file(file))
            for anchor in endorsed.anchors:
                anchors.add(anchor)
        except Refused as refusal:
            raise UserMistake(f"{file}: {refusal}", "an unsigned CoRIM of a CCA profile") from None
        if endorsed.profile is None:
            raise UserMistake(f"{file} names no CCA profile", "a CoRIM of a CCA profile")
        for platform in endorsed.platform:
            references.add_platform(platform)
        for realm in endorsed.realm:
            references.add_realm(realm)
    return references, anchors
