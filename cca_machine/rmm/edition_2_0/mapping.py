"""Mapping memory: RTT_DATA_MAP_INIT, RTT_DATA_MAP, RTT_UNPROT_MAP (DEN0137 2.0-bet0; TF-RMM runtime/rmi/rtt_map.c).

A range command works on one table. Its first entry decides the answer; once something is mapped, whatever stops the
range makes it a success up to there. A block whose memory is being claimed when an interrupt comes stays behind as a
stateful operation.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, Ripas
from cca_machine.abi.rmi2 import AddressType, MemoryRequest, Rmi2, incomplete
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm import address_list, measurement, sro
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import BLOCKED, BUSY, INPUT, REALM, SUCCESS, Answer, rtt, success
from cca_machine.rmm.edition_2_0.checks import (
    DATA,
    DELEGATED,
    MAX_PA_WITHOUT_LPA2,
    UNDELEGATED,
    host_page,
    is_in,
    is_ipa,
)
from cca_machine.rmm.operation import MapWork, Operation
from cca_machine.rmm.permissions import PERMISSION_MASK
from cca_machine.rmm.rtt import (
    ASSIGNED,
    DRAINING,
    ENTRIES,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    UNASSIGNED,
    UNASSIGNED_NS,
    Table,
    Walk,
    address_of,
    assigned,
    assigned_ns,
    ripas_of,
    size,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState

MEMATTR_RESERVED = 0b100
_HANDLE_SHIFT = 12
YIELDED, ALREADY_MAPPED = -1, -2
"""Instead of a status: an interrupt came; there is nothing to do."""


class Range(msgspec.Struct, frozen=True):
    """Checked arguments of a map command: blocks to map at `level` from `base` up to `top`.

    `single` is the one descriptor of a contiguous range, if it was given as such.
    """

    base: int
    top: int
    level: int
    blocks: Iterator[tuple[int, int, int]]
    single: int | None


def data_map_init(core: Core, rd: int, data: int, ipa: int, src: int, flags: int) -> Answer:
    """RTT_DATA_MAP_INIT: a page with Host-given content, before activation; extends the RIM."""
    if flags & ~DATA_FLAG_MEASURE or data == rd or not is_in(core, src, UNDELEGATED):
        return INPUT
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    if ipa >= realm.half or not is_ipa(realm, ipa) or (data >= MAX_PA_WITHOUT_LPA2 and not realm.lpa2):
        return INPUT
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL:
        return rtt(found.level)
    kind = found.entry & KIND_MASK
    if kind not in (UNASSIGNED, DRAINING):
        return rtt(PAGE_LEVEL)
    if kind == DRAINING:
        return BUSY
    page = host_page(core, src)
    if page is None or not is_in(core, data, DELEGATED):
        return INPUT
    rims, measured = realm.measurements, page if flags & DATA_FLAG_MEASURE else None
    rims[measurement.RIM] = measurement.extend_data(realm.hash_algo, rims[measurement.RIM], ipa, flags, measured)
    core.memory.put_page(data, page)
    core.memory.assign(data, 1, realm.mecid)
    found.table.set(found.index, assigned(data, Ripas.RAM) | found.entry & PERMISSION_MASK)
    core.granules.set(data, DATA)
    return SUCCESS


def data_map(core: Core, rd: int, base: int, top: int, flags: int, oaddr: int) -> Answer:
    """RTT_DATA_MAP: zeroed memory at a range; RIPAS stays."""
    handle = sro.free_handle(core)
    if handle is None:
        return BLOCKED
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    wanted = _checked(core, realm, base, top, flags, oaddr, protected=True)
    if not isinstance(wanted, Range):
        return wanted
    found = core.walk(realm, base, wanted.level)
    if found.level != wanted.level:
        return rtt(found.level)
    alike, wanted = _map_alike(core, realm, found, wanted)
    step, status = size(wanted.level), 0
    here = base + alike * step
    for index in range(found.index + alike, ENTRIES):
        pa = _next_block(core, realm, wanted, here, address_list.DELEGATED)
        if pa is None:
            break
        if not isinstance(pa, int):
            status = pa[0]
            break
        status = _reserve_entry(found.table, index, pa, handle)
        if status > 0:
            break
        if not status:
            work = MapWork(
                rd=rd, table_pa=found.table_pa, index=index, level=wanted.level, ipa=here, pa=pa, first_ipa=base
            )
            status = claim(core, work, handle)
            if status == YIELDED:
                core.state.operations[handle] = Operation(
                    command=Rmi2.RTT_DATA_MAP, expected=Rmi2.OP_CONTINUE, mapping=work
                )
                return incomplete(MemoryRequest.NONE), handle
            if status:
                break
        here, status = here + step, 0
    return _reached(status, here, base)


def _map_alike(core: Core, realm: Realm, found: Walk, wanted: Range) -> tuple[int, Range]:
    """Map the entries that a single descriptor and a run of free entries make alike: how many, and what is left.

    What the loop over entries would come to, at the cost of one; nothing where it would have to look for interrupts.
    """
    step = size(wanted.level)
    if wanted.single is None or core.features.later.yields or found.entry & KIND_MASK != UNASSIGNED:
        return 0, wanted
    pa, state = address_list.base_of(wanted.single), address_list.state_of(wanted.single)
    first, end, entry = next(found.table.runs(found.index, ENTRIES))
    count = min(address_list.count_of(wanted.single), (wanted.top - wanted.base) // step, end - first)
    per_entry = step // GRANULE_BYTES
    count = min(count, core.granules.run_length(pa, DELEGATED, count * per_entry) // per_entry)
    fits = not pa & step - 1 and (pa + count * step <= MAX_PA_WITHOUT_LPA2 or realm.lpa2)
    if not count or not fits or state != address_list.DELEGATED:
        return 0, wanted
    core.granules.set_run(pa, DATA, count * per_entry)
    core.memory.scrub_run(pa, count * per_entry)
    core.memory.assign(pa, count * per_entry, realm.mecid)
    found.table.set_range(first, first + count, assigned(pa, ripas_of(entry)) | entry & PERMISSION_MASK)
    left = address_list.count_of(wanted.single) - count
    rest = [address_list.descriptor(pa + count * step, wanted.level, left, state)]
    return count, Range(wanted.base, wanted.top, wanted.level, address_list.blocks(rest), None)


def unprot_map(core: Core, rd: int, base: int, top: int, flags: int, oaddr: int) -> Answer:
    """RTT_UNPROT_MAP: share Host memory; where it lies is not checked, access to it is policed by the GPT."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    wanted = _checked(core, realm, base, top, flags, oaddr, protected=False)
    if not isinstance(wanted, Range):
        return wanted
    memattr, s2ap = flags >> 16 & 7, flags >> 19 & 0xF
    if s2ap > 3:
        return INPUT
    access = s2ap if realm.planes.indirect else (s2ap >> 1 & 1) | (s2ap & 1) << 1
    found = core.walk(realm, base, wanted.level)
    if found.level != wanted.level:
        return rtt(found.level)
    here, status = base, 0
    for index in range(found.index, ENTRIES):
        pa = _next_block(core, realm, wanted, here, None)
        if pa is None:
            break
        if not isinstance(pa, int):
            status = pa[0]
            break
        if memattr == MEMATTR_RESERVED:
            status = INPUT[0]
            break
        entry, new = found.table.get(index), assigned_ns(pa, memattr | access << 3)
        if entry & KIND_MASK != UNASSIGNED_NS and entry != new:
            status = rtt(wanted.level)[0]
            break
        found.table.set(index, new)
        here += size(wanted.level)
    return _reached(status, here, base)


