"""Realm measurements: RIM and REMs to the byte (DEN0137 1.0-rel0, section A7.1 and C1.x; TF-RMM lib/measurement)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from cca_machine.abi.rmi import HashAlgorithm
from cca_machine.abi.rmi2 import SHA_384
from cca_machine.abi.rsi import MEASUREMENT_BYTES

RIM = 0
DESCRIPTOR_BYTES = 256
ZERO_MEASUREMENT = bytes(MEASUREMENT_BYTES)

_HASHES: dict[int, Callable[[bytes], _Digest]] = {
    HashAlgorithm.SHA_256: hashlib.sha256,
    HashAlgorithm.SHA_512: hashlib.sha512,
    SHA_384: hashlib.sha384,
}
_NAMES: dict[int, str] = {HashAlgorithm.SHA_256: "sha-256", HashAlgorithm.SHA_512: "sha-512", SHA_384: "sha-384"}
_SIZES: dict[int, int] = {HashAlgorithm.SHA_256: 32, HashAlgorithm.SHA_512: 64, SHA_384: 48}

ALGORITHMS = tuple(_HASHES)
"""Hash algorithms by number: SHA-256, SHA-512, SHA-384."""

_DATA = struct.Struct("<QQ64sQQ64s96x")
_REC = struct.Struct("<QQ64s64s112x")
_RIPAS = struct.Struct("<QQ64sQQ160x")
_DATA_TYPE, _REC_TYPE, _RIPAS_TYPE = 0, 1, 2


class _Digest(Protocol):
    def digest(self) -> bytes: ...


class MeasuredParams(Protocol):
    """The parameters of a Realm that enter its RIM."""

    @property
    def flags(self) -> int: ...
    @property
    def s2sz(self) -> int: ...
    @property
    def sve_vl(self) -> int: ...
    @property
    def num_bps(self) -> int: ...
    @property
    def num_wps(self) -> int: ...
    @property
    def pmu_num_ctrs(self) -> int: ...
    @property
    def hash_algo(self) -> int: ...


def digest_size(algorithm: int) -> int:
    """Bytes of a digest: 32, 48 or 64."""
    return _SIZES[algorithm]


def algorithm_name(algorithm: int) -> str:
    """Name as in token claims: "sha-256", "sha-384" or "sha-512"."""
    return _NAMES[algorithm]


def padded_hash(algorithm: int, message: bytes) -> bytes:
    """Digest of `message`, zero padded to the 64 bytes of a measurement register."""
    return _HASHES[algorithm](message).digest().ljust(MEASUREMENT_BYTES, b"\0")


@lru_cache(maxsize=16384)
def page_digest(algorithm: int, page: bytes) -> bytes:
    """`padded_hash` of a page; image pages that many Realms share are hashed once."""
    return padded_hash(algorithm, page)


def initial_rim(params: MeasuredParams) -> bytes:
    """RIM after REALM_CREATE: the hash of a page holding only the measured parameters."""
    page = bytearray(4096)
    struct.pack_into("<Q", page, 0x00, params.flags)
    for offset, value in (
        (0x08, params.s2sz),
        (0x10, params.sve_vl),
        (0x18, params.num_bps),
        (0x20, params.num_wps),
        (0x28, params.pmu_num_ctrs),
        (0x30, params.hash_algo),
    ):
        struct.pack_into("<I", page, offset, value)
    return padded_hash(params.hash_algo, bytes(page))


def extend_data(algorithm: int, rim: bytes, ipa: int, flags: int, page: bytes | None) -> bytes:
    """RIM after a page was created at `ipa`; `page` is None when its content is not measured."""
    content = ZERO_MEASUREMENT if page is None else page_digest(algorithm, page)
    return padded_hash(algorithm, _DATA.pack(_DATA_TYPE, DESCRIPTOR_BYTES, rim, ipa, flags, content))


@lru_cache(maxsize=4096)
def extend_data_run(algorithm: int, rim: bytes, ipa: int, flags: int, pages: tuple[bytes, ...], step: int) -> bytes:
    """RIM after `pages` were created upward from `ipa`; what many Realms have in common is computed once."""
    for index, page in enumerate(pages):
        rim = extend_data(algorithm, rim, ipa + index * step, flags, page if flags & 1 else None)
    return rim


def extend_rec(algorithm: int, rim: bytes, flags: int, pc: int, gprs: Sequence[int]) -> bytes:
    """RIM after a runnable REC was created."""
    page = bytearray(4096)
    struct.pack_into("<Q", page, 0x000, flags)
    struct.pack_into("<Q", page, 0x200, pc)
    struct.pack_into("<8Q", page, 0x300, *gprs)
    content = padded_hash(algorithm, bytes(page))
    return padded_hash(algorithm, _REC.pack(_REC_TYPE, DESCRIPTOR_BYTES, rim, content))


def extend_ripas(algorithm: int, rim: bytes, base: int, top: int) -> bytes:
    """RIM after one RTT entry covering `base` to `top` became RAM."""
    return padded_hash(algorithm, _RIPAS.pack(_RIPAS_TYPE, DESCRIPTOR_BYTES, rim, base, top))


@lru_cache(maxsize=4096)
def extend_ripas_run(algorithm: int, rim: bytes, base: int, top: int, step: int) -> bytes:
    """RIM after every entry of `step` bytes between `base` and `top` became RAM, in ascending order."""
    for entry in range(base, top, step):
        rim = extend_ripas(algorithm, rim, entry, entry + step)
    return rim


def extend_rem(algorithm: int, old: bytes, value: bytes, size: int, *, padded: bool) -> bytes:
    """A REM after RSI_MEASUREMENT_EXTEND of the first `size` bytes of `value`.

    Trimmed as deployed RMMs do it, or `padded` to 128 bytes as later text says: divergence D1.
    """
    if padded:
        return padded_hash(algorithm, old + value[:size].ljust(MEASUREMENT_BYTES, b"\0"))
    return padded_hash(algorithm, old[: digest_size(algorithm)] + value[:size])
