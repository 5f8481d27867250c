"""Physical addresses, granules and alignment."""

from __future__ import annotations

GRANULE_SHIFT = 12
GRANULE_BYTES = 1 << GRANULE_SHIFT
GRANULE_MASK = GRANULE_BYTES - 1
ZERO_GRANULE = bytes(GRANULE_BYTES)

BLOCK_SHIFT = 21
BLOCK_BYTES = 1 << BLOCK_SHIFT
GRANULES_PER_BLOCK = BLOCK_BYTES // GRANULE_BYTES


def is_granule_aligned(address: int) -> bool:
    """Whether `address` is a multiple of 4096."""
    return not address & GRANULE_MASK


def align_down(address: int, alignment: int = GRANULE_BYTES) -> int:
    """Largest multiple of `alignment` (a power of two) not above `address`."""
    return address & -alignment


def align_up(address: int, alignment: int = GRANULE_BYTES) -> int:
    """Smallest multiple of `alignment` (a power of two) not below `address`."""
    return -(-address & -alignment)
