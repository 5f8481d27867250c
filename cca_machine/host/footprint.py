"""What a Realm occupies on its machine, as its host keeps account of it."""

from __future__ import annotations

import msgspec

from cca_machine.hardware.address import GRANULE_BYTES, GRANULES_PER_BLOCK
from cca_machine.host.donor import GranulePool, Run

BLOCK_BYTES = GRANULES_PER_BLOCK * GRANULE_BYTES
PAGE_LEVEL = 3


class Span(msgspec.Struct, frozen=True, array_like=True):
    """`count` granules from `pa` that appear at `ipa`, both contiguous."""

    ipa: int
    pa: int
    count: int

    @property
    def top(self) -> int:
        """First IPA above the span."""
        return self.ipa + self.count * GRANULE_BYTES

    def at(self, ipa: int) -> int:
        """Physical address behind `ipa`."""
        return self.pa + ipa - self.ipa

    def cut(self, base: int, top: int) -> Span | None:
        """The part within [base, top), or None."""
        low, high = max(self.ipa, base), min(self.top, top)
        return Span(low, self.at(low), (high - low) // GRANULE_BYTES) if low < high else None


class TableGranule(msgspec.Struct, frozen=True, array_like=True):
    """A translation table at `level` whose range begins at `ipa`; root tables are not listed."""

    ipa: int
    level: int
    pa: int


class RecGranules(msgspec.Struct, frozen=True, array_like=True):
    """A REC and its auxiliary granules, which follow it."""

    rec: int
    mpidr: int
    aux_count: int


class Footprint(msgspec.Struct, kw_only=True):
    """Every granule that a Realm holds, and what for.

    `taken` is what the donor gave, `delegated` the part of it that is in the Realm world. `ram` is where the RAM of the
    Realm lies, `data` the part of it that is assigned, `shared` the part that the Realm gave up to share with the host.
    `spare` are delegated granules without use, for tables to come.
    """

    taken: GranulePool
    delegated: GranulePool
    vmid: int = 0
    rd: int = 0
    created: bool = False
    root: int = 0
    root_count: int = 0
    ram: list[Span] = []
    data: list[Span] = []
    shared: list[Span] = []
    tables: list[TableGranule] = []
    spare: list[int] = []
    recs: list[RecGranules] = []

    @classmethod
    def empty(cls) -> Footprint:
        """Nothing held yet."""
        return cls(taken=GranulePool([]), delegated=GranulePool([]))

    def granules(self) -> tuple[Run, ...]:
        """All granules held, as (base, count) runs in address order."""
        return tuple((base, count) for base, count in self.taken.runs)


def without(spans: list[Span], base: int, top: int) -> list[Span]:
    """`spans` less the IPA range [base, top)."""
    kept = []
    for span in spans:
        for piece in (span.cut(0, base), span.cut(top, 1 << 64)):
            if piece is not None:
                kept.append(piece)
    return kept
