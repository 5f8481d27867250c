"""Translation tables: RTT_CREATE, DESTROY, FOLD, READ_ENTRY and unprotected mappings (DEN0137 1.0-rel0, B4.3.17 on)."""

from __future__ import annotations

from cca_machine.abi.rmi import Ripas, RmiStatus, RttEntryState
from cca_machine.abi.smc import Registers, signed, unsigned
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, RTT, SUCCESS, answer, rtt
from cca_machine.rmm.edition_1_0.granule import DELEGATED, is_in
from cca_machine.rmm.granule import GranuleState, move
from cca_machine.rmm.rtt import (
    ASSIGNED_NS,
    ENTRIES,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED_NS,
    UNASSIGNED_NS_ENTRY,
    Kind,
    Table,
    address_of,
    assigned_ns,
    attributes_of,
    child_of,
    folded,
    ripas_of,
    size,
    skip,
    table_entry,
    unassigned,
)
from cca_machine.rmm.state import Realm

MEMATTR_SHIFT, MEMATTR_MASK, MEMATTR_RESERVED = 2, 0x7, 0b100
S2AP_SHIFT, S2AP_MASK = 6, 0x3
LPA2_HIGH_SHIFT, LPA2_HIGH_MASK = 8, 0x3

_ENTRY_STATES = {
    Kind.UNASSIGNED: RttEntryState.UNASSIGNED,
    Kind.UNASSIGNED_NS: RttEntryState.UNASSIGNED,
    Kind.ASSIGNED: RttEntryState.ASSIGNED,
    Kind.ASSIGNED_NS: RttEntryState.ASSIGNED,
    Kind.TABLE: RttEntryState.TABLE,
}


