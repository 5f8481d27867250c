"""Translation tables: RTT_CREATE, DESTROY, FOLD and READ_ENTRY, primary and auxiliary (TF-RMM runtime/rmi/rtt.c)."""

from __future__ import annotations

from cca_machine.abi.rmi2 import RttEntryState2
from cca_machine.abi.smc import signed, unsigned
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import BUSY, INPUT, Answer, rtt, rtt_aux, success
from cca_machine.rmm.edition_2_0.checks import (
    DELEGATED,
    MAX_PA_WITHOUT_LPA2,
    RTT_STATE,
    is_in,
    is_ipa,
    is_structure,
)
from cca_machine.rmm.permissions import destroyed_entry
from cca_machine.rmm.rtt import (
    ASSIGNED_NS,
    DRAINING,
    DRAINING_NS,
    ENTRIES,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED_NS,
    UNASSIGNED_NS_ENTRY,
    Kind,
    Table,
    Walk,
    address_of,
    attributes_of,
    child_of,
    folded,
    ripas_of,
    size,
    skip,
    table_entry,
)
from cca_machine.rmm.state import Realm

MEMATTR_SHIFT, MEMATTR_MASK = 2, 7
S2AP_SHIFT = 6
LPA2_HIGH_SHIFT = 8
_BASE_INDEX_BIT_1 = 51
"""Where bit 1 of an indirect base index stands in a descriptor; bit 0 stands at 6."""

_STATES = {
    Kind.UNASSIGNED: RttEntryState2.VOID,
    Kind.DRAINING: RttEntryState2.VOID,
    Kind.UNASSIGNED_NS: RttEntryState2.VOID,
    Kind.DRAINING_NS: RttEntryState2.VOID,
    Kind.ASSIGNED: RttEntryState2.DATA,
    Kind.ASSIGNED_NS: RttEntryState2.DATA,
    Kind.TABLE: RttEntryState2.TABLE,
}


def create(core: Core, rd: int, rtt_pa: int, ipa: int, ulevel: int, tree: int = 0, aux: bool = False) -> Answer:
    """RTT_CREATE, RTT_AUX_CREATE: a table below an entry, saying what the entry said."""
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not is_in(core, rtt_pa, DELEGATED) or not is_structure(realm, ipa, level):
        return INPUT
    if (aux and not is_aux_tree(realm, tree, ipa)) or (rtt_pa >= MAX_PA_WITHOUT_LPA2 and not realm.lpa2):
        return INPUT
    fault = rtt_aux if aux else rtt
    found = core.walk_tree(realm, tree, ipa, level - 1)
    if found.level < level - 1:
        return fault(found.level)
    kind = found.entry & KIND_MASK
    if kind == TABLE:
        return fault(level - 1)
    if kind in (DRAINING, DRAINING_NS):
        return BUSY
    core.state.tables[rtt_pa] = child_of(found.entry, level)
    core.granules.set(rtt_pa, RTT_STATE)
    found.table.set(found.index, table_entry(rtt_pa))
    return success()


