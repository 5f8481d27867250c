"""Failure conditions of commands on translation tables and unprotected mappings."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi import (
    Rmi,
)
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.conditions import (
    RD,
    Check,
    Look,
    granule,
    kind,
    parent,
    reaches,
    wide,
)
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED_NS,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED_NS,
    address_of,
    folded,
    size,
)

NO_PARENT = reaches(parent, "there is no table at the level above")
NO_CHILD = kind(parent, TABLE, "the entry above is no table")


def _structure() -> tuple[Check, ...]:
    return (
        Check("level_bound_low", "level is not below the starting level", lambda c: c.level <= c.realm.rtt_level_start),
        Check("level_bound_high", "level is above 3", lambda c: c.level > PAGE_LEVEL),
        Check("ipa_align", "ipa is not aligned to the entry above", lambda c: bool(c["ipa"] & size(c.level - 1) - 1)),
        Check("ipa_bound", "ipa is outside the IPA space", lambda c: bool(c["ipa"] >> c.realm.ipa_width)),
    )


def _leaf(lowest: Callable[[Look], int], low: str) -> tuple[Check, ...]:
    return (
        Check("level_bound_low", low, lambda c: c.level < lowest(c)),
        Check("level_bound_high", "level is above 3", lambda c: c.level > PAGE_LEVEL),
        Check(
            "ipa_align", "ipa is not aligned to an entry of that level", lambda c: bool(c["ipa"] & size(c.level) - 1)
        ),
        Check("ipa_bound", "ipa is outside the IPA space", lambda c: bool(c["ipa"] >> c.realm.ipa_width)),
    )


SHARED = (
    *_leaf(lambda c: max(c.realm.rtt_level_start, MIN_BLOCK_LEVEL), "no block or page lies at that level"),
    Check("ipa_protected", "ipa is in the protected half", lambda c: c["ipa"] < c.realm.half),
)


def _attr_bits(look: Look) -> bool:
    low = (1 << 48) - GRANULE_BYTES | 7 << 2 | 3 << 6
    high = 3 << 48 | 3 << 8 if look.realm.lpa2 else 0xF << 48
    return bool(look["desc"] & ~(low | high))


TREES: dict[Rmi, tuple[Check, ...]] = {
    Rmi.RTT_CREATE: (
        Check("alias", "rtt and rd are the same granule", lambda c: c["rtt"] == c["rd"] in c.core.state.realms),
        *granule("rtt", GranuleState.DELEGATED),
        *RD,
        *_structure(),
        wide("rtt"),
        NO_PARENT,
        Check("rtte_state", "there is a table already", lambda c: c.walk(c.level - 1).entry & KIND_MASK == TABLE),
    ),
    Rmi.RTT_DESTROY: (
        *RD, *_structure(), NO_PARENT, NO_CHILD, Check("rtt_live", "the table maps something", lambda c: True),
    ),
    Rmi.RTT_FOLD: (
        *RD, *_structure(), NO_PARENT, NO_CHILD,
        Check(
            "rtt_homo", "the table's entries do not add up to one entry above",
            lambda c: folded(c.core.state.tables[address_of(c.walk(c.level - 1).entry)]) is None,
        ),
    ),
    Rmi.RTT_MAP_UNPROTECTED: (
        *RD,
        *SHARED,
        Check("attr_reserved_bit", "a reserved bit of desc is set", _attr_bits),
        Check("attr_memattr", "MemAttr 0b100 is reserved", lambda c: c["desc"] >> 2 & 7 == 4),
        Check("addr_align", "the address is not aligned to it", lambda c: bool(c["desc"] & size(c.level) - 4096)),
        Check("addr_bound", "the address is at or above 2^48", lambda c: bool(c["desc"] >> 48) and not c.realm.lpa2),
        reaches(lambda c: c.level, "there is no table of that level"),
        kind(lambda c: c.level, UNASSIGNED_NS, "the entry is not UNASSIGNED_NS"),
    ),
    Rmi.RTT_UNMAP_UNPROTECTED: (
        *RD,
        *SHARED,
        reaches(lambda c: c.level, "there is no table of that level"),
        kind(lambda c: c.level, ASSIGNED_NS, "the entry is not ASSIGNED_NS"),
    ),
    Rmi.RTT_READ_ENTRY: (*RD, *_leaf(lambda c: c.realm.rtt_level_start, "level is above the starting level")),
}  # fmt: skip
