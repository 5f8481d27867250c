"""A small number for every granule of a large address space, cheap where it is uniform and flat where it is not.

Two levels: 2 MiB blocks, each either one number for all its 512 granules or an array of 512 numbers. An untouched
block is not stored at all and answers `default` inside the mapped banks. Neighbouring blocks that were set at once are
one stretch: the memory of a Realm costs the same whether it has one gigabyte or a hundred.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from cca_machine.hardware.address import BLOCK_BYTES, BLOCK_SHIFT, GRANULE_BYTES, GRANULE_SHIFT, GRANULES_PER_BLOCK

OUTSIDE = 0xFF
"""Answer for addresses in no bank; never a value of the map."""


class Bank(msgspec.Struct, frozen=True, array_like=True):
    """A contiguous piece of the address space, in bytes, aligned to granules."""

    base: int
    size: int

    @property
    def top(self) -> int:
        """First address above the bank."""
        return self.base + self.size


class GranuleMap(msgspec.Struct):
    """Numbers 0 to 254 per granule over `banks`; everything starts as `default`.

    `stretches` are rows of uniform blocks as (first block, first block behind it, number), ascending; no block of one
    is in `blocks`.
    """

    banks: tuple[Bank, ...]
    default: int
    blocks: dict[int, int | bytearray] = {}
    stretches: list[tuple[int, int, int]] = []

    def get(self, pa: int) -> int:
        """Number of the granule that holds `pa`, or OUTSIDE."""
        block = self._block(pa >> BLOCK_SHIFT)
        if block is None:
            return self.default if self.contains(pa) else OUTSIDE
        if isinstance(block, int):
            return block
        return block[pa >> GRANULE_SHIFT & GRANULES_PER_BLOCK - 1]

    def set(self, pa: int, value: int) -> None:
        """Change one granule, which must lie in a bank."""
        block = self.blocks.get(pa >> BLOCK_SHIFT)
        if not isinstance(block, bytearray):
            block = self._spread(pa >> BLOCK_SHIFT)
        block[pa >> GRANULE_SHIFT & GRANULES_PER_BLOCK - 1] = value

    def swap(self, pa: int, old: int, new: int) -> bool:
        """Change one granule from `old` to `new`; False, and no change, when it is not `old`."""
        block = self.blocks.get(pa >> BLOCK_SHIFT)
        if not isinstance(block, bytearray):
            if self.get(pa) != old:
                return False
            block = self._spread(pa >> BLOCK_SHIFT)
        index = pa >> GRANULE_SHIFT & GRANULES_PER_BLOCK - 1
        if block[index] != old:
            return False
        block[index] = new
        return True

    def contains(self, pa: int) -> bool:
        """Whether `pa` lies in a bank."""
        return any(bank.base <= pa < bank.base + bank.size for bank in self.banks)

    def run_length(self, pa: int, value: int, count: int) -> int:
        """How many of `count` granules from `pa` upward hold `value` before the first that does not."""
        found = 0
        banked = self._in_one_bank(pa, count)
        while found < count:
            here = pa + found * GRANULE_BYTES
            first = here >> GRANULE_SHIFT & GRANULES_PER_BLOCK - 1
            if banked and not first and (alike := self._alike(here >> BLOCK_SHIFT, value, count - found)):
                found += alike
                continue
            span = min(GRANULES_PER_BLOCK - first, count - found)
            block = self._block(here >> BLOCK_SHIFT)
            if block is None and not banked and not self._whole(here >> BLOCK_SHIFT):
                block = self._spread(here >> BLOCK_SHIFT) if self._touches(here >> BLOCK_SHIFT) else OUTSIDE
            if isinstance(block, bytearray):
                piece = block[first : first + span]
                same = len(piece) - len(piece.lstrip(bytes((value,))))
                found += same
                if same < span:
                    return found
            elif (self.default if block is None else block) == value:
                found += span
            else:
                return found
        return found

    def set_run(self, pa: int, value: int, count: int) -> None:
        """Change `count` granules from `pa` upward, all of which must lie in banks."""
        done = 0
        banked = self._in_one_bank(pa, count)
        while done < count:
            here = pa + done * GRANULE_BYTES
            index = here >> BLOCK_SHIFT
            first = here >> GRANULE_SHIFT & GRANULES_PER_BLOCK - 1
            span = min(GRANULES_PER_BLOCK - first, count - done)
            if span == GRANULES_PER_BLOCK:
                whole = (count - done) // GRANULES_PER_BLOCK if banked else 1
                if banked:
                    self._make_all_uniform(index, whole, value)
                else:
                    self._make_uniform(index, value)
                done += whole * GRANULES_PER_BLOCK
                continue
            block = self.blocks.get(index)
            if not isinstance(block, bytearray):
                block = self._spread(index)
            block[first : first + span] = bytes((value,)) * span
            if block.count(value) == GRANULES_PER_BLOCK:
                self._make_uniform(index, value)
            done += span

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(base, granules, number) of every maximal run that differs from `default`, in address order."""
        base = count = 0
        current = OUTSIDE
        alone = ((index, index + 1, block) for index, block in self.blocks.items())
        for index, end, block in sorted([*alone, *self.stretches], key=_first):
            for pa, length, value in _block_runs(index, end, block):
                if value == current and pa == base + count * GRANULE_BYTES:
                    count += length
                    continue
                if current not in (OUTSIDE, self.default):
                    yield base, count, current
                base, count, current = pa, length, value
        if current not in (OUTSIDE, self.default):
            yield base, count, current

    def counts(self) -> dict[int, int]:
        """Granules per number, the default included."""
        totals = {self.default: sum(bank.size for bank in self.banks) // GRANULE_BYTES}
        for _, count, value in self.runs():
            totals[value] = totals.get(value, 0) + count
            totals[self.default] -= count
        return totals

    def compact(self) -> None:
        """Forget blocks that are uniform again; changes no answer."""
        for index, block in list(self.blocks.items()):
            value = block if isinstance(block, int) else block[0] if block.count(block[0]) == len(block) else OUTSIDE
            if value != OUTSIDE:
                self._make_uniform(index, value)

    def _block(self, index: int) -> int | bytearray | None:
        """The number or numbers of a block; None for one that was never changed."""
        block = self.blocks.get(index)
        if block is None and self.stretches:
            stretch = self._stretch(index)
            return stretch[2] if stretch is not None else None
        return block

    def _stretch(self, index: int) -> tuple[int, int, int] | None:
        """The stretch that holds a block."""
        at = bisect_right(self.stretches, index, key=_first) - 1
        return self.stretches[at] if at >= 0 and self.stretches[at][1] > index else None

    def _carve(self, first: int, end: int) -> None:
        """Take the blocks from `first` up to `end` out of the stretches."""
        stretches = self.stretches
        at = max(bisect_right(stretches, first, key=_first) - 1, 0)
        while at < len(stretches) and stretches[at][0] < end:
            low, high, value = stretches[at]
            if high <= first:
                at += 1
                continue
            left = [(a, b, value) for a, b in ((low, min(high, first)), (max(low, end), high)) if a < b]
            stretches[at : at + 1] = left
            at += len(left)

    def _alike(self, index: int, value: int, count: int) -> int:
        """Granules in whole blocks from `index`, inside one bank and at most `count`, that are uniformly `value`."""
        start, end = index, index + count // GRANULES_PER_BLOCK
        while index < end:
            block = self._block(index)
            if (self.default if block is None else block) != value:
                break
            index = min(self._next_change(index, end), end)
        return (index - start) * GRANULES_PER_BLOCK

    def _next_change(self, index: int, end: int) -> int:
        """The first block behind `index` that is not of the same record: a stretch, an untouched gap, or itself."""
        if index in self.blocks:
            return index + 1
        at = bisect_right(self.stretches, index, key=_first)
        if at and self.stretches[at - 1][1] > index:
            return self.stretches[at - 1][1]
        if at < len(self.stretches):
            end = min(end, self.stretches[at][0])
        if len(self.blocks) < end - index:
            return min((block for block in self.blocks if index < block < end), default=end)
        return next((block for block in range(index + 1, end) if block in self.blocks), end)

    def _make_all_uniform(self, index: int, count: int, value: int) -> None:
        """Make `count` whole blocks of one bank hold `value`."""
        end = index + count
        self._carve(index, end)
        within = self.blocks if len(self.blocks) < count else range(index, end)
        for block in [each for each in within if index <= each < end]:
            self.blocks.pop(block, None)
        if value == self.default:
            return
        if count == 1:
            self.blocks[index] = value
            return
        at = bisect_right(self.stretches, index, key=_first)
        low = high = at
        if at < len(self.stretches) and self.stretches[at][0] == end and self.stretches[at][2] == value:
            end, high = self.stretches[at][1], at + 1
        if at and self.stretches[at - 1][1] == index and self.stretches[at - 1][2] == value:
            index, low = self.stretches[at - 1][0], at - 1
        self.stretches[low:high] = [(index, end, value)]

    def _make_uniform(self, index: int, value: int) -> None:
        self._carve(index, index + 1)
        if value == self.default and self._whole(index):
            self.blocks.pop(index, None)
        else:
            self.blocks[index] = value

    def _spread(self, index: int) -> bytearray:
        block = self._block(index)
        self._carve(index, index + 1)
        if block is None:
            spread = bytearray((OUTSIDE,)) * GRANULES_PER_BLOCK
            base = index << BLOCK_SHIFT
            for bank in self.banks:
                low = max(bank.base - base, 0) >> GRANULE_SHIFT
                high = min(bank.top - base, BLOCK_BYTES) >> GRANULE_SHIFT
                if low < high:
                    spread[low:high] = bytes((self.default,)) * (high - low)
        else:
            spread = bytearray((block,)) * GRANULES_PER_BLOCK if isinstance(block, int) else block
        self.blocks[index] = spread
        return spread

    def _in_one_bank(self, pa: int, count: int) -> bool:
        """Whether one bank holds the whole run, so that none of its blocks need be asked about."""
        top = pa + count * GRANULE_BYTES
        return any(bank.base <= pa and top <= bank.top for bank in self.banks)

    def _whole(self, index: int) -> bool:
        base = index << BLOCK_SHIFT
        return any(bank.base <= base and base + BLOCK_BYTES <= bank.top for bank in self.banks)

    def _touches(self, index: int) -> bool:
        base = index << BLOCK_SHIFT
        return any(bank.base < base + BLOCK_BYTES and base < bank.top for bank in self.banks)


def _first(stretch: tuple[int, int, int | bytearray]) -> int:
    return stretch[0]


def _block_runs(index: int, end: int, block: int | bytearray) -> Iterator[tuple[int, int, int]]:
    base = index << BLOCK_SHIFT
    if isinstance(block, int):
        yield base, GRANULES_PER_BLOCK * (end - index), block
        return
    first = 0
    while first < GRANULES_PER_BLOCK:
        value = block[first]
        rest = block[first:]
        length = len(rest) - len(rest.lstrip(bytes((value,))))
        yield base + first * GRANULE_BYTES, length, value
        first += length