def destroy(core: Core, rd: int, ipa: int, ulevel: int, tree: int = 0, aux: bool = False) -> Answer:
    """RTT_DESTROY, RTT_AUX_DESTROY: drop a table that maps nothing protected; the range below becomes DESTROYED."""
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not is_structure(realm, ipa, level) or (aux and not is_aux_tree(realm, tree, ipa)):
        return (*INPUT, 0, 0)
    fault = rtt_aux if aux else rtt
    found = core.walk_tree(realm, tree, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK != TABLE:
        return fault(found.level, 0, top_of(core, found, ipa))
    child = address_of(found.entry)
    if core.state.tables[child].live:
        return fault(level, 0, ipa)
    if not aux and is_aux_referenced(core, realm, ipa, level):
        return rtt(found.level, 0, ipa)
    release(core, child)
    found.table.set(found.index, destroyed_entry(realm, tree) if ipa < realm.half else UNASSIGNED_NS_ENTRY)
    return success(child, top_of(core, found, ipa))


def fold(core: Core, rd: int, ipa: int, ulevel: int, tree: int = 0, aux: bool = False) -> Answer:
    """RTT_FOLD, RTT_AUX_FOLD: replace a homogeneous table by one entry."""
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not is_structure(realm, ipa, level) or (aux and not is_aux_tree(realm, tree, ipa)):
        return INPUT
    fault = rtt_aux if aux else rtt
    found = core.walk_tree(realm, tree, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK != TABLE:
        return fault(found.level)
    if not aux and is_aux_referenced(core, realm, ipa, level):
        return rtt(found.level)
    child = address_of(found.entry)
    table = core.state.tables[child]
    parent = folded(table)
    if parent is None:
        if core.quirks.full_level_1_reports_parent and _fills_level_1(table):
            return rtt(found.level)
        return fault(level)
    release(core, child)
    found.table.set(found.index, parent)
    return success(child)


def read_entry(core: Core, rd: int, ipa: int, ulevel: int) -> Answer:
    """RTT_READ_ENTRY: the entry of the primary tree where the walk towards a level stops."""
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not realm.rtt_level_start <= level <= PAGE_LEVEL or not is_ipa(realm, ipa, level):
        return INPUT
    found = core.walk(realm, ipa, level)
    entry = found.entry
    kind = Kind(entry & KIND_MASK)
    desc = ripas = 0
    if kind in (Kind.UNASSIGNED, Kind.DRAINING, Kind.ASSIGNED):
        ripas = ripas_of(entry)
    if kind is Kind.ASSIGNED_NS:
        desc = _ns_descriptor(realm, entry)
    elif kind in (Kind.TABLE, Kind.ASSIGNED):
        desc = address_of(entry)
    return success(unsigned(found.level), _STATES[kind], desc, ripas)


def is_aux_tree(realm: Realm, tree: int, ipa: int) -> bool:
    """Whether `tree` is an auxiliary tree of the Realm and `ipa` protected."""
    return ipa < realm.half and realm.planes.tree_per_plane and 0 < tree < realm.planes.count


def is_aux_referenced(core: Core, realm: Realm, ipa: int, level: int) -> bool:
    """Whether an auxiliary tree shares the unprotected part of the primary tree that holds `ipa`."""
    if ipa < realm.half or not realm.planes.tree_per_plane or level <= realm.rtt_level_start:
        return False
    return any(
        core.walk_tree(realm, tree, ipa, realm.rtt_level_start).entry & KIND_MASK != UNASSIGNED_NS
        for tree in range(1, realm.planes.count)
    )


def release(core: Core, table_pa: int) -> None:
    """A table's granule is DELEGATED again."""
    del core.state.tables[table_pa]
    core.granules.set(table_pa, DELEGATED)


def top_of(core: Core, found: Walk, ipa: int) -> int:
    """`ipa` if something is mapped there, else where the next mapping of that table starts, or where the table ends."""
    return skip(found, ipa, core.quirks.scan_whole_lowest_level)


def _fills_level_1(table: Table) -> bool:
    if table.level > MIN_BLOCK_LEVEL:
        return False
    only = table.values[0]
    maps_block = (
        len(table.starts) == 1 and only & KIND_MASK == ASSIGNED_NS and not address_of(only) & size(table.level - 1) - 1
    )
    return table.live == ENTRIES or maps_block


def _ns_descriptor(realm: Realm, entry: int) -> int:
    address, attributes = address_of(entry), attributes_of(entry)
    access = attributes >> 3
    desc = (attributes & MEMATTR_MASK) << MEMATTR_SHIFT
    if realm.planes.indirect:
        desc |= (access & 1) << S2AP_SHIFT | (access >> 1) << _BASE_INDEX_BIT_1
    else:
        desc |= access << S2AP_SHIFT
    if realm.lpa2:
        return desc | address & (1 << 50) - 1 | address >> 50 << LPA2_HIGH_SHIFT
    return desc | address
