"""RIPAS and permissions of ranges: RTT_INIT_RIPAS, RTT_SET_RIPAS, RTT_SET_S2AP (TF-RMM runtime/rmi/rtt.c)."""

from __future__ import annotations

from cca_machine.abi.rmi import Ripas
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import INPUT, REALM, REC, Answer, rtt, rtt_aux, success
from cca_machine.rmm.edition_2_0.checks import is_ipa
from cca_machine.rmm.permissions import PERMISSION_MASK, Base, base_of, entry_bits
from cca_machine.rmm.rtt import (
    ASSIGNED,
    DRAINING,
    ENTRIES,
    KIND_MASK,
    LOWEST_LEVEL_ENTRIES,
    MIN_LEVEL,
    PAGE_LEVEL,
    RIPAS_SHIFT,
    TABLE,
    UNASSIGNED,
    Walk,
    address_of,
    ripas_of,
    size,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState, RipasRequest

_RIPAS_BITS = 3 << RIPAS_SHIFT
COOKIE_TREE_MASK = GRANULE_MASK
"""A cookie holds the tree under its page offset, and the base of the request above."""


def init_ripas(core: Core, rd: int, base: int, top: int) -> Answer:
    """RTT_INIT_RIPAS: EMPTY to RAM before activation, entry by entry of one table; not measured."""
    realm = core.state.realms.get(rd)
    if top <= base or realm is None or not is_ipa(realm, base) or not is_ipa(realm, top):
        return INPUT
    if base >= realm.half or top - GRANULE_BYTES >= realm.half:
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    found = core.walk(realm, base, PAGE_LEVEL)
    step = size(found.level)
    if base & step - 1:
        return rtt(found.level)
    end = found.index
    for first, stop, value in list(found.table.runs(found.index, _reach(found, base, top))):
        held = value & KIND_MASK == DRAINING and core.quirks.init_ripas_forgets_holder
        if (value & KIND_MASK not in (UNASSIGNED, ASSIGNED) and not held) or ripas_of(value) == Ripas.DESTROYED:
            break
        if held and ripas_of(value) == Ripas.EMPTY:
            value = unassigned(Ripas.EMPTY) | value & PERMISSION_MASK
            found.table.live += stop - first
        found.table.set_range(first, stop, value & ~_RIPAS_BITS | Ripas.RAM << RIPAS_SHIFT)
        end = stop
    if end == found.index:
        return rtt(found.level)
    return success(base + (end - found.index) * step)


def set_ripas(core: Core, rd: int, rec_pa: int, base: int, top: int) -> Answer:
    """RTT_SET_RIPAS: do the next part of the change that the Realm asked for on this REC."""
    refusal = _refusal(core, rd, rec_pa, base, top)
    if refusal is not None:
        return refusal
    realm, rec = core.state.realms[rd], core.state.recs[rec_pa]
    request = rec.ripas
    if request is None or base != request.address or top > request.top:
        return INPUT
    found = core.walk(realm, base, PAGE_LEVEL)
    step, limit = size(found.level), _reach(found, base, top)
    if base & step - 1:
        return rtt(found.level)
    end = found.index
    for first, stop, value in list(found.table.runs(found.index, limit)):
        end = _changeable(core, realm, value, first, stop, step, request)
        if end > first:
            found.table.set_range(first, end, value & ~_RIPAS_BITS | request.ripas << RIPAS_SHIFT)
        if end < stop:
            break
    shared = _shared_at(core, realm, found, end, request) if end < limit else None
    if shared is not None and (end == found.index or core.quirks.aux_mapping_wins):
        return rtt_aux(0, base + (end - found.index) * step + shared)
    if end == found.index:
        return rtt(found.level)
    request.address = base + (end - found.index) * step
    return success(request.address)


def set_s2ap(core: Core, rd: int, rec_pa: int, base: int, top: int) -> Answer:
    """RTT_SET_S2AP: do the next part of the permission change that the Realm asked for on this REC."""
    refusal = _refusal(core, rd, rec_pa, base, top)
    if refusal is not None:
        return refusal
    realm, rec = core.state.realms[rd], core.state.recs[rec_pa]
    request = rec.permissions
    if request is None or base != request.base or top > request.top or base > 1 << realm.ipa_width:
        return INPUT
    tree = request.cookie & COOKIE_TREE_MASK if realm.planes.tree_per_plane else 0
    found = core.walk_tree(realm, tree, base, PAGE_LEVEL)
    step = size(found.level)
    fault = rtt_aux if tree else rtt
    if base & step - 1:
        return fault(found.level, base, tree)
    here, index = base, found.index
    while index < ENTRIES and here < top:
        if here + step > top:
            if here > base and not core.quirks.s2ap_overrun_fails:
                break
            request.base = here
            return fault(found.level, here, tree)
        entry = found.table.get(index)
        if entry & KIND_MASK == TABLE:
            break
        grant = base_of(entry) if realm.planes.indirect else Base.RW_X
        found.table.set(index, entry & ~PERMISSION_MASK | entry_bits(realm, tree, request.index, grant))
        here, index = here + step, index + 1
    request.base = here
    return success(here)


def references_in(core: Core, entry: int, level: int) -> int | None:
    """Offset of the first granule of a mapping that an auxiliary tree maps too, or None."""
    references = core.state.references
    if not references:
        return None
    pa = address_of(entry)
    return next((offset for offset in range(0, size(level), GRANULE_BYTES) if pa + offset in references), None)


def _refusal(core: Core, rd: int, rec_pa: int, base: int, top: int) -> Answer | None:
    if top <= base or top & GRANULE_MASK:
        return INPUT
    rec = core.state.recs.get(rec_pa)
    if rd not in core.state.realms or rec is None:
        return INPUT
    return REC if rec.running or rec.rd != rd else None


def _empties_shared(realm: Realm, request: RipasRequest) -> bool:
    return realm.planes.tree_per_plane and request.ripas == Ripas.EMPTY


def _is_ram(entry: int) -> bool:
    return entry & KIND_MASK == ASSIGNED and ripas_of(entry) == Ripas.RAM


def _shared_at(core: Core, realm: Realm, found: Walk, index: int, request: RipasRequest) -> int | None:
    entry = found.table.get(index)
    if not _empties_shared(realm, request) or not _is_ram(entry):
        return None
    return references_in(core, entry, found.level)


def _changeable(core: Core, realm: Realm, value: int, first: int, stop: int, step: int, request: RipasRequest) -> int:
    """First entry of a run that may not change."""
    if value & KIND_MASK not in (UNASSIGNED, ASSIGNED):
        return first
    kept = request.ripas == Ripas.RAM or not core.quirks.empty_over_destroyed
    if ripas_of(value) == Ripas.DESTROYED and not request.change_destroyed and kept:
        return first
    if _empties_shared(realm, request) and _is_ram(value) and core.state.references:
        pa = address_of(value)
        for index in range(first, stop):
            block = pa + (index - first) * step
            if any(block + offset in core.state.references for offset in range(0, step, GRANULE_BYTES)):
                return index
    return stop


def _reach(found: Walk, base: int, top: int) -> int:
    """First entry that may not be processed: end of the table, or the one that crosses `top`."""
    last = ENTRIES if found.level > MIN_LEVEL else LOWEST_LEVEL_ENTRIES
    return min(last, found.index + (top - base) // size(found.level))
