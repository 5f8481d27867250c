"""Bundles: sealed pieces of a Realm with an authenticated header (modelled; the shape is that of TDX's MBMD).

AES-256-GCM under a key per stream, derived from the session key of the direction. The nonce is the 64-bit counter of
the stream, its number, and zeros; the counter moves before each use and is never taken back, so that no nonce is used
twice (NIST SP 800-38D, section 8.2.1). The whole header is additional data: a bundle opens in its session, Realm,
generation, stream, place and epoch, and nowhere else.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

MAGIC = b"RMIG"
VERSION = 1
TAG_BYTES = 16
KEY_BYTES = 32
MAX_BUNDLE_BYTES = 4 << 20
"""No bundle is larger: up to 512 pages with contents and their list."""

_HEADER = struct.Struct("<4sHBBH16s32sQQII")


class BundleType(IntEnum):
    """What a bundle is; READY and ABORT travel backward."""

    IMMUTABLE = 0
    REALM_MUTABLE = 1
    REC = 2
    RIPAS_MAP = 3
    MEM = 16
    EPOCH = 32
    START = 33
    READY = 34
    ABORT = 35


class Header(NamedTuple):
    """What is authenticated besides the content. `session` is the 16-byte session id."""

    session: bytes
    lineage: bytes
    generation: int
    type: BundleType
    stream: int
    counter: int
    epoch: int
    length: int

    def encode(self) -> bytes:
        """The header as it travels and as it is authenticated."""
        return _HEADER.pack(
            MAGIC, VERSION, self.type, 0, self.stream, self.session, self.lineage, self.generation, self.counter,
            self.epoch, self.length,
        )  # fmt: skip


class BundleRefused(Exception):
    """A bundle that does not open, or has no place here."""


class StreamKeys:
    """The AES-256-GCM keys of one direction, by stream, from its session key."""

    def __init__(self, session_key: bytes) -> None:
        self._session_key = session_key
        self._ciphers: dict[int, AESGCM] = {}

    def cipher(self, stream: int) -> AESGCM:
        """The cipher of a stream."""
        if stream not in self._ciphers:
            info = b"stream" + stream.to_bytes(2, "little")
            self._ciphers[stream] = AESGCM(HKDFExpand(hashes.SHA384(), KEY_BYTES, info).derive(self._session_key))
        return self._ciphers[stream]


def session_id(session: str) -> bytes:
    """The 16 bytes that stand for a session in headers."""
    return hashlib.sha256(b"session\0" + session.encode()).digest()[:16]


def lineage_id(lineage: str) -> bytes:
    """The 32 bytes that stand for a lineage in headers."""
    return hashlib.sha256(b"lineage\0" + lineage.encode()).digest()


def seal(keys: StreamKeys, header: Header, content: bytes) -> bytes:
    """The bundle: header, ciphertext, tag."""
    aad = header.encode()
    return aad + keys.cipher(header.stream).encrypt(_nonce(header.counter, header.stream), content, aad)


def read_header(bundle: bytes) -> Header:
    """The header of what may be a bundle. Raises BundleRefused: truncated, oversized, another magic or type."""
    if not _HEADER.size + TAG_BYTES <= len(bundle) <= MAX_BUNDLE_BYTES:
        raise BundleRefused(f"a bundle cannot have {len(bundle)} bytes")
    magic, version, kind, zero, stream, session, lineage, generation, counter, epoch, length = _HEADER.unpack_from(
        bundle
    )
    if (magic, version, zero) != (MAGIC, VERSION, 0) or kind not in BundleType.__members__.values():
        raise BundleRefused("not a bundle of this version")
    if length != len(bundle) - _HEADER.size - TAG_BYTES:
        raise BundleRefused(f"the header speaks of {length} bytes")
    return Header(session, lineage, generation, BundleType(kind), stream, counter, epoch, length)


def open_bundle(keys: StreamKeys, header: Header, bundle: bytes) -> bytes:
    """The content. Raises BundleRefused when it was sealed under another key or changed."""
    try:
        aad = bundle[: _HEADER.size]
        sealed = memoryview(bundle)[_HEADER.size :]
        return keys.cipher(header.stream).decrypt(_nonce(header.counter, header.stream), sealed, aad)
    except InvalidTag:
        raise BundleRefused(f"bundle {header.counter} of stream {header.stream} does not open") from None


def extend(transcript: bytes, bundle: bytes) -> bytes:
    """Running SHA-256 over header and tag of all bundles in the order in which they were sealed.

    The tag stands for the ciphertext: only who has the session key could make two that share one.
    """
    return hashlib.sha256(transcript + bundle[: _HEADER.size] + bundle[-TAG_BYTES:]).digest()


def _nonce(counter: int, stream: int) -> bytes:
    return counter.to_bytes(8, "little") + stream.to_bytes(2, "little") + bytes(2)
