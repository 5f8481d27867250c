"""Protected memory: DATA_CREATE, DATA_CREATE_UNKNOWN, DATA_DESTROY (DEN0137 1.0-rel0, sections B4.3.1 to B4.3.3)."""

from __future__ import annotations

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, PAGE_BYTES, Ripas, RmiStatus
from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm import measurement
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, RTT, SUCCESS, answer, rtt
from cca_machine.rmm.edition_1_0.granule import DELEGATED, UNDELEGATED, is_in
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED,
    KIND_MASK,
    PAGE_LEVEL,
    UNASSIGNED,
    Walk,
    address_of,
    assigned,
    ripas_of,
    skip,
    unassigned,
)
from cca_machine.rmm.state import Realm, RealmState

DATA = int(GranuleState.DATA)


def create(core: Core, rd: int, data: int, ipa: int, src: int, flags: int) -> Registers:
    """DATA_CREATE: a page with Host-given content, before activation; extends the RIM."""
    granules = core.granules
    if flags & ~DATA_FLAG_MEASURE and not core.quirks.reserved_flags_ignored:
        return INPUT
    realm = core.state.realms.get(rd)
    if not is_in(granules, src, UNDELEGATED) or realm is None or not is_in(granules, data, DELEGATED):
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    found = _place(core, realm, data, ipa)
    if isinstance(found, tuple):
        return found
    try:
        page = core.memory.read(World.NS, src, PAGE_BYTES)
    except GranuleProtectionFault:
        return INPUT
    measured = page if flags & DATA_FLAG_MEASURE else None
    rims = realm.measurements
    rims[measurement.RIM] = measurement.extend_data(realm.hash_algo, rims[measurement.RIM], ipa, flags, measured)
    core.memory.put_page(data, page)
    found.table.set(found.index, assigned(data, Ripas.RAM))
    granules.set(data, DATA)
    return SUCCESS


def create_unknown(core: Core, rd: int, data: int, ipa: int) -> Registers:
    """DATA_CREATE_UNKNOWN: a page of zeros at any time; RIPAS stays."""
    granules = core.granules
    realm = core.state.realms.get(rd)
    if realm is None or not is_in(granules, data, DELEGATED):
        return INPUT
    found = _place(core, realm, data, ipa)
    if isinstance(found, tuple):
        return found
    found.table.set(found.index, assigned(data, ripas_of(found.entry)))
    granules.set(data, DATA)
    return SUCCESS


def destroy(core: Core, rd: int, ipa: int) -> Registers:
    """DATA_DESTROY: take a page away; what was RAM becomes DESTROYED."""
    realm = core.state.realms.get(rd)
    if realm is None or ipa & GRANULE_MASK or ipa >= realm.half:
        return INPUT
    found = core.walk(realm, ipa, PAGE_LEVEL)
    entry = found.entry
    if found.level < PAGE_LEVEL or entry & KIND_MASK != ASSIGNED:
        return rtt(found.level, 0, skip(found, ipa, core.quirks.scan_whole_lowest_level))
    data = address_of(entry)
    found.table.set(found.index, unassigned(after_destroy(ripas_of(entry))))
    core.granules.set(data, DELEGATED)
    core.memory.scrub(data)
    return answer(RmiStatus.SUCCESS, data, skip(found, ipa))


def after_destroy(ripas: int) -> int:
    """RIPAS of a page whose memory was taken away (DEN0137 1.0-rel0, section A5.2.3)."""
    return int(Ripas.EMPTY if ripas == Ripas.EMPTY else Ripas.DESTROYED)


def _place(core: Core, realm: Realm, data: int, ipa: int) -> Walk | Registers:
    if ipa & GRANULE_MASK or ipa >= realm.half or (data >> 48 and not realm.lpa2):
        return INPUT
    found = core.walk(realm, ipa, PAGE_LEVEL)
    if found.level < PAGE_LEVEL:
        return RTT[found.level]
    return found if found.entry & KIND_MASK == UNASSIGNED else RTT[PAGE_LEVEL]