def create(core: Core, rd: int, rtt_pa: int, ipa: int, ulevel: int) -> Registers:
    """RTT_CREATE: a table below an entry, saying what the entry said (unfolding a block)."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not is_in(core.granules, rtt_pa, DELEGATED) or not _is_structure(realm, ipa, level):
        return INPUT
    if rtt_pa >> 48 and not realm.lpa2:
        return INPUT
    found = core.walk(realm, ipa, level - 1)
    if found.level < level - 1:
        return RTT[found.level]
    if found.entry & KIND_MASK == TABLE:
        return RTT[level - 1]
    core.state.tables[rtt_pa] = child_of(found.entry, level)
    move(core.granules, rtt_pa, GranuleState.RTT)
    found.table.set(found.index, table_entry(rtt_pa))
    return SUCCESS


def destroy(core: Core, rd: int, ipa: int, ulevel: int) -> Registers:
    """RTT_DESTROY: drop a table that maps nothing protected; the range below becomes DESTROYED."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not _is_structure(realm, ipa, level):
        return INPUT
    found = core.walk(realm, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK != TABLE:
        return rtt(found.level, 0, skip(found, ipa, core.quirks.scan_whole_lowest_level))
    child = address_of(found.entry)
    if core.state.tables[child].live:
        return rtt(level, 0, ipa)
    _release(core, child)
    found.table.set(found.index, unassigned(Ripas.DESTROYED) if ipa < realm.half else UNASSIGNED_NS_ENTRY)
    return answer(RmiStatus.SUCCESS, child, skip(found, ipa, core.quirks.scan_whole_lowest_level))


def fold(core: Core, rd: int, ipa: int, ulevel: int) -> Registers:
    """RTT_FOLD: replace a homogeneous table by one entry."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not _is_structure(realm, ipa, level):
        return INPUT
    found = core.walk(realm, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK != TABLE:
        return RTT[found.level]
    child = address_of(found.entry)
    table = core.state.tables[child]
    parent = folded(table)
    if parent is None:
        if core.quirks.full_level_1_reports_parent and _fills_level_1(table):
            return RTT[level - 1]
        return RTT[level]
    _release(core, child)
    found.table.set(found.index, parent)
    return answer(RmiStatus.SUCCESS, child)


def map_unprotected(core: Core, rd: int, ipa: int, ulevel: int, desc: int) -> Registers:
    """RTT_MAP_UNPROTECTED: share Host memory; where it lies is not checked, access to it is policed by the GPT."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not _is_shared_leaf(realm, ipa, level):
        return INPUT
    entry = _ns_entry(desc, level, realm.lpa2)
    if entry is None:
        return INPUT
    found = core.walk(realm, ipa, level)
    if found.level < level:
        return RTT[found.level]
    if found.entry & KIND_MASK != UNASSIGNED_NS:
        return RTT[level]
    found.table.set(found.index, entry)
    return SUCCESS


def unmap_unprotected(core: Core, rd: int, ipa: int, ulevel: int) -> Registers:
    """RTT_UNMAP_UNPROTECTED: stop sharing."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not _is_shared_leaf(realm, ipa, level):
        return INPUT
    found = core.walk(realm, ipa, level)
    if found.level < level or found.entry & KIND_MASK != ASSIGNED_NS:
        return rtt(found.level, skip(found, ipa, core.quirks.scan_whole_lowest_level))
    found.table.set(found.index, UNASSIGNED_NS_ENTRY)
    return answer(RmiStatus.SUCCESS, skip(found, ipa))


def read_entry(core: Core, rd: int, ipa: int, ulevel: int) -> Registers:
    """RTT_READ_ENTRY: the entry where the walk towards a level stops."""
    realm = core.state.realms.get(rd)
    level = signed(ulevel)
    if realm is None or not realm.rtt_level_start <= level <= PAGE_LEVEL or not _is_leaf_address(realm, ipa, level):
        return INPUT
    found = core.walk(realm, ipa, level)
    entry = found.entry
    kind = Kind(entry & KIND_MASK)
    desc = ripas = 0
    if kind in (Kind.UNASSIGNED, Kind.ASSIGNED):
        ripas = ripas_of(entry)
    if kind is Kind.ASSIGNED_NS:
        desc = _ns_descriptor(entry, realm.lpa2)
    elif kind is Kind.TABLE or (
        kind is Kind.ASSIGNED and not (ripas == Ripas.DESTROYED and core.quirks.destroyed_address_hidden)
    ):
        desc = address_of(entry)
    return answer(RmiStatus.SUCCESS, unsigned(found.level), _ENTRY_STATES[kind], desc, ripas)


def _is_leaf_address(realm: Realm, ipa: int, level: int) -> bool:
    return not ipa >> realm.ipa_width and not ipa & size(level) - 1


def _is_structure(realm: Realm, ipa: int, level: int) -> bool:
    return realm.rtt_level_start < level <= PAGE_LEVEL and _is_leaf_address(realm, ipa, level - 1)


def _is_shared_leaf(realm: Realm, ipa: int, level: int) -> bool:
    lowest = max(realm.rtt_level_start, MIN_BLOCK_LEVEL)
    return lowest <= level <= PAGE_LEVEL and _is_leaf_address(realm, ipa, level) and ipa >= realm.half


def _fills_level_1(table: Table) -> bool:
    if table.level > MIN_BLOCK_LEVEL:
        return False
    only = table.values[0]
    maps_block = (
        len(table.starts) == 1 and only & KIND_MASK == ASSIGNED_NS and not address_of(only) & size(table.level - 1) - 1
    )
    return table.live == ENTRIES or maps_block


def _release(core: Core, table_pa: int) -> None:
    del core.state.tables[table_pa]
    move(core.granules, table_pa, GranuleState.DELEGATED)


def _address_mask(level: int, lpa2: bool) -> int:
    return (1 << (50 if lpa2 else 48)) - size(level)


def _ns_entry(desc: int, level: int, lpa2: bool) -> int | None:
    high = LPA2_HIGH_MASK << LPA2_HIGH_SHIFT if lpa2 else 0
    allowed = _address_mask(level, lpa2) | high | MEMATTR_MASK << MEMATTR_SHIFT | S2AP_MASK << S2AP_SHIFT
    memattr = desc >> MEMATTR_SHIFT & MEMATTR_MASK
    if desc & ~allowed or memattr == MEMATTR_RESERVED:
        return None
    address = desc & _address_mask(level, lpa2)
    if lpa2:
        address |= (desc >> LPA2_HIGH_SHIFT & LPA2_HIGH_MASK) << 50
    return assigned_ns(address, memattr | (desc >> S2AP_SHIFT & S2AP_MASK) << 3)


def _ns_descriptor(entry: int, lpa2: bool) -> int:
    address, attributes = address_of(entry), attributes_of(entry)
    desc = (attributes & MEMATTR_MASK) << MEMATTR_SHIFT | attributes >> 3 << S2AP_SHIFT
    if lpa2:
        return desc | address & (1 << 50) - 1 | address >> 50 << LPA2_HIGH_SHIFT
    return desc | address
