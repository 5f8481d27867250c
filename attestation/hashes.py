"""Hash algorithms by the names that claims use.

Source: draft-ffm-rats-cca-token, hash algorithm names; accepted are only the three that every verifier can compute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum


class HashName(StrEnum):
    """Claim text of a hash algorithm (claims 2402, 44236 and 44240)."""

    SHA_256 = "sha-256"
    SHA_384 = "sha-384"
    SHA_512 = "sha-512"

    @property
    def size(self) -> int:
        """Digest size in bytes."""
        return _SIZES[self]

    def digest(self, data: bytes) -> bytes:
        """Hash ``data``."""
        return _FUNCTIONS[self](data)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def _sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


_FUNCTIONS: dict[HashName, Callable[[bytes], bytes]] = {
    HashName.SHA_256: _sha256,
    HashName.SHA_384: _sha384,
    HashName.SHA_512: _sha512,
}
_SIZES = {HashName.SHA_256: 32, HashName.SHA_384: 48, HashName.SHA_512: 64}

HASH_SIZES = frozenset(_SIZES.values())
"""Digest sizes, in bytes, that a measurement, signer id or binding value may have."""
HASH_NAMES: dict[str, HashName] = {str(name): name for name in HashName}
"""Accepted claim texts."""
