"""Taking memory away: RTT_DATA_UNMAP and RTT_UNPROT_UNMAP (DEN0137 2.0-bet0; TF-RMM runtime/rmi/rtt_unmap.c).

The sweep over one table marks what it takes; then translations are invalidated and granules given back, which an
interrupt may cut in two. Marked entries belong to the operation until it ends.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rmi2 import AddressType, MemoryRequest, Rmi2, incomplete
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm import address_list, sro
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import BLOCKED, INPUT, Answer, rtt, rtt_aux, success
from cca_machine.rmm.edition_2_0.checks import DATA, DELEGATED, UNDELEGATED, is_in, is_ipa
from cca_machine.rmm.edition_2_0.ripas import references_in
from cca_machine.rmm.mecid import SYSTEM
from cca_machine.rmm.operation import Operation, UnmapWork
from cca_machine.rmm.permissions import PERMISSION_MASK, destroyed_entry
from cca_machine.rmm.rtt import (
    ASSIGNED,
    DRAINING,
    DRAINING_NS,
    ENTRIES,
    KIND_MASK,
    LIVE_NS,
    PAGE_LEVEL,
    RIPAS_SHIFT,
    TABLE,
    UNASSIGNED_NS_ENTRY,
    Walk,
    address_of,
    ripas_of,
    size,
    unassigned,
)
from cca_machine.rmm.state import Realm

_HANDLE_SHIFT = 12
_KEPT = PERMISSION_MASK | 3 << RIPAS_SHIFT


class Sweep(msgspec.Struct):
    """What a sweep takes: the kind of address answer, room for ranges, and the ranges so far."""

    address_type: int
    limit: int
    protected: bool
    handle: int
    descriptors: list[int] = []


def data_unmap(core: Core, rd: int, base: int, top: int, flags: int, oaddr: int) -> Answer:
    """RTT_DATA_UNMAP: memory of a range becomes DELEGATED; what was RAM becomes DESTROYED."""
    return _unmap(core, Rmi2.RTT_DATA_UNMAP, (rd, base, top, flags, oaddr), protected=True)


def unprot_unmap(core: Core, rd: int, base: int, top: int, flags: int, oaddr: int) -> Answer:
    """RTT_UNPROT_UNMAP: stop sharing a range."""
    return _unmap(core, Rmi2.RTT_UNPROT_UNMAP, (rd, base, top, flags, oaddr), protected=False)


def carry_on(core: Core, handle: int, operation: Operation, work: UnmapWork) -> Answer:
    """OP_CONTINUE of an unmap."""
    if _drain(core, handle, operation.descriptors, work):
        return incomplete(MemoryRequest.NONE), 0
    return _result(core, operation.descriptors, work)


def _unmap(core: Core, command: Rmi2, args: tuple[int, int, int, int, int], *, protected: bool) -> Answer:
    rd, base, top, flags, oaddr = args
    handle = sro.free_handle(core)
    if handle is None:
        return BLOCKED
    realm = core.state.realms.get(rd)
    limit = _room(core, realm, base, top, flags, oaddr, protected=protected) if realm else None
    if realm is None or limit is None:
        return INPUT
    sweep = Sweep(flags & 3, limit, protected, handle)
    found = core.walk(realm, base, PAGE_LEVEL)
    if base & size(found.level) - 1:
        return rtt(found.level)
    reached = _sweep(core, realm, found, base, top, sweep)
    if not isinstance(reached, int):
        return reached
    work = UnmapWork(
        table_pa=found.table_pa,
        reached=reached,
        address_type=sweep.address_type,
        list_address=oaddr,
        protected=protected,
        limit=limit,
    )
    if _drain(core, handle, sweep.descriptors, work):
        core.state.operations[handle] = Operation(
            command=command,
            expected=Rmi2.OP_CONTINUE,
            descriptors=sweep.descriptors,
            output=True,
            unmapping=work,
        )
        return incomplete(MemoryRequest.NONE), handle
    return _result(core, sweep.descriptors, work)


def _room(core: Core, realm: Realm, base: int, top: int, flags: int, oaddr: int, *, protected: bool) -> int | None:
    """How many ranges the answer may have; None when the arguments are refused."""
    kind, count = flags & 3, flags >> 2 & 0x3FFF
    last = top - GRANULE_BYTES
    if (base | top) & GRANULE_MASK or top <= base or not is_ipa(realm, base) or not is_ipa(realm, last):
        return None
    if protected != (base < realm.half) or protected != (last < realm.half):
        return None
    if kind in (AddressType.NONE, AddressType.SINGLE):
        return None if oaddr or count else (1 if kind == AddressType.SINGLE else address_list.SLOTS)
    if kind != AddressType.LIST or not count or oaddr % 8 or not is_in(core, oaddr & ~GRANULE_MASK, UNDELEGATED):
        return None
    return address_list.usable_slots(oaddr, count)


def _sweep(core: Core, realm: Realm, found: Walk, base: int, top: int, sweep: Sweep) -> int | Answer:
    """Mark what is taken; where the sweep stopped, or what is wrong with the first entry."""
    level, table = found.level, found.table
    step, here, previous = size(level), base, -1
    for index in range(found.index, ENTRIES):
        entry = table.get(index)
        kind = entry & KIND_MASK
        refusal: Answer | None = None
        if here + step > top or kind == TABLE:
            refusal = rtt(level, 0)
        elif kind == ASSIGNED and references_in(core, entry, level) is not None:
            refusal = rtt_aux(0, 0)
        if refusal is not None:
            if here == base:
                return refusal
            break
        if LIVE_NS[kind]:
            pa = address_of(entry)
            broken = sweep.address_type == AddressType.SINGLE and previous >= 0 and pa != previous + step
            state = address_list.DELEGATED if sweep.protected else address_list.UNDELEGATED
            if broken or not address_list.add_block(sweep.descriptors, pa, level, state, sweep.limit):
                break
            table.set(index, _marked(realm, entry, sweep))
            previous = pa
        here += step
    return here


def _marked(realm: Realm, entry: int, sweep: Sweep) -> int:
    holder = sweep.handle << _HANDLE_SHIFT
    if not sweep.protected:
        return DRAINING_NS | holder
    if ripas_of(entry) == Ripas.RAM:
        entry = destroyed_entry(realm)
    return DRAINING | entry & _KEPT | holder


def _drain(core: Core, handle: int, descriptors: list[int], work: UnmapWork) -> bool:
    """Invalidate, give granules back, and let go of the entries; True when an interrupt came first."""
    if core.features.later.yields and any(core.hardware.look_for_irq(core.pe) for _ in range(ENTRIES)):
        return True
    if work.protected and not core.features.later.yields:
        for address, level, _ in address_list.blocks(descriptors):
            _give_back(core, address, size(level) // GRANULE_BYTES)
    elif work.protected:
        for address in islice(address_list.granules_of(descriptors), work.drained, None):
            if core.hardware.look_for_irq(core.pe):
                return True
            _give_back(core, address, 1)
            work.drained += 1
    table = core.state.tables[work.table_pa]
    for first, stop, value in list(table.runs()):
        if value & KIND_MASK in (DRAINING, DRAINING_NS) and address_of(value) >> _HANDLE_SHIFT == handle:
            free = unassigned(ripas_of(value)) | value & PERMISSION_MASK if work.protected else UNASSIGNED_NS_ENTRY
            table.set_range(first, stop, free)
    return False


def _give_back(core: Core, address: int, count: int) -> None:
    """Granules of a mapping are DELEGATED again, wiped, and nobody's."""
    if core.granules.run_length(address, DATA, count) == count:
        core.granules.set_run(address, DELEGATED, count)
    else:
        for granule in range(address, address + count * GRANULE_BYTES, GRANULE_BYTES):
            core.granules.swap(granule, DATA, DELEGATED)
    core.memory.scrub_run(address, count)
    core.memory.assign(address, count, SYSTEM)


def _result(core: Core, descriptors: list[int], work: UnmapWork) -> Answer:
    ranges = count = 0
    if descriptors and work.address_type == AddressType.SINGLE:
        ranges = descriptors[0] & ~(1 << 63)
    elif descriptors and work.address_type == AddressType.LIST:
        given = descriptors[: work.limit]
        count = len(given) if address_list.write(core, work.list_address, given) else 0
    return success(work.reached, ranges, count)
