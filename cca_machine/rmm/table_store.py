"""All translation tables of an RMM by the PA of their granule, with rows of alike ones kept as one.

A Host that backs a gigabyte makes 512 neighbouring tables, fills each from end to end and folds it away. Tables that
are uniform, and lie in neighbouring granules with values that advance evenly, are held as a `Row`: one record for all
of them. Whoever asks for a single table of a row gets a table of its own, and the row is cut around it; nothing that
can be observed depends on which form a table has.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator

import msgspec

from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.rtt import Table


class Row(msgspec.Struct, array_like=True):
    """`count` uniform tables of `level` in granules from `base` on; the i-th holds `value + i * advance` throughout."""

    base: int
    count: int
    level: int
    value: int
    advance: int

    @property
    def end(self) -> int:
        """First PA behind the row."""
        return self.base + self.count * GRANULE_BYTES

    def part(self, first_pa: int, end_pa: int) -> Row:
        """The tables from `first_pa` up to, not including, `end_pa`."""
        skipped = (first_pa - self.base) // GRANULE_BYTES
        count = (end_pa - first_pa) // GRANULE_BYTES
        return Row(first_pa, count, self.level, self.value + skipped * self.advance, self.advance)


class TableStore(msgspec.Struct):
    """A mapping from PA to `Table`; `rows` are sorted by PA and share no granule with `single`."""

    single: dict[int, Table] = {}
    rows: list[Row] = []

    def __getitem__(self, pa: int) -> Table:
        """The table at `pa`, on its own from now on; raises KeyError."""
        table = self.single.get(pa)
        if table is not None:
            return table
        row = self._cut(pa, 1)
        if row is None:
            raise KeyError(pa)
        table = self.single[pa] = Table.uniform(row.level, row.value)
        return table

    def __setitem__(self, pa: int, table: Table) -> None:
        self.single[pa] = table

    def __delitem__(self, pa: int) -> None:
        if self.single.pop(pa, None) is None and self._cut(pa, 1) is None:
            raise KeyError(pa)

    def __contains__(self, pa: int) -> bool:
        return pa in self.single or self.row_from(pa) is not None

    def __iter__(self) -> Iterator[int]:
        """PAs of all tables, ascending."""
        held = [*self.single, *(pa for row in self.rows for pa in range(row.base, row.end, GRANULE_BYTES))]
        return iter(sorted(held))

    def __len__(self) -> int:
        return len(self.single) + sum(row.count for row in self.rows)

    def items(self) -> Iterator[tuple[int, Table]]:
        """(PA, table) of all tables, ascending; tables of a row are shown as copies."""
        for pa in self:
            row = None if pa in self.single else self.row_from(pa)
            yield pa, self.single[pa] if row is None else Table.uniform(row.level, row.value)

    def values(self) -> Iterator[Table]:
        """All tables in the order of `items`."""
        return (table for _, table in self.items())

    # -- rows ----------------------------------------------------------------------------------------------------------

    def row_from(self, pa: int) -> Row | None:
        """The part from `pa` on of the row that holds the table at `pa`."""
        at = bisect_right(self.rows, pa, key=_base) - 1
        if at < 0 or pa >= self.rows[at].end or pa % GRANULE_BYTES:
            return None
        return self.rows[at].part(pa, self.rows[at].end)

    def add_row(self, row: Row) -> None:
        """Add tables where none are; a row of one is a table of its own."""
        if row.count == 1:
            self.single[row.base] = Table.uniform(row.level, row.value)
        else:
            insort(self.rows, row, key=_base)

    def drop_row(self, pa: int, count: int) -> None:
        """Forget `count` tables from `pa` on, which lie in one row; raises KeyError."""
        if self._cut(pa, count) is None:
            raise KeyError(pa)

    def _cut(self, pa: int, count: int) -> Row | None:
        """Take `count` tables from `pa` on out of the row that holds them all; None if there is none."""
        at = bisect_right(self.rows, pa, key=_base) - 1
        end = pa + count * GRANULE_BYTES
        if at < 0 or end > self.rows[at].end or pa % GRANULE_BYTES:
            return None
        row = self.rows.pop(at)
        for first, last in ((row.base, pa), (end, row.end)):
            if first < last:
                self.add_row(row.part(first, last))
        return row.part(pa, end)


def _base(row: Row) -> int:
    return row.base