def carry_on(core: Core, handle: int, work: MapWork) -> Answer:
    """OP_CONTINUE of RTT_DATA_MAP: claim the rest of the block, or give back what was claimed."""
    status = claim(core, work, handle)
    if status == YIELDED:
        return incomplete(MemoryRequest.NONE), 0
    if status:
        return _reached(status, work.ipa, work.first_ipa)
    return success(work.ipa + size(work.level))


def claim(core: Core, work: MapWork, handle: int) -> int:
    """Make the granules of a block DATA, one after the other; 0 when done, YIELDED, or the error after a rollback."""
    table = core.state.tables[work.table_pa]
    span = size(work.level)
    while not work.rollback and work.done < span:
        if _interrupted(core):
            return YIELDED
        address, count = work.pa + work.done, _at_a_time(core, span - work.done)
        ready = core.granules.run_length(address, DELEGATED, count)
        core.granules.set_run(address, DATA, ready)
        core.memory.scrub_run(address, ready)
        work.done += ready * GRANULE_BYTES
        if ready < count:
            work.rollback, work.error = True, INPUT[0]
    while work.rollback and work.done:
        if _interrupted(core):
            return YIELDED
        count = _at_a_time(core, work.done)
        work.done -= count * GRANULE_BYTES
        core.granules.set_run(work.pa + work.done, DELEGATED, count)
        core.memory.scrub_run(work.pa + work.done, count)
    held = table.get(work.index)
    kept = held & PERMISSION_MASK
    if held & KIND_MASK != DRAINING:
        table.live -= 1
    if work.rollback:
        table.set(work.index, unassigned(ripas_of(held)) | kept)
        return work.error
    table.set(work.index, assigned(work.pa, ripas_of(held)) | kept)
    core.memory.assign(work.pa, span // GRANULE_BYTES, core.state.realms[work.rd].mecid)
    return 0


def _at_a_time(core: Core, left: int) -> int:
    """Granules between two looks at the interrupts; all that are left where nobody looks."""
    return 1 if core.features.later.yields else left // GRANULE_BYTES


def _interrupted(core: Core) -> bool:
    return core.features.later.yields and core.hardware.look_for_irq(core.pe)


def _checked(
    core: Core, realm: Realm, base: int, top: int, flags: int, oaddr: int, *, protected: bool
) -> Range | Answer:
    if realm.state not in (RealmState.NEW, RealmState.ACTIVE):
        return REALM
    kind, count = flags & 3, flags >> 2 & 0x3FFF
    if top <= base or kind not in (AddressType.SINGLE, AddressType.LIST):
        return INPUT
    descriptors: list[int] | None = [oaddr]
    if kind == AddressType.LIST:
        count = address_list.usable_slots(oaddr, count)
        descriptors = None if oaddr % 8 or not count else address_list.read(core, oaddr, count)
    if not descriptors:
        return INPUT
    level = address_list.level_of(descriptors[0])
    if protected and address_list.state_of(descriptors[0]) != address_list.DELEGATED:
        return INPUT
    last = top - GRANULE_BYTES
    if level < MIN_BLOCK_LEVEL or level < realm.rtt_level_start or not is_ipa(realm, base, level):
        return INPUT
    if not is_ipa(realm, last) or (base < realm.half and last < realm.half) != protected:
        return INPUT
    if top - base < size(level):
        return rtt(level)
    single = oaddr if kind == AddressType.SINGLE else None
    return Range(base, top, level, address_list.blocks(descriptors), single)


def _next_block(core: Core, realm: Realm, wanted: Range, here: int, state: int | None) -> int | Answer | None:
    """Where the next block lies, what is wrong with it, or None when an interrupt waits."""
    if _interrupted(core):
        return None
    block = next(wanted.blocks, None)
    if block is None:
        return INPUT
    pa, level, block_state = block
    step = size(wanted.level)
    if state is not None and block_state != state:
        return INPUT
    if level != wanted.level or here + step > wanted.top:
        return rtt(wanted.level)
    if pa & step - 1 or (pa + step > MAX_PA_WITHOUT_LPA2 and not realm.lpa2):
        return INPUT
    return pa


def _reserve_entry(table: Table, index: int, pa: int, handle: int) -> int:
    """Mark an entry as held by the operation: 0, ALREADY_MAPPED, or a status."""
    entry = table.get(index)
    kind = entry & KIND_MASK
    if kind == ASSIGNED and address_of(entry) == pa:
        return ALREADY_MAPPED
    if kind == DRAINING:
        return BUSY[0]
    if kind != UNASSIGNED:
        return rtt(table.level)[0]
    table.set(index, DRAINING | entry & (PERMISSION_MASK | 3 << 3) | handle << _HANDLE_SHIFT)
    return 0


def _reached(status: int, here: int, base: int) -> Answer:
    if here > base or not status:
        return success(here)
    return (status,)
