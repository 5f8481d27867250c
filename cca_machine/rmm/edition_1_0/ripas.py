"""RIPAS: RTT_INIT_RIPAS and RTT_SET_RIPAS (DEN0137 1.0-rel0, sections B4.3.20 and B4.3.23)."""

from __future__ import annotations

from cca_machine.abi.rmi import Ripas, RmiStatus
from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm import measurement
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, REC, RTT, answer
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ENTRIES,
    KIND_MASK,
    LOWEST_LEVEL_ENTRIES,
    MIN_LEVEL,
    PAGE_LEVEL,
    RIPAS_SHIFT,
    TABLE,
    UNASSIGNED,
    Walk,
    ripas_of,
    size,
)
from cca_machine.rmm.state import RealmState, RipasRequest

_RIPAS_BITS = 3 << RIPAS_SHIFT


def init_ripas(core: Core, rd: int, base: int, top: int) -> Registers:
    """RTT_INIT_RIPAS: EMPTY to RAM before activation, entry by entry of one table; each entry extends the RIM."""
    realm = core.state.realms.get(rd)
    if top <= base or realm is None or top & GRANULE_MASK or top - GRANULE_BYTES >= realm.half:
        return INPUT
    if base & GRANULE_MASK and not core.quirks.init_ripas_rtt_on_unaligned_base:
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    found = core.walk(realm, base, PAGE_LEVEL)
    step = size(found.level)
    if base & step - 1 or (core.quirks.init_ripas_passes_mapped and found.entry & KIND_MASK != UNASSIGNED):
        return RTT[found.level]
    end = found.index
    for first, stop, value in list(found.table.runs(found.index, _reach(found, base, top))):
        if not _may_become_ram(value, core.quirks.init_ripas_passes_mapped):
            break
        found.table.set_range(first, stop, value & ~_RIPAS_BITS | Ripas.RAM << RIPAS_SHIFT)
        end = stop
    if end == found.index:
        return RTT[found.level]
    out_top = base + (end - found.index) * step
    rim = realm.measurements[measurement.RIM]
    realm.measurements[measurement.RIM] = measurement.extend_ripas_run(realm.hash_algo, rim, base, out_top, step)
    return answer(RmiStatus.SUCCESS, out_top)


def set_ripas(core: Core, rd: int, rec_pa: int, base: int, top: int) -> Registers:
    """RTT_SET_RIPAS: do the next part of the change that the Realm asked for on this REC."""
    realm = core.state.realms.get(rd)
    rec = core.state.recs.get(rec_pa)
    if top <= base or (top & GRANULE_MASK and not core.quirks.set_ripas_top_unchecked):
        return INPUT
    if realm is None or rec is None:
        return INPUT
    if rec.running or rec.rd != rd:
        return REC
    request = rec.ripas
    if request is None or base != request.address or top > request.top:
        return INPUT
    found = core.walk(realm, base, PAGE_LEVEL)
    step = size(found.level)
    start = base & -step
    settled = core.quirks.set_ripas_block_already_set and ripas_of(found.entry) == request.ripas
    if start != base and not settled:
        return RTT[found.level]
    end = found.index
    for first, stop, value in list(found.table.runs(found.index, _reach(found, start, top))):
        if not _may_change(core, value, request):
            break
        found.table.set_range(first, stop, value & ~_RIPAS_BITS | request.ripas << RIPAS_SHIFT)
        end = stop
    if end == found.index and not settled:
        return RTT[found.level]
    request.address = max(start + (end - found.index) * step, base)
    return answer(RmiStatus.SUCCESS, request.address)


def _reach(found: Walk, base: int, top: int) -> int:
    """First entry that may not be processed: end of the table, or the one that crosses `top`."""
    last = ENTRIES if found.level > MIN_LEVEL else LOWEST_LEVEL_ENTRIES
    return min(last, found.index + (top - base) // size(found.level))


def _may_become_ram(value: int, passes_mapped: bool) -> bool:
    if passes_mapped:
        return value & KIND_MASK != TABLE
    return value & KIND_MASK == UNASSIGNED and ripas_of(value) != Ripas.DESTROYED


def _may_change(core: Core, value: int, request: RipasRequest) -> bool:
    if value & KIND_MASK not in (UNASSIGNED, ASSIGNED):
        return False
    if ripas_of(value) != Ripas.DESTROYED or request.change_destroyed:
        return True
    return request.ripas == Ripas.EMPTY and core.quirks.empty_over_destroyed
