"""Realms: REALM_CREATE, ACTIVATE, DESTROY and REC_AUX_COUNT (DEN0137 1.0-rel0, sections B4.3.9 to B4.3.11, B4.3.12)."""

from __future__ import annotations

from cca_machine.abi.rmi import HashAlgorithm, RealmFlags, RealmParams, RmiStatus
from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm import measurement
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, SUCCESS, answer
from cca_machine.rmm.edition_1_0.granule import DELEGATED, is_in
from cca_machine.rmm.edition_1_0.params import host_page, realm_params
from cca_machine.rmm.features import (
    LEVEL_0_START_PA_BITS,
    MAX_IPA_WIDTH,
    MAX_IPA_WIDTH_LPA2,
    MIN_IPA_WIDTH,
    RmmFeatures,
)
from cca_machine.rmm.granule import GranuleState, move
from cca_machine.rmm.rtt import ENTRIES, MIN_LEVEL, PAGE_LEVEL, size, starts_unprotected
from cca_machine.rmm.state import Realm, RealmState

MAX_CONCATENATED = 16


def create(core: Core, rd: int, params_ptr: int) -> Registers:
    """REALM_CREATE: a NEW Realm with empty root tables; its parameters are the start of the RIM."""
    page = host_page(core, params_ptr)
    if page is None:
        return INPUT
    params = realm_params(core, page)
    if params is None or not _is_supported(params, core.features) or not _is_geometry(params, core.features):
        return INPUT
    alignment = params.rtt_num_start * GRANULE_BYTES
    if not core.quirks.rtt_base_page_aligned and params.rtt_base % alignment:
        return INPUT
    if params.vmid in core.state.vmids or (params.vmid >> 8 and not core.features.vmid16):
        return INPUT
    roots = range(params.rtt_base, params.rtt_base + alignment, GRANULE_BYTES)
    granules = core.granules
    if rd in roots or not all(is_in(granules, pa, DELEGATED) for pa in (*roots, rd)):
        return INPUT
    _build(core, rd, params, roots)
    return SUCCESS


def activate(core: Core, rd: int) -> Registers:
    """REALM_ACTIVATE: the RIM is final, RECs may run."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    realm.state = RealmState.ACTIVE
    return SUCCESS


def destroy(core: Core, rd: int) -> Registers:
    """REALM_DESTROY: nothing protected may be left, and no REC; the VMID is free again."""
    state = core.state
    realm = state.realms.get(rd)
    if realm is None:
        return INPUT
    roots = [realm.rtt_base + index * GRANULE_BYTES for index in range(realm.rtt_num_start)]
    if realm.num_recs or any(state.tables[root].live for root in roots):
        return REALM
    for root in roots:
        del state.tables[root]
        move(state.granules, root, GranuleState.DELEGATED)
    del state.realms[rd]
    del state.vmids[realm.vmid]
    move(state.granules, rd, GranuleState.DELEGATED)
    return SUCCESS


def rec_aux_count(core: Core, rd: int) -> Registers:
    """REC_AUX_COUNT: auxiliary granules that each REC of the Realm needs."""
    realm = core.state.realms.get(rd)
    return INPUT if realm is None else answer(RmiStatus.SUCCESS, realm.num_aux)


def root_tables_needed(ipa_width: int, start_level: int) -> int:
    """Concatenated tables at `start_level` that cover 2^`ipa_width` bytes (DEN0137 1.0-rel0, section A5.5.4)."""
    one_table_bits = 9 * (PAGE_LEVEL - start_level) + 21
    return 1 << max(ipa_width - one_table_bits, 0)


def _is_supported(params: RealmParams, features: RmmFeatures) -> bool:
    flags = RealmFlags(params.flags & 7)
    if params.hash_algo not in HashAlgorithm.__members__.values():
        return False
    if RealmFlags.LPA2 in flags and not features.lpa2:
        return False
    if not MIN_IPA_WIDTH <= params.s2sz <= features.s2sz:
        return False
    if not 0 < params.num_bps <= features.num_bps or not 0 < params.num_wps <= features.num_wps:
        return False
    if RealmFlags.SVE in flags and (features.sve_vl is None or params.sve_vl > features.sve_vl):
        return False
    if RealmFlags.PMU in flags:
        return params.pmu_num_ctrs <= features.pmu_num_ctrs and (params.pmu_num_ctrs > 0 or features.hpmn0)
    return True


def _is_geometry(params: RealmParams, features: RmmFeatures) -> bool:
    lpa2 = bool(params.flags & RealmFlags.LPA2)
    width, start = params.s2sz, params.rtt_level_start
    if width > (MAX_IPA_WIDTH_LPA2 if lpa2 else MAX_IPA_WIDTH):
        return False
    if not (MIN_LEVEL if lpa2 else 0) <= start <= PAGE_LEVEL:
        return False
    if start == 0 and features.pa_width < LEVEL_0_START_PA_BITS:
        return False
    smallest = 9 * (PAGE_LEVEL - start) + 13
    largest = smallest + (3 if start == MIN_LEVEL else 8)
    if start > 0 or (start == 0 and lpa2):
        largest += 4
    return smallest <= width <= largest and params.rtt_num_start == root_tables_needed(width, start)


def _build(core: Core, rd: int, params: RealmParams, roots: range) -> None:
    state = core.state
    realm = Realm(
        state=RealmState.NEW,
        flags=params.flags,
        ipa_width=params.s2sz,
        sve_vl=params.sve_vl,
        num_bps=params.num_bps,
        num_wps=params.num_wps,
        pmu_num_ctrs=params.pmu_num_ctrs,
        hash_algo=params.hash_algo,
        rpv=params.rpv,
        vmid=params.vmid,
        rtt_base=params.rtt_base,
        rtt_level_start=params.rtt_level_start,
        rtt_num_start=params.rtt_num_start,
        num_aux=core.features.max_rec_aux,
        measurements=[measurement.initial_rim(params)] + [measurement.ZERO_MEASUREMENT] * 4,
    )
    level = realm.rtt_level_start
    for index, root in enumerate(roots):
        state.tables[root] = starts_unprotected(realm.half, index * ENTRIES * size(level), level)
        move(state.granules, root, GranuleState.RTT)
    move(state.granules, rd, GranuleState.RD)
    state.realms[rd] = realm
    state.vmids[realm.vmid] = rd
