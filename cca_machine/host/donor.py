"""The host's free memory, granule by granule: what it lends to the RMM and gets back.

Free memory is a list of runs in address order. First fit keeps the low end full, and what comes back merges with its
neighbours, so that lending and returning everything restores the list exactly.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import GRANULE_BYTES, GRANULES_PER_BLOCK, align_up

Run = tuple[int, int]
"""Base address and number of granules."""


class GranulePool(msgspec.Struct):
    """Runs (base, granules), ascending, never touching one another."""

    runs: list[Run]

    @property
    def free(self) -> int:
        """Free granules."""
        return sum(count for _, count in self.runs)

    def take(self, count: int, alignment: int = GRANULE_BYTES) -> int | None:
        """The lowest free run of `count` granules at a multiple of `alignment` bytes; None if there is none."""
        for index, (base, size) in enumerate(self.runs):
            start = align_up(base, alignment)
            skipped = (start - base) // GRANULE_BYTES
            if skipped + count <= size:
                rest = (start + count * GRANULE_BYTES, size - skipped - count)
                self.runs[index : index + 1] = [run for run in ((base, skipped), rest) if run[1]]
                return start
        return None

    def take_blocks(self, count: int) -> list[Run] | None:
        """`count` granules in as few runs as they come in, 2 MiB aligned as long as whole blocks are wanted.

        One run if any is long enough, else the free memory from the bottom up; None, and nothing taken, if the free
        memory does not hold them.
        """
        whole = self.take(count, GRANULES_PER_BLOCK * GRANULE_BYTES)
        if whole is not None:
            return [(whole, count)]
        taken: list[Run] = []
        while count:
            piece = self._largest_piece(count)
            if piece is None:
                for base, granules in taken:
                    self.give(base, granules)
                return None
            taken.append(piece)
            count -= piece[1]
        return taken

    def give(self, base: int, count: int) -> None:
        """Return a run. BrokenPromise when some of it is free already."""
        index = bisect_left(self.runs, (base, 0))
        top = base + count * GRANULE_BYTES
        before = self.runs[index - 1] if index else None
        after = self.runs[index] if index < len(self.runs) else None
        if (before and before[0] + before[1] * GRANULE_BYTES > base) or (after and after[0] < top):
            raise BrokenPromise(f"granules at {base:#x} were returned twice")
        low, high = index, index
        if before and before[0] + before[1] * GRANULE_BYTES == base:
            low, base, count = index - 1, before[0], count + before[1]
        if after and after[0] == top:
            high, count = index + 1, count + after[1]
        self.runs[low:high] = [(base, count)]

    def _largest_piece(self, count: int) -> Run | None:
        """The next run to take of `count` granules that no single run holds: whole blocks first, then what is left."""
        blocks = GRANULES_PER_BLOCK
        for base, size in list(self.runs):
            start = align_up(base, blocks * GRANULE_BYTES)
            usable = size - (start - base) // GRANULE_BYTES
            whole = min(usable, count) // blocks * blocks
            if whole > 0 or (count < blocks and usable >= count):
                wanted = whole or count
                taken = self.take_at(start, wanted)
                return taken, wanted
        return None

    def take_at(self, base: int, count: int) -> int:
        """Take exactly this run; nothing, if `count` is 0. BrokenPromise when it is not free."""
        if not count:
            return base
        for index, (start, size) in enumerate(self.runs):
            top, end = start + size * GRANULE_BYTES, base + count * GRANULE_BYTES
            if start <= base and end <= top:
                pieces = ((start, (base - start) // GRANULE_BYTES), (end, (top - end) // GRANULE_BYTES))
                self.runs[index : index + 1] = [run for run in pieces if run[1]]
                return base
        raise BrokenPromise(f"granules at {base:#x} are not free")
