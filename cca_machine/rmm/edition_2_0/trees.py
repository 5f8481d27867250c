"""Auxiliary trees of planes: mapping into them and out again (DEN0137 2.0-bet0; TF-RMM runtime/rmi/rtt.c)."""

from __future__ import annotations

from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rmi2 import RttEntryState2
from cca_machine.abi.smc import unsigned
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0 import tables
from cca_machine.rmm.edition_2_0.answers import INPUT, REALM, SUCCESS, Answer, rtt, rtt_aux, success
from cca_machine.rmm.edition_2_0.checks import is_ipa
from cca_machine.rmm.permissions import PERMISSION_MASK
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ASSIGNED_NS,
    KIND_MASK,
    PAGE_LEVEL,
    UNASSIGNED_NS,
    UNASSIGNED_NS_ENTRY,
    address_of,
    assigned,
    ripas_of,
    size,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState


def create(core: Core, rd: int, rtt_pa: int, ipa: int, level: int, tree: int) -> Answer:
    """RTT_AUX_CREATE."""
    return tables.create(core, rd, rtt_pa, ipa, level, tree, aux=True)


def destroy(core: Core, rd: int, ipa: int, level: int, tree: int) -> Answer:
    """RTT_AUX_DESTROY."""
    return tables.destroy(core, rd, ipa, level, tree, aux=True)


def fold(core: Core, rd: int, ipa: int, level: int, tree: int) -> Answer:
    """RTT_AUX_FOLD."""
    return tables.fold(core, rd, ipa, level, tree, aux=True)


def map_protected(core: Core, rd: int, ipa: int, tree: int) -> Answer:
    """RTT_AUX_MAP_PROTECTED: an auxiliary tree maps what the primary one maps; a refusal tells the entry at fault."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if realm.state not in (RealmState.NEW, RealmState.ACTIVE):
        return REALM
    if not is_ipa(realm, ipa) or not tables.is_aux_tree(realm, tree, ipa):
        return INPUT
    primary = core.walk(realm, ipa, PAGE_LEVEL)
    ripas, level = ripas_of(primary.entry), unsigned(primary.level)
    if primary.entry & KIND_MASK != ASSIGNED or ripas != Ripas.RAM:
        return rtt(primary.level, 0, level, _state_of(primary.entry), ripas)
    found = core.walk_tree(realm, tree, ipa, PAGE_LEVEL)
    entry = found.entry
    if found.level < primary.level:
        return rtt_aux(found.level, tree, level, _state_of(entry), ripas)
    if ripas_of(entry) == Ripas.DESTROYED:
        shown = found.index if core.quirks.aux_destroyed_reports_entry else tree
        return rtt_aux(found.level, shown, level, RttEntryState2.AUX_DESTROYED, ripas)
    if entry & KIND_MASK == ASSIGNED and ripas_of(entry) == Ripas.RAM:
        return success(0, 0, 0, 0)
    step = size(found.level)
    offset = (ipa & -step) & size(primary.level) - 1
    if core.quirks.aux_block_base:
        offset = ipa & step - 1
    pa = address_of(primary.entry) + offset
    for granule in range(pa, pa + step, GRANULE_BYTES):
        core.state.references[granule] = core.state.references.get(granule, 0) + 1
    found.table.set(found.index, assigned(pa, Ripas.RAM) | entry & PERMISSION_MASK)
    return success(0, 0, 0, 0)


def unmap_protected(core: Core, rd: int, ipa: int, tree: int) -> Answer:
    """RTT_AUX_UNMAP_PROTECTED: the auxiliary tree forgets a mapping."""
    realm = core.state.realms.get(rd)
    if realm is None or not is_ipa(realm, ipa) or not tables.is_aux_tree(realm, tree, ipa):
        return INPUT
    found = core.walk_tree(realm, tree, ipa, PAGE_LEVEL)
    entry = found.entry
    if entry & KIND_MASK != ASSIGNED:
        return rtt_aux(found.level, tables.top_of(core, found, ipa))
    pa = address_of(entry)
    for granule in range(pa, pa + size(found.level), GRANULE_BYTES):
        left = core.state.references.pop(granule) - 1
        if left:
            core.state.references[granule] = left
    found.table.set(found.index, unassigned(Ripas.EMPTY) | entry & PERMISSION_MASK)
    return success(_top(core, realm, tree, ipa, PAGE_LEVEL))


def map_unprotected(core: Core, rd: int, ipa: int, tree: int) -> Answer:
    """RTT_AUX_MAP_UNPROTECTED: the auxiliary tree shares what the primary root says of an unprotected range."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if realm.state not in (RealmState.NEW, RealmState.ACTIVE):
        return REALM
    if not _is_root_range(realm, ipa, tree):
        return INPUT
    start = realm.rtt_level_start
    primary = core.walk(realm, ipa, start)
    if primary.entry & KIND_MASK == UNASSIGNED_NS:
        return rtt(start)
    found = core.walk_tree(realm, tree, ipa, start)
    if found.entry & KIND_MASK == ASSIGNED_NS:
        return SUCCESS
    shared = found.entry & KIND_MASK != UNASSIGNED_NS
    found.table.set(found.index, primary.entry)
    if shared and core.quirks.aux_share_counts_again:
        found.table.live += 1
    if primary.entry & KIND_MASK == ASSIGNED_NS:
        # Here a shared block counts: the Realm cannot be destroyed while a tree of it has one.
        found.table.live += 1
    return SUCCESS


def unmap_unprotected(core: Core, rd: int, ipa: int, tree: int) -> Answer:
    """RTT_AUX_UNMAP_UNPROTECTED: the auxiliary tree no longer shares an unprotected range."""
    realm = core.state.realms.get(rd)
    if realm is None or not _is_root_range(realm, ipa, tree):
        return INPUT
    start = realm.rtt_level_start
    found = core.walk_tree(realm, tree, ipa, start)
    if found.entry & KIND_MASK != UNASSIGNED_NS:
        if found.entry & KIND_MASK == ASSIGNED_NS:
            found.table.live -= 1
        found.table.set(found.index, UNASSIGNED_NS_ENTRY)
    return success(_top(core, realm, tree, ipa, start))


def _top(core: Core, realm: Realm, tree: int, ipa: int, level: int) -> int:
    return tables.top_of(core, core.walk_tree(realm, tree, ipa, level), ipa)


def _is_root_range(realm: Realm, ipa: int, tree: int) -> bool:
    own = realm.planes.tree_per_plane and 0 < tree < realm.planes.count
    return own and ipa >= realm.half and is_ipa(realm, ipa, realm.rtt_level_start)


def _state_of(entry: int) -> int:
    return RttEntryState2.DATA if entry & KIND_MASK == ASSIGNED else RttEntryState2.VOID
