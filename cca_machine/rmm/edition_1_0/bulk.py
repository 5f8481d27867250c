"""Runs of equal commands over contiguous granules in one step: what `count` single calls would come to, at less cost.

Each handler does as many leading calls as it can answer SUCCESS to at once, and returns how many and the last answer;
zero means that the single command has to look at the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, Ripas, Rmi, RmiStatus
from cca_machine.abi.smc import Registers, signed
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import Gpi
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import SUCCESS, answer
from cca_machine.rmm.edition_1_0.data import DATA, after_destroy
from cca_machine.rmm.edition_1_0.granule import DELEGATED, UNDELEGATED
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import RIM, extend_data_run
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ENTRIES,
    KIND_MASK,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED,
    Table,
    Walk,
    address_of,
    assigned,
    folded,
    ripas_of,
    size,
    skip,
    table_entry,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState
from cca_machine.rmm.table_store import Row

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


def create(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """DATA_CREATE with data, ipa and src going upward together, as far as one table reaches."""
    rd, data, ipa, src, flags = args[:5]
    realm = core.state.realms.get(rd)
    if tuple(stride[:5]) != (0, GRANULE_BYTES, GRANULE_BYTES, GRANULE_BYTES, 0) or realm is None:
        return NONE
    if realm.state is not RealmState.NEW or flags & ~DATA_FLAG_MEASURE or src & GRANULE_MASK:
        return NONE
    found, ready = _room(core, realm, data, ipa, count)
    ready = core.granules.run_length(src, UNDELEGATED, ready)
    ready = core.memory.gpt.run_length(src, Gpi.NON_SECURE, ready)
    if found is None or not ready:
        return NONE
    pages = core.memory.pages(src, ready)
    rims = realm.measurements
    rims[RIM] = extend_data_run(realm.hash_algo, rims[RIM], ipa, flags, pages, GRANULE_BYTES)
    core.memory.put_pages(data, pages)
    found.table.set_range(found.index, found.index + ready, assigned(data, Ripas.RAM))
    core.granules.set_run(data, DATA, ready)
    return ready, SUCCESS


def create_unknown(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """DATA_CREATE_UNKNOWN with data and ipa going upward together, as far as one table or a row of them reaches."""
    rd, data, ipa = args[:3]
    realm = core.state.realms.get(rd)
    if tuple(stride[:3]) != (0, GRANULE_BYTES, GRANULE_BYTES) or realm is None:
        return NONE
    filled = _fill_row(core, realm, data, ipa, count)
    if filled:
        return filled, SUCCESS
    found, ready = _room(core, realm, data, ipa, count)
    if found is None:
        return NONE
    found.table.set_range(found.index, found.index + ready, assigned(data, ripas_of(found.entry)))
    core.granules.set_run(data, DATA, ready)
    return ready, SUCCESS


def destroy(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """DATA_DESTROY with ipa going upward, as far as contiguous memory in one table or a row of them reaches."""
    rd, ipa = args[:2]
    realm = core.state.realms.get(rd)
    if tuple(stride[:2]) != (0, GRANULE_BYTES) or realm is None or not _is_page(realm, ipa, 0):
        return NONE
    emptied = _empty_row(core, realm, ipa, count)
    if emptied[0]:
        return emptied
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
    core.state.tables.add_row(Row(rtt_pa, done, level, found.entry, found.table.step(found.entry)))
    found.table.set_range(found.index, found.index + done, table_entry(rtt_pa))
    core.granules.set_run(rtt_pa, int(GranuleState.RTT), done)
    return done, SUCCESS


def rtt_destroy(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """RTT_DESTROY of neighbouring empty tables of one row below protected addresses."""
    rd, ipa, ulevel = args[:3]
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not realm.rtt_level_start < level <= PAGE_LEVEL:
        return NONE
    step = size(level - 1)
    if tuple(stride[:3]) != (0, step, 0) or ipa & step - 1 or ipa >= realm.half:
        return NONE
    found, row, ready = _row_below(core, realm, ipa, level)
    if row is None or row.value & KIND_MASK != UNASSIGNED:
        return NONE
    done = min(ready, (realm.half - ipa) // step, count)
    core.state.tables.drop_row(row.base, done)
    core.granules.set_run(row.base, DELEGATED, done)
    gone = unassigned(Ripas.DESTROYED)
    found.table.set_range(found.index, found.index + done, gone)
    at_last = Walk(found.level, found.table_pa, found.table, found.index + done - 1, gone)
    top = skip(at_last, ipa + (done - 1) * step, core.quirks.scan_whole_lowest_level)
    return done, answer(RmiStatus.SUCCESS, row.base + (done - 1) * GRANULE_BYTES, top)


def rtt_fold(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Registers]:
    """RTT_FOLD of neighbouring tables of one row into neighbouring entries above."""
    rd, ipa, ulevel = args[:3]
    realm, level = core.state.realms.get(rd), signed(ulevel)
    if realm is None or not realm.rtt_level_start < level <= PAGE_LEVEL:
        return NONE
    step = size(level - 1)
    if tuple(stride[:3]) != (0, step, 0) or ipa & step - 1 or ipa >> realm.ipa_width:
        return NONE
    found, row, ready = _row_below(core, realm, ipa, level)
    if row is None:
        return NONE
    parent = folded(Table.uniform(level, row.value))
    if parent is None or row.advance != found.table.step(parent):
        return NONE
    done = min(ready, count)
    core.state.tables.drop_row(row.base, done)
    core.granules.set_run(row.base, DELEGATED, done)
    found.table.set_range(found.index, found.index + done, parent)
    return done, answer(RmiStatus.SUCCESS, row.base + (done - 1) * GRANULE_BYTES)


def _fill_row(core: Core, realm: Realm, data: int, ipa: int, count: int) -> int:
    """Pages mapped by filling whole tables of a row of empty ones from `ipa` on; 0 where there is no such row."""
    pages = ENTRIES
    if count < pages or ipa & size(PAGE_LEVEL - 1) - 1 or not _is_page(realm, ipa, data):
        return 0
    _, row, ready = _row_below(core, realm, ipa, PAGE_LEVEL)
    if row is None or row.value & KIND_MASK != UNASSIGNED:
        return 0
    done = core.granules.run_length(data, DELEGATED, min(ready, count // pages) * pages) // pages
    if not done or (data + done * pages * GRANULE_BYTES > 1 << 48 and not realm.lpa2):
        return 0
    core.state.tables.drop_row(row.base, done)
    mapped = assigned(data, ripas_of(row.value))
    core.state.tables.add_row(Row(row.base, done, PAGE_LEVEL, mapped, pages * GRANULE_BYTES))
    core.granules.set_run(data, DATA, done * pages)
    return done * pages


def _empty_row(core: Core, realm: Realm, ipa: int, count: int) -> tuple[int, Registers]:
    """Pages taken back by emptying whole tables of a row of full ones from `ipa` on, and the last answer."""
    pages = ENTRIES
    if count < pages or ipa & size(PAGE_LEVEL - 1) - 1:
        return NONE
    _, row, ready = _row_below(core, realm, ipa, PAGE_LEVEL)
    if row is None or row.value & KIND_MASK != ASSIGNED or row.advance != pages * GRANULE_BYTES:
        return NONE
    done = min(ready, count // pages)
    core.state.tables.drop_row(row.base, done)
    left = unassigned(after_destroy(ripas_of(row.value)))
    core.state.tables.add_row(Row(row.base, done, PAGE_LEVEL, left, 0))
    data, end = address_of(row.value), done * pages * GRANULE_BYTES
    core.granules.set_run(data, DELEGATED, done * pages)
    core.memory.scrub_run(data, done * pages)
    return done * pages, answer(RmiStatus.SUCCESS, data + end - GRANULE_BYTES, ipa + end)


def _row_below(core: Core, realm: Realm, ipa: int, level: int) -> tuple[Walk, Row | None, int]:
    """The walk to the entry above `level`, the row of tables that begins below it, and how many entries follow it."""
    found = core.walk(realm, ipa, level - 1)
    if found.level < level - 1 or found.entry & KIND_MASK != TABLE:
        return found, None, 0
    row = core.state.tables.row_from(address_of(found.entry))
    return found, row, 0 if row is None else min(row.count, _run_from(found))


def _room(core: Core, realm: Realm, data: int, ipa: int, count: int) -> tuple[Walk | None, int]:
    """Where pages from `ipa` upward would go, and how many of the granules from `data` upward can go there."""
    if not _is_page(realm, ipa, data):
        return None, 0
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL or found.entry & KIND_MASK != UNASSIGNED:
        return None, 0
    ready = core.granules.run_length(data, DELEGATED, min(count, _run_from(found)))
    if not ready or (data + ready * GRANULE_BYTES > 1 << 48 and not realm.lpa2):
        return None, 0
    return found, ready


def _is_page(realm: Realm, ipa: int, data: int) -> bool:
    return not (ipa | data) & GRANULE_MASK and ipa < realm.half


def _run_from(found: Walk) -> int:
    first, end, _ = next(found.table.runs(found.index, ENTRIES))
    return end - first


BULK: dict[int, Bulk] = {
    int(Rmi.GRANULE_DELEGATE): delegate,
    int(Rmi.GRANULE_UNDELEGATE): undelegate,
    int(Rmi.DATA_CREATE): create,
    int(Rmi.DATA_CREATE_UNKNOWN): create_unknown,
    int(Rmi.DATA_DESTROY): destroy,
    int(Rmi.RTT_CREATE): rtt_create,
    int(Rmi.RTT_DESTROY): rtt_destroy,
    int(Rmi.RTT_FOLD): rtt_fold,
}
"""Handlers by function id."""
