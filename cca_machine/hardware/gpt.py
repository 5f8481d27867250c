"""The Granule Protection Table: which physical address space each granule belongs to, and who may touch it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import msgspec

from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_SHIFT, align_down
from cca_machine.hardware.granule_map import OUTSIDE, Bank, GranuleMap

L0_REGION_BYTES = 1 << 30
"""GPCCR_EL3.L0GPTSZ = 0: one L0 entry covers 1 GiB (DDI0487, D24.2.56)."""

CONTIGUOUS_BYTES = (512 << 20, 32 << 20, 2 << 20)
"""Sizes of an L1 contiguous descriptor, largest first (DDI0487, GPT descriptor formats)."""

L1_TABLE_BYTES = 128 << 10
"""L1 table of one 1 GiB region with 4 KiB granules: 2^(30 - 12 - 4) entries of 8 bytes."""


class Gpi(IntEnum):
    """Granule protection information (DDI0487, GPI encodings)."""

    NO_ACCESS = 0x0
    SECURE = 0x8
    NON_SECURE = 0x9
    ROOT = 0xA
    REALM = 0xB
    ANY = 0xF


class World(IntEnum):
    """The physical address space that an access is made to.

    The RMM reads Host buffers as NS, because it maps them non-secure; it reaches its own granules as REALM.
    """

    NS = 0x9
    SECURE = 0x8
    ROOT = 0xA
    REALM = 0xB


class GranuleProtectionFault(Exception):
    """An access to a granule of another physical address space: an ordinary outcome inside the model.

    It is turned into the architecture's answer (a status, an abort in the Realm or the Host) where the access was made.
    `level` is that of the descriptor that decided.
    """

    def __init__(self, world: World, pa: int, level: int = 1) -> None:
        super().__init__(f"{world.name} access to granule {align_down(pa):#x} of another physical address space")
        self.world = world
        self.pa = pa
        self.level = level


class GptEntry(NamedTuple):
    """The descriptor that decides one address: a level 0 block, or level 1 granules or a contiguous block."""

    level: int
    base: int
    size: int
    gpi: Gpi


class GranuleProtectionTable(msgspec.Struct):
    """GPI of every granule of the protected space; memory that is in no bank answers NO_ACCESS."""

    granules: GranuleMap

    @classmethod
    def over(cls, *banks: Bank) -> GranuleProtectionTable:
        """A table in which all of `banks` is Non-secure memory."""
        return cls(GranuleMap(banks=banks, default=int(Gpi.NON_SECURE)))

    def gpi(self, pa: int) -> Gpi:
        """GPI of the granule that holds `pa`."""
        value = self.granules.get(pa)
        return Gpi.NO_ACCESS if value == OUTSIDE else Gpi(value)

    def allows(self, world: World, pa: int) -> bool:
        """Whether an access to the physical address space of `world` passes at `pa`; Root reaches all memory."""
        value = self.granules.get(pa)
        return value == world or value == Gpi.ANY or (world is World.ROOT and value != OUTSIDE)

    def check(self, world: World, pa: int, size: int = 1) -> None:
        """Let an access of `size` bytes at `pa` pass.

        Raises:
            GranuleProtectionFault: with the first address that does not belong to `world`.
        """
        if not self.allows(world, pa):
            raise GranuleProtectionFault(world, pa, self.entry(pa).level)
        for here in range(align_down(pa) + GRANULE_BYTES, pa + size, GRANULE_BYTES):
            if not self.allows(world, here):
                raise GranuleProtectionFault(world, here, self.entry(here).level)

    def set(self, pa: int, gpi: Gpi) -> None:
        """Change one granule, which must be memory; only the monitor does this on a running machine."""
        self.granules.set(pa, int(gpi))

    def swap(self, pa: int, old: Gpi, new: Gpi) -> bool:
        """Change one granule from `old` to `new`; False, and no change, when it is not `old`."""
        return self.granules.swap(pa, old, new)

    def run_length(self, pa: int, gpi: Gpi, count: int) -> int:
        """How many of `count` granules from `pa` upward have `gpi` before the first that has not."""
        return self.granules.run_length(pa, int(gpi), count)

    def set_run(self, pa: int, gpi: Gpi, count: int) -> None:
        """Change `count` granules from `pa` upward, all memory; one step per 2 MiB."""
        self.granules.set_run(pa, int(gpi), count)

    def counts(self) -> dict[Gpi, int]:
        """Granules per GPI."""
        return {Gpi(value): count for value, count in sorted(self.granules.counts().items()) if count}

    def entry(self, pa: int) -> GptEntry:
        """The descriptor that decides `pa` in the most compact table with these contents: what a fusing EL3 keeps."""
        gpi = self.gpi(pa)
        region = align_down(pa, L0_REGION_BYTES)
        for level, size in ((0, L0_REGION_BYTES), *((1, size) for size in CONTIGUOUS_BYTES)):
            base = align_down(pa, size)
            if self.granules.run_length(base, self.granules.get(pa), size >> GRANULE_SHIFT) == size >> GRANULE_SHIFT:
                return GptEntry(level, base, size, gpi)
        return GptEntry(1, max(align_down(pa), region), GRANULE_BYTES, gpi)
