"""RmiAddrRangeDesc4KB: a range of memory as one 64-bit number (DEN0137 2.0-bet0).

Block size in bits 1:0 (0 page, 1 to 3 block of level 2 to 0), count in 11:2, address in 51:12, state in bit 63
(0 delegated, 1 undelegated).
"""

from __future__ import annotations

PAGE_LEVEL = 3
MAX_COUNT = 0x3FF
DELEGATED, UNDELEGATED = 0, 1
ADDRESS_MASK = (1 << 52) - (1 << 12)
STATE_SHIFT = 63
COUNT_ONE = 1 << 2


def descriptor(address: int, level: int, count: int = 1, state: int = DELEGATED) -> int:
    """A descriptor of `count` blocks of `level`."""
    return state << STATE_SHIFT | address & ADDRESS_MASK | count << 2 | PAGE_LEVEL - level


def level_of(desc: int) -> int:
    """Level whose entries map one block: 3 for a page."""
    return PAGE_LEVEL - (desc & 3)


def count_of(desc: int) -> int:
    """Blocks."""
    return desc >> 2 & MAX_COUNT


def base_of(desc: int) -> int:
    """Address of the first block."""
    return desc & ADDRESS_MASK


def state_of(desc: int) -> int:
    """0 delegated, 1 undelegated."""
    return desc >> STATE_SHIFT & 1
