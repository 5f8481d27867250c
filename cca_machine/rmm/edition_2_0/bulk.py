"""Runs of equal commands of RMI 2.0 over contiguous granules in one step: what `count` single calls would come to.

Each handler does as many leading calls as it can answer SUCCESS to at once, and returns how many and the last answer;
zero means that the single command has to look at the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, Ripas
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import Gpi
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import SUCCESS, Answer, success
from cca_machine.rmm.edition_2_0.checks import DATA, DELEGATED, MAX_PA_WITHOUT_LPA2, UNDELEGATED, is_ipa
from cca_machine.rmm.measurement import RIM, extend_data_run
from cca_machine.rmm.permissions import PERMISSION_MASK
from cca_machine.rmm.rtt import ENTRIES, KIND_MASK, PAGE_LEVEL, UNASSIGNED, assigned
from cca_machine.rmm.state import RealmState

Bulk = Callable[[Core, Sequence[int], Sequence[int], int], tuple[int, Answer]]
NONE: tuple[int, Answer] = (0, SUCCESS)


def delegate(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Answer]:
    """GRANULE_RANGE_DELEGATE upward, by an RMM that does one granule per call."""
    base, ready = args[0], _granules(core, args, stride, count)
    ready = core.granules.run_length(base, UNDELEGATED, ready) if ready else 0
    done = core.el3.delegate_run(base, ready) if ready else 0
    core.granules.set_run(base, DELEGATED, done)
    core.memory.scrub_run(base, done)
    return done, success(base + done * GRANULE_BYTES)


def undelegate(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Answer]:
    """GRANULE_RANGE_UNDELEGATE upward, by an RMM that does one granule per call."""
    base, ready = args[0], _granules(core, args, stride, count)
    ready = core.granules.run_length(base, DELEGATED, ready) if ready else 0
    done = core.el3.undelegate_run(base, ready) if ready else 0
    core.granules.set_run(base, UNDELEGATED, done)
    core.memory.scrub_run(base, done)
    return done, success(base + done * GRANULE_BYTES)


def data_map_init(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> tuple[int, Answer]:
    """RTT_DATA_MAP_INIT with data, ipa and src going upward together, as far as one table reaches."""
    rd, data, ipa, src, flags = args[:5]
    realm = core.state.realms.get(rd)
    if tuple(stride[:5]) != (0, GRANULE_BYTES, GRANULE_BYTES, GRANULE_BYTES, 0) or realm is None:
        return NONE
    if realm.state is not RealmState.NEW or flags & ~DATA_FLAG_MEASURE or (data | src) & GRANULE_MASK:
        return NONE
    if ipa >= realm.half or not is_ipa(realm, ipa):
        return NONE
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL or found.entry & KIND_MASK != UNASSIGNED:
        return NONE
    first, end, _ = next(found.table.runs(found.index, ENTRIES))
    ready = core.granules.run_length(data, DELEGATED, min(count, end - first))
    ready = core.granules.run_length(src, UNDELEGATED, ready)
    ready = core.memory.gpt.run_length(src, Gpi.NON_SECURE, ready)
    if not ready or (data + ready * GRANULE_BYTES > MAX_PA_WITHOUT_LPA2 and not realm.lpa2):
        return NONE
    pages = core.memory.pages(src, ready)
    rims = realm.measurements
    rims[RIM] = extend_data_run(realm.hash_algo, rims[RIM], ipa, flags, pages, GRANULE_BYTES)
    core.memory.put_pages(data, pages)
    core.memory.assign(data, ready, realm.mecid)
    found.table.set_range(first, first + ready, assigned(data, Ripas.RAM) | found.entry & PERMISSION_MASK)
    core.granules.set_run(data, DATA, ready)
    return ready, SUCCESS


def _granules(core: Core, args: Sequence[int], stride: Sequence[int], count: int) -> int:
    """How many calls of a range command, each for the granule after the last one, may be one step."""
    base, top = args[:2]
    devices = core.state.device_granules
    if not core.quirks.one_granule_per_call or tuple(stride[:2]) != (GRANULE_BYTES, 0) or (base | top) & GRANULE_MASK:
        return 0
    if devices is not None and devices.contains(base):
        return 0
    return min(count, max(top - base, 0) // GRANULE_BYTES)


BULK: dict[int, Bulk] = {
    int(Rmi2.GRANULE_RANGE_DELEGATE): delegate,
    int(Rmi2.GRANULE_RANGE_UNDELEGATE): undelegate,
    int(Rmi2.RTT_DATA_MAP_INIT): data_map_init,
}
"""Handlers by function id."""
