"""RMI address lists: ranges of memory as descriptors in a granule of the Host (DEN0137 2.0-bet0)."""

from __future__ import annotations

from collections.abc import Iterator

from cca_machine.abi.address_range import (
    ADDRESS_MASK,
    COUNT_ONE,
    DELEGATED,
    MAX_COUNT,
    UNDELEGATED,
    base_of,
    count_of,
    descriptor,
    level_of,
    state_of,
)
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm.core import Core
from cca_machine.rmm.granule import GranuleState, state_at
from cca_machine.rmm.rtt import size

__all__ = [
    "DELEGATED", "SLOTS", "UNDELEGATED", "add_block", "base_of", "blocks", "count_of", "descriptor", "granules_of",
    "is_writable", "level_of", "read", "state_of", "total_bytes", "usable_slots", "write",
]  # fmt: skip

SLOTS = GRANULE_BYTES // 8
"""Descriptors in a granule: a list never leaves one."""


def blocks(descriptors: list[int]) -> Iterator[tuple[int, int, int]]:
    """(address, level, state) of each block in order; empty descriptors give none."""
    for desc in descriptors:
        level = level_of(desc)
        for index in range(count_of(desc)):
            yield base_of(desc) + index * size(level) & ADDRESS_MASK, level, state_of(desc)


def granules_of(descriptors: list[int]) -> Iterator[int]:
    """Address of each granule of an output list, in order."""
    for address, level, _ in blocks(descriptors):
        yield from range(address, address + size(level), GRANULE_BYTES)


def add_block(descriptors: list[int], address: int, level: int, state: int, limit: int) -> bool:
    """Append a block to a range that it continues, upward or downward, or as a new one; False when the list is full."""
    step = size(level)
    for at, desc in enumerate(descriptors):
        if level_of(desc) != level or state_of(desc) != state or count_of(desc) >= MAX_COUNT:
            continue
        if address == base_of(desc) + count_of(desc) * step:
            descriptors[at] = desc + COUNT_ONE
            return True
        if address == base_of(desc) - step:
            descriptors[at] = (desc & ~ADDRESS_MASK | address) + COUNT_ONE
            return True
    if descriptors and len(descriptors) >= limit:
        return False
    descriptors.append(descriptor(address, level, 1, state))
    return True


def total_bytes(descriptors: list[int], state: int, contiguous: bool = False) -> int | None:
    """Memory that a list describes; None when a range is misaligned, of the other state, or not one block as asked."""
    total = ranges = 0
    for desc in descriptors:
        count, step = count_of(desc), size(level_of(desc))
        if not count:
            continue
        ranges += 1
        span = count * step
        if base_of(desc) % step or state_of(desc) != state:
            return None
        if contiguous and (ranges > 1 or span & span - 1 or base_of(desc) % span):
            return None
        total += span
    return total


def usable_slots(address: int, count: int) -> int:
    """Descriptors of `count` at `address` that lie before the end of its granule."""
    return min(count, SLOTS, SLOTS - (address & GRANULE_MASK) // 8)


def read(core: Core, address: int, count: int) -> list[int] | None:
    """`count` descriptors from Host memory, or None when it is not an accessible NS granule."""
    if state_at(core.granules, address & ~GRANULE_MASK) != GranuleState.UNDELEGATED:
        return None
    try:
        raw = core.memory.read(World.NS, address, 8 * count) if count else b""
    except GranuleProtectionFault:
        return None
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]


def is_writable(core: Core, address: int) -> bool:
    """Whether descriptors can be written at `address`: an accessible NS granule."""
    page = address & ~GRANULE_MASK
    return state_at(core.granules, page) == GranuleState.UNDELEGATED and core.memory.gpt.allows(World.NS, page)


def write(core: Core, address: int, descriptors: list[int]) -> bool:
    """Descriptors into Host memory; False when it is not an accessible NS granule."""
    if not is_writable(core, address):
        return False
    core.memory.write(World.NS, address, b"".join(desc.to_bytes(8, "little") for desc in descriptors))
    return True
