"""The granule protection table as hardware reads it: descriptors of two levels, and the walk that checks an access.

`GranuleProtectionTable` keeps one GPI per granule. Here those are the 8-byte descriptors of an EL3 that fuses whatever
it can, made when asked for, so that a table over 512 GiB costs nothing; and the walk is written from the architecture
alone (DDI0487, GPT descriptor formats and granule protection checks; TF-A lib/gpt_rme), over whatever words it gets.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.hardware.gpt import CONTIGUOUS_BYTES, Gpi, GranuleProtectionTable, World
from cca_machine.hardware.granule_map import OUTSIDE

BLOCK, TABLE, CONTIGUOUS = 0b0001, 0b0011, 0b0001
"""Types in bits 3:0 of a level 0 block, a level 0 table, and a level 1 contiguous descriptor."""
_GPI_SHIFT, _SIZE_SHIFT = 4, 8
_ADDRESS = (1 << 52) - GRANULE_BYTES
GPIS_PER_ENTRY = 16
_SIZE_CODES = {size: code for code, size in enumerate(reversed(CONTIGUOUS_BYTES), 1)}
"""Size field of a contiguous descriptor: 1 is 2 MiB, 2 is 32 MiB, 3 is 512 MiB."""
_VALID = frozenset(map(int, Gpi))


class Geometry(NamedTuple):
    """GPCCR_EL3 in bits: reach of a level 0 entry, protected physical address size, granule size."""

    l0_reach: int = 30
    protected: int = 48
    granule: int = 12

    @property
    def l0_entries(self) -> int:
        """Entries of the level 0 table."""
        return 1 << self.protected - self.l0_reach

    @property
    def l1_entries(self) -> int:
        """Entries of a level 1 table, 16 granules each."""
        return 1 << self.l0_reach - self.granule - 4

    @property
    def l1_bytes(self) -> int:
        """Bytes of a level 1 table."""
        return self.l1_entries * 8


class GpcFault(Enum):
    """Outcomes of a granule protection check other than that the access passes."""

    GPF = "granule protection fault"
    WALK = "walk fault"
    ADDRESS_SIZE = "address size fault"


class Refused(NamedTuple):
    """Why an access does not pass, and the level at which that was found."""

    fault: GpcFault
    level: int


class FusedTable:
    """Descriptors of `gpt` as an EL3 keeps them that fuses; level 1 tables lie one after the other from `l1_base`."""

    def __init__(self, gpt: GranuleProtectionTable, l1_base: int, geometry: Geometry = Geometry()) -> None:
        self.gpt = gpt
        self.geometry = geometry
        self.l1_base = l1_base

    def l0(self, index: int) -> int:
        """Entry `index` of the level 0 table: a block of one GPI, or the address of a level 1 table."""
        base = index << self.geometry.l0_reach
        gpi = self._uniform(base, 1 << self.geometry.l0_reach)
        if gpi is not None:
            return gpi << _GPI_SHIFT | BLOCK
        return self.l1_base + index * self.geometry.l1_bytes & _ADDRESS | TABLE

    def l1(self, address: int) -> int:
        """The word at `address` in a level 1 table: a contiguous descriptor, or the GPIs of 16 granules."""
        index, offset = divmod(address - self.l1_base, self.geometry.l1_bytes)
        pa = (index << self.geometry.l0_reach) + offset // 8 * GPIS_PER_ENTRY * GRANULE_BYTES
        for size in CONTIGUOUS_BYTES:
            gpi = self._uniform(align_down(pa, size), size)
            if gpi is not None:
                return gpi << _GPI_SHIFT | _SIZE_CODES[size] << _SIZE_SHIFT | CONTIGUOUS
        gpis = (int(self.gpt.gpi(pa + at * GRANULE_BYTES)) for at in range(GPIS_PER_ENTRY))
        return sum(gpi << 4 * at for at, gpi in enumerate(gpis))

    def check(self, world: World, pa: int) -> Refused | None:
        """What the hardware makes of an access of `world` at `pa`; None when it passes."""
        return walk(self.geometry, self.l0, self.l1, world, pa)

    def _uniform(self, base: int, size: int) -> int | None:
        """The one GPI of a range, or None; where there is no memory, nobody has access."""
        value = self.gpt.granules.get(base)
        count = size // GRANULE_BYTES
        if value == OUTSIDE:
            empty = all(bank.top <= base or bank.base >= base + size for bank in self.gpt.granules.banks)
            return int(Gpi.NO_ACCESS) if empty else None
        return value if self.gpt.run_length(base, Gpi(value), count) == count else None


def walk(
    geometry: Geometry, l0: Callable[[int], int], l1: Callable[[int], int], world: World, pa: int
) -> Refused | None:
    """The granule protection check over raw descriptors, in the architecture's order of outcomes."""
    if pa >> geometry.protected:
        return None if world is World.NS else Refused(GpcFault.GPF, 0)
    entry = l0(pa >> geometry.l0_reach)
    kind = entry & 0xF
    if kind == BLOCK:
        return _judged(entry >> _GPI_SHIFT & 0xF, world, 0)
    if kind != TABLE:
        return Refused(GpcFault.WALK, 0)
    table = entry & _ADDRESS
    if table >> geometry.protected:
        return Refused(GpcFault.ADDRESS_SIZE, 0)
    offset = pa & (1 << geometry.l0_reach) - 1
    word = l1(table + (offset >> geometry.granule + 4) * 8)
    if word & 0xF == CONTIGUOUS:
        if not word >> _SIZE_SHIFT & 3:
            return Refused(GpcFault.WALK, 1)
        return _judged(word >> _GPI_SHIFT & 0xF, world, 1)
    return _judged(word >> 4 * (pa >> geometry.granule & GPIS_PER_ENTRY - 1) & 0xF, world, 1)


def _judged(gpi: int, world: World, level: int) -> Refused | None:
    if gpi not in _VALID:
        return Refused(GpcFault.WALK, level)
    reaches = gpi in (world, Gpi.ANY) or (world is World.ROOT and gpi != Gpi.NO_ACCESS)
    return None if reaches else Refused(GpcFault.GPF, level)
