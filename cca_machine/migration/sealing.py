"""Bundles: sealed pieces of a Realm, numbered without gaps (modelled).

AES-256-GCM; the counter is nonce and part of the authenticated header, so that a bundle opens once, in its place, in
its session, and nowhere else (NIST SP 800-38D, section 8.2.1: deterministic nonces under a key that is used once).
"""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TAG_BYTES = 16
HEADER_BYTES = 64
"""What a link is charged for the header of a bundle."""


class Bundle(msgspec.Struct, frozen=True, tag="bundle"):
    """What travels: `counter` from 0 upward, and the ciphertext with its tag."""

    session: str
    counter: int
    sealed: bytes


class BundleRefused(Exception):
    """A bundle that does not open."""


def seal(key: bytes, session: str, counter: int, content: bytes) -> bytes:
    """The parcel payload of bundle `counter`."""
    return msgspec.msgpack.encode(
        Bundle(session, counter, AESGCM(key).encrypt(_nonce(counter), content, _header(session, counter)))
    )


def open_bundle(key: bytes, session: str, bundle: Bundle) -> bytes:
    """The content. Raises BundleRefused when it was sealed under another key, for another place, or changed."""
    try:
        return AESGCM(key).decrypt(_nonce(bundle.counter), bundle.sealed, _header(session, bundle.counter))
    except InvalidTag:
        raise BundleRefused(f"bundle {bundle.counter} does not open") from None


def extend(transcript: bytes, content: bytes) -> bytes:
    """Running SHA-256 over all contents: the start token repeats it, so that none can be missing or exchanged."""
    return hashlib.sha256(transcript + hashlib.sha256(content).digest()).digest()


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(8, "big") + bytes(4)


def _header(session: str, counter: int) -> bytes:
    return session.encode() + b"\0" + counter.to_bytes(8, "big")
