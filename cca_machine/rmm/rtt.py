"""Realm translation tables: entries, tables held as runs, and walks (DEN0137 1.0-rel0, section A5.5).

An entry is one integer: kind in bits 2:0, RIPAS in bits 4:3, MemAttr in bits 7:5, S2AP in bits 9:8, the output or
table address in bits 51:12, and from bit 52 up what `permissions` keeps there. A table keeps its 512 entries as maximal
runs. Inside a run addresses advance by what an entry of its kind maps (a child table: one granule), so a table that
maps 2 MiB of contiguous memory is one run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from enum import IntEnum
from typing import Protocol

import msgspec

from cca_machine.abi.rmi import Ripas
from cca_machine.hardware.address import GRANULE_BYTES

ENTRIES = 512
PAGE_LEVEL = 3
MIN_BLOCK_LEVEL = 1
MIN_LEVEL = -1
LOWEST_LEVEL_ENTRIES = 16
"""Entries that the table of level -1 really has: 52 bits of IPA, 48 of them below an entry."""


class Kind(IntEnum):
    """What an entry says about its IPA range: HIPAS, or TABLE (DEN0137 1.0-rel0, section A5.5.3)."""

    UNASSIGNED = 0
    ASSIGNED = 1
    TABLE = 2
    UNASSIGNED_NS = 3
    ASSIGNED_NS = 4
    DRAINING = 5
    """UNASSIGNED, held by the stateful operation whose handle stands where the address would."""
    DRAINING_NS = 6


UNASSIGNED, ASSIGNED, TABLE, UNASSIGNED_NS, ASSIGNED_NS, DRAINING, DRAINING_NS = (int(kind) for kind in Kind)
KIND_MASK = 7
RIPAS_SHIFT = 3
ATTRIBUTES_SHIFT = 5
ATTRIBUTES_MASK = 0x1F
ADDRESS_MASK = (1 << 52) - GRANULE_BYTES
LIVE = (False, True, True, False, False, True, True)
"""By kind: whether an entry keeps its table from being destroyed."""
LIVE_NS = (False, True, True, False, True, False, False)
"""By kind: whether an entry ends a scan for the next mapping."""


def shift(level: int) -> int:
    """log2 of the IPA range of one entry at `level`: 12 at level 3, 48 at level -1."""
    return 39 - 9 * level


def size(level: int) -> int:
    """Bytes of IPA space under one entry at `level`."""
    return 1 << 39 - 9 * level


def kind_of(entry: int) -> Kind:
    """Kind of `entry`."""
    return Kind(entry & KIND_MASK)


def ripas_of(entry: int) -> int:
    """RIPAS of a protected entry."""
    return entry >> RIPAS_SHIFT & 3


def address_of(entry: int) -> int:
    """Output address of an assigned entry, or the child table of a TABLE entry."""
    return entry & ADDRESS_MASK


def attributes_of(entry: int) -> int:
    """MemAttr[2:0] in bits 2:0 and S2AP[1:0] in bits 4:3 of an ASSIGNED_NS entry."""
    return entry >> ATTRIBUTES_SHIFT & ATTRIBUTES_MASK


def unassigned(ripas: int) -> int:
    """A protected entry without memory."""
    return UNASSIGNED | ripas << RIPAS_SHIFT


def assigned(address: int, ripas: int) -> int:
    """A protected entry with memory at `address`."""
    return ASSIGNED | ripas << RIPAS_SHIFT | address


def table_entry(address: int) -> int:
    """An entry whose range is described by the table at `address`."""
    return TABLE | address


def assigned_ns(address: int, attributes: int) -> int:
    """An unprotected entry that maps Host memory."""
    return ASSIGNED_NS | attributes << ATTRIBUTES_SHIFT | address


UNASSIGNED_NS_ENTRY = UNASSIGNED_NS


class Table(msgspec.Struct, array_like=True):
    """One granule of translation table at `level`: `values[i]` holds from entry `starts[i]` up to the next start.

    `live` counts the ASSIGNED and TABLE entries: the reference count of the granule.
    """

    level: int
    starts: list[int]
    values: list[int]
    live: int = 0

    @classmethod
    def uniform(cls, level: int, value: int) -> Table:
        """A table whose entries are all `value`, advancing."""
        return cls(level, [0], [value], ENTRIES if LIVE[value & KIND_MASK] else 0)

    def get(self, index: int) -> int:
        """Entry `index`."""
        starts = self.starts
        at = bisect_right(starts, index) - 1
        value = self.values[at]
        return value if not index - starts[at] else value + (index - starts[at]) * self.step(value)

    def step(self, value: int) -> int:
        """How far the address advances from one entry to the next in a run of `value`."""
        kind = value & KIND_MASK
        if kind in (ASSIGNED, ASSIGNED_NS):
            return 1 << 39 - 9 * self.level
        return GRANULE_BYTES if kind == TABLE else 0

    def set_range(self, low: int, high: int, value: int) -> None:
        """Entries `low` to `high` - 1 become `value`, advancing; runs stay maximal."""
        starts, values = self.starts, self.values
        first = bisect_right(starts, low) - 1
        last = bisect_left(starts, high)
        self.live += (high - low if LIVE[value & KIND_MASK] else 0) - self._live_between(first, last, low, high)
        pieces: list[tuple[int, int]] = []
        if starts[first] < low:
            pieces.append((starts[first], values[first]))
        elif first:
            first -= 1
            pieces.append((starts[first], values[first]))
        pieces.append((low, value))
        if last < len(starts) and starts[last] == high:
            pieces.append((high, values[last]))
            last += 1
        elif high < ENTRIES:
            pieces.append((high, values[last - 1] + (high - starts[last - 1]) * self.step(values[last - 1])))
        kept = pieces[:1]
        for start, piece in pieces[1:]:
            before, previous = kept[-1]
            if previous + (start - before) * self.step(previous) != piece:
                kept.append((start, piece))
        starts[first:last] = [start for start, _ in kept]
        values[first:last] = [piece for _, piece in kept]

    def set(self, index: int, value: int) -> None:
        """Change one entry; in constant time where it continues the run before it, as ascending mappings do."""
        starts, values = self.starts, self.values
        at = bisect_right(starts, index) - 1
        if at and starts[at] == index:
            before, old = values[at - 1], values[at]
            end = starts[at + 1] if at + 1 < len(starts) else ENTRIES
            if end - index > 1 and before + (index - starts[at - 1]) * self.step(before) == value:
                self.live += LIVE[value & KIND_MASK] - LIVE[old & KIND_MASK]
                starts[at] = index + 1
                values[at] = old + self.step(old)
                return
        self.set_range(index, index + 1, value)

    def runs(self, low: int = 0, high: int = ENTRIES) -> Iterator[tuple[int, int, int]]:
        """(first, end, value of the first) of each run, cut to entries `low` to `high` - 1."""
        starts = self.starts
        at = bisect_right(starts, low) - 1
        while at < len(starts) and starts[at] < high:
            first = max(starts[at], low)
            end = min(starts[at + 1] if at + 1 < len(starts) else ENTRIES, high)
            yield first, end, self.values[at] + (first - starts[at]) * self.step(self.values[at])
            at += 1

    def next_live(self, index: int, limit: int) -> int:
        """First entry at or above `index` that maps something or is a table; `limit` if there is none below it."""
        for first, _, value in self.runs(index, limit):
            if LIVE_NS[value & KIND_MASK]:
                return first
        return limit

    def _live_between(self, first: int, last: int, low: int, high: int) -> int:
        live = 0
        for at in range(first, last):
            if LIVE[self.values[at] & KIND_MASK]:
                end = self.starts[at + 1] if at + 1 < len(self.starts) else ENTRIES
                live += min(end, high) - max(self.starts[at], low)
        return live


class Tables(Protocol):
    """Tables by the PA of their granule."""

    def __getitem__(self, pa: int, /) -> Table: ...


class Walk(msgspec.Struct, gc=False):
    """Where a walk stopped: the table at `table_pa` of `level`, and its entry `index`."""

    level: int
    table_pa: int
    table: Table
    index: int
    entry: int


def walk(tables: Tables, base: int, start_level: int, ipa: int, level: int) -> Walk:
    """Descend from the root granules at `base` until `level` or an entry that is not TABLE.

    At the starting level the index runs over all concatenated root granules (DEN0137 1.0-rel0, section A5.5.9).
    """
    bits = 39 - 9 * start_level
    index = ipa >> bits
    table_pa = base + (index >> 9) * GRANULE_BYTES
    index &= ENTRIES - 1
    while True:
        table = tables[table_pa]
        entry = table.get(index)
        if start_level == level or entry & KIND_MASK != TABLE:
            return Walk(start_level, table_pa, table, index, entry)
        table_pa = entry >> 12 << 12
        start_level += 1
        bits -= 9
        index = ipa >> bits & ENTRIES - 1


def skip(found: Walk, ipa: int, scan_all: bool = False) -> int:
    """`ipa` if the entry there is live, else the next live entry's address, or the end of that table's range.

    Only the one granule where the walk stopped is scanned (DEN0137 1.0-rel0, RttSkipNonLiveEntries); at level -1 its 16
    real entries, or all 512 with `scan_all` as TF-RMM does.
    """
    limit = ENTRIES if scan_all or found.level > MIN_LEVEL else LOWEST_LEVEL_ENTRIES
    live = found.table.next_live(found.index, limit)
    if live == found.index:
        return ipa
    bits = 39 - 9 * found.level
    return (ipa >> bits) - found.index + live << bits


def child_of(entry: int, level: int) -> Table:
    """The table that says at `level` what `entry` said one level above: "unfolding" a block included."""
    return Table.uniform(level, entry)


def folded(table: Table) -> int | None:
    """The single entry one level above that says what all of `table` says, or None if it is not homogeneous.

    Blocks exist at levels 1 and 2 only, so a level 1 table folds only when it maps nothing (DEN0137, section A5.5.7).
    """
    if len(table.starts) != 1:
        return None
    value = table.values[0]
    kind = value & KIND_MASK
    if kind in (UNASSIGNED, UNASSIGNED_NS):
        return value
    if kind not in (ASSIGNED, ASSIGNED_NS) or table.level <= MIN_BLOCK_LEVEL:
        return None
    if address_of(value) & size(table.level - 1) - 1:
        return None
    return value


def starts_unprotected(half: int, first_ipa: int, level: int) -> Table:
    """A root table whose entries cover IPAs from `first_ipa`; those at or above `half` are unprotected."""
    protected = min(max(half - first_ipa >> shift(level), 0), ENTRIES)
    empty = unassigned(Ripas.EMPTY)
    if protected == 0:
        return Table.uniform(level, UNASSIGNED_NS_ENTRY)
    if protected == ENTRIES:
        return Table.uniform(level, empty)
    return Table(level, [0, protected], [empty, UNASSIGNED_NS_ENTRY])
