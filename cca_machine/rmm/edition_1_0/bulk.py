"""Runs of equal commands over contiguous granules in one step: what `count` single calls would come to, at less cost.

Each handler does as many leading calls as it can answer SUCCESS to at once, and returns how many and the last answer;
zero means that the single command has to look at the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.rmi import Rmi, RmiStatus
from cca_machine.abi.smc import Registers, signed
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import SUCCESS, answer
from cca_machine.rmm.edition_1_0.data import DATA, after_destroy
from cca_machine.rmm.edition_1_0.granule import DELEGATED, UNDELEGATED
from cca_machine.rmm.edition_1_0.rtts import RTT_STATE
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ENTRIES,
    KIND_MASK,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED,
    Walk,
    address_of,
    assigned,
    child_of,
    ripas_of,
    size,
    skip,
    table_entry,
    unassigned,
)
from cca_machine.rmm.state import Realm

Bulk = Callable[[Core, Sequence[int], Sequence[int], int], tuple[int, Registers]]
NONE: tuple[int, Registers] = (0, SUCCESS)


def delegate(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """GRANULE_DELEGATE upward."""
    addr = args[0]
    if stride[0] != GRANULE_BYTES or addr & GRANULE_MASK:
        return NONE
    ready = core.granules.run_length(addr, UNDELEGATED, count)
    done = core.el3.delegate_run(addr, ready) if ready else 0
    core.granules.set_run(addr, DELEGATED, done)
    core.memory.scrub_run(addr, done)
    return done, SUCCESS


def undelegate(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """GRANULE_UNDELEGATE upward."""
    addr = args[0]
    if stride[0] != GRANULE_BYTES or addr & GRANULE_MASK:
        return NONE
    ready = core.granules.run_length(addr, DELEGATED, count)
    done = core.el3.undelegate_run(addr, ready) if ready else 0
    core.granules.set_run(addr, UNDELEGATED, done)
    core.memory.scrub_run(addr, done)
    return done, SUCCESS


def create_unknown(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """DATA_CREATE_UNKNOWN with data and ipa going upward together, as far as one table reaches."""
    rd, data, ipa = args[:3]
    realm = core.state.realms.get(rd)
    if tuple(stride[:3]) != (0, GRANULE_BYTES, GRANULE_BYTES) or realm is None or not _is_page(realm, ipa, data):
        return NONE
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL or found.entry & KIND_MASK != UNASSIGNED:
        return NONE
    ready = core.granules.run_length(data, DELEGATED, min(count, _run_from(found)))
    if not ready or (data + ready * GRANULE_BYTES > 1 << 48 and not realm.lpa2):
        return NONE
    found.table.set_range(found.index, found.index + ready, assigned(data, ripas_of(found.entry)))
    core.granules.set_run(data, DATA, ready)
    return ready, SUCCESS


def destroy(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """DATA_DESTROY with ipa going upward, as far as contiguous memory in one table reaches."""
    rd, ipa = args[:2]
    realm = core.state.realms.get(rd)
    if tuple(stride[:2]) != (0, GRANULE_BYTES) or realm is None or not _is_page(realm, ipa, 0):
        return NONE
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL or found.entry & KIND_MASK != ASSIGNED:
        return NONE
    done = min(count, _run_from(found))
    data = address_of(found.entry)
    ripas = after_destroy(ripas_of(found.entry))
    found.table.set_range(found.index, found.index + done, unassigned(ripas))
    core.granules.set_run(data, DELEGATED, done)
    core.memory.scrub_run(data, done)
    last = done - 1
    at_last = Walk(PAGE_LEVEL, found.table_pa, found.table, found.index + last, unassigned(ripas))
    top = skip(at_last, ipa + last * GRANULE_BYTES)
    return done, answer(RmiStatus.SUCCESS, data + last * GRANULE_BYTES, top)


def rtt_create(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """RTT_CREATE of neighbouring tables from contiguous granules, as far as equal parent entries reach."""
    rd, rtt_pa, ipa, ulevel = args[:4]
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not realm.rtt_level_start < level <= PAGE_LEVEL:
        return NONE
    step = size(level - 1)
    if tuple(stride[:4]) != (0, GRANULE_BYTES, step, 0) or rtt_pa & GRANULE_MASK:
        return NONE
    if ipa & step - 1 or ipa >> realm.ipa_width:
        return NONE
    found = core.walk(realm, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK == TABLE:
        return NONE
    used = min(_run_from(found), ((1 << realm.ipa_width) - ipa) // step, count)
    done = core.granules.run_length(rtt_pa, DELEGATED, used)
    if not done or (rtt_pa + done * GRANULE_BYTES > 1 << 48 and not realm.lpa2):
        return NONE
    advance = found.table.step(found.entry)
    for at in range(done):
        core.state.tables[rtt_pa + at * GRANULE_BYTES] = child_of(found.entry + at * advance, level)
    found.table.set_range(found.index, found.index + done, table_entry(rtt_pa))
    core.granules.set_run(rtt_pa, RTT_STATE, done)
    return done, SUCCESS


def _is_page(realm: Realm, ipa: int, data: int) -> bool:
    return not (ipa | data) & GRANULE_MASK and ipa < realm.half


def _run_from(found: Walk) -> int:
    first, end, _ = next(found.table.runs(found.index, ENTRIES))
    return end - first


BULK: dict[int, Bulk] = {
    int(Rmi.GRANULE_DELEGATE): delegate,
    int(Rmi.GRANULE_UNDELEGATE): undelegate,
    int(Rmi.DATA_CREATE_UNKNOWN): create_unknown,
    int(Rmi.DATA_DESTROY): destroy,
    int(Rmi.RTT_CREATE): rtt_create,
}
"""Handlers by function id."""
