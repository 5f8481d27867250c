"""Realms: REALM_CREATE, ACTIVATE, TERMINATE and DESTROY (DEN0137 2.0-bet0; TF-RMM runtime/rmi/realm.c)."""

from __future__ import annotations

import hashlib

from cca_machine.abi.rmi import HashAlgorithm
from cca_machine.abi.rmi2 import (
    FLAGS1_S2AP_INDIRECT,
    FLAGS1_TREE_PER_PLANE,
    MEC_POLICY_MASK,
    MEC_POLICY_SHIFT,
    MEC_PRIVATE,
    SHA_384,
    PlaneTables,
    RealmFlags0,
    RealmParams2,
)
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm import measurement, mecid
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import GLOBAL, INPUT, REALM, SUCCESS, Answer
from cca_machine.rmm.edition_2_0.checks import DELEGATED, RTT_STATE, host_page, is_in
from cca_machine.rmm.features import (
    LEVEL_0_START_PA_BITS,
    MAX_IPA_WIDTH,
    MAX_IPA_WIDTH_LPA2,
    MIN_IPA_WIDTH,
    RmmFeatures,
)
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.permissions import default_bits, initial_overlays
from cca_machine.rmm.rtt import ENTRIES, KIND_MASK, MIN_LEVEL, PAGE_LEVEL, UNASSIGNED, size, starts_unprotected
from cca_machine.rmm.state import PlaneConfiguration, Realm, RealmState

_VMID_BITS = {False: 8, True: 16}


def create(core: Core, rd: int, params_ptr: int) -> Answer:
    """REALM_CREATE: a NEW Realm with empty root tables; the RMM chooses VMIDs and MECID."""
    page = host_page(core, params_ptr)
    if page is None:
        return INPUT
    params = RealmParams2.decode(page)
    if not _is_supported(core, params) or geometry_fault(params, core.features) or plane_fault(core, params):
        return INPUT
    planes = _planes(params)
    trees = [params.rtt_base, *planes.aux_rtt_base]
    span = params.rtt_num_start * GRANULE_BYTES
    if any(base & span - 1 for base in trees):
        return INPUT
    vmids = free_vmids(core, planes.count)
    private = params.flags >> MEC_POLICY_SHIFT & MEC_POLICY_MASK == MEC_PRIVATE
    if vmids is None or (private and contexts_full(core)):
        return GLOBAL
    granules = [*(base + offset for base in trees for offset in range(0, span, GRANULE_BYTES)), rd]
    if len(set(granules)) != len(granules) or not all(is_in(core, pa, DELEGATED) for pa in granules):
        return INPUT
    planes.vmids = vmids
    _build(core, rd, params, planes, private)
    return SUCCESS


def activate(core: Core, rd: int) -> Answer:
    """REALM_ACTIVATE: the RIM is final, RECs may run."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if realm.state is not RealmState.NEW:
        return REALM
    realm.state = RealmState.ACTIVE
    return SUCCESS


def terminate(core: Core, rd: int) -> Answer:
    """REALM_TERMINATE: from any state to ZOMBIE, unless a REC runs."""
    realm = core.state.realms.get(rd)
    if realm is None:
        return INPUT
    if any(rec.running for rec in core.state.recs.values() if rec.rd == rd):
        return REALM
    realm.state = RealmState.ZOMBIE
    return SUCCESS


def destroy(core: Core, rd: int) -> Answer:
    """REALM_DESTROY: a ZOMBIE with no REC and nothing below its root tables; VMIDs and MECID are free again."""
    state = core.state
    realm = state.realms.get(rd)
    if realm is None:
        return INPUT
    roots = [
        root + index * GRANULE_BYTES
        for root in (realm.rtt_base, *realm.planes.aux_rtt_base)
        for index in range(realm.rtt_num_start)
    ]
    if realm.num_recs or realm.state is not RealmState.ZOMBIE or any(state.tables[root].live for root in roots):
        return REALM
    for root in roots:
        del state.tables[root]
        state.granules.set(root, DELEGATED)
    del state.realms[rd]
    for vmid in realm.planes.vmids:
        del state.vmids[vmid]
    state.granules.set(rd, DELEGATED)
    mecid.release(core, realm.mecid)
    return SUCCESS


def _is_supported(core: Core, params: RealmParams2) -> bool:
    features, flags = core.features, RealmFlags0(params.flags & 0xF)
    if RealmFlags0.LPA2 in flags and not features.lpa2:
        return False
    if not MIN_IPA_WIDTH <= params.s2sz <= features.s2sz:
        return False
    if not 0 < params.num_bps <= features.num_bps or not 0 < params.num_wps <= features.num_wps:
        return False
    if RealmFlags0.SVE in flags and (features.sve_vl is None or params.sve_vl > features.sve_vl):
        return False
    counters = features.pmu_num_ctrs if features.later.pmu else 0
    if RealmFlags0.PMU in flags and (
        not (features.later.pmu or core.quirks.pmu_flag_unchecked)
        or params.pmu_num_ctrs > counters
        or (not params.pmu_num_ctrs and not features.hpmn0)
    ):
        return False
    if RealmFlags0.DA in flags and not features.later.devices:
        return False
    if params.flags >> MEC_POLICY_SHIFT & MEC_POLICY_MASK > MEC_PRIVATE:
        return False
    if params.hash_algo == SHA_384:
        return features.later.sha_384 or core.quirks.sha_384_unadvertised
    return params.hash_algo in HashAlgorithm.__members__.values()


def geometry_fault(params: RealmParams2, features: RmmFeatures) -> str:
    """Id of the condition that starting level, IPA width and number of root tables break; empty if none."""
    lpa2 = bool(params.flags & RealmFlags0.LPA2)
    width, start = params.s2sz, params.rtt_level_start
    if not (MIN_LEVEL if lpa2 else 0) <= start <= PAGE_LEVEL:
        return "rtt_start_negative" if start < 0 else "rtt_start"
    smallest = 9 * (PAGE_LEVEL - start) + 13
    largest = smallest + (3 if start == MIN_LEVEL else 8)
    if start > 0 or (start == 0 and lpa2):
        largest += 4
    largest = min(largest, MAX_IPA_WIDTH_LPA2 if lpa2 else MAX_IPA_WIDTH)
    if not smallest <= width <= largest or (start == 0 and features.pa_width < LEVEL_0_START_PA_BITS):
        return "rtt_start"
    roots = 1 << max(width - (9 * (PAGE_LEVEL - start) + 21), 0)
    return "" if params.rtt_num_start == roots else "rtt_num_level"


def plane_fault(core: Core, params: RealmParams2) -> str:
    """What is wrong with the planes that a Host wants; empty if nothing."""
    later = core.features.later
    per_plane = bool(params.flags1 & FLAGS1_TREE_PER_PLANE)
    indirect = bool(params.flags1 & FLAGS1_S2AP_INDIRECT)
    if params.num_aux_planes > later.max_aux_planes:
        return "num_aux_planes"
    if params.ats_plane > params.num_aux_planes:
        return "ats_plane"
    if params.num_aux_planes:
        forbidden = PlaneTables.SINGLE_TREE if per_plane else PlaneTables.TREE_PER_PLANE
        if later.plane_tables is forbidden:
            return "tree"
        if per_plane is indirect:
            return "tree_s2ap"
    return "" if later.s2ap_indirect or not indirect else "s2ap"


def _planes(params: RealmParams2) -> PlaneConfiguration:
    per_plane = bool(params.num_aux_planes and params.flags1 & FLAGS1_TREE_PER_PLANE)
    return PlaneConfiguration(
        aux=params.num_aux_planes,
        tree_per_plane=per_plane,
        indirect=bool(params.flags1 & FLAGS1_S2AP_INDIRECT),
        ats_plane=params.ats_plane,
        aux_rtt_base=list(params.aux_rtt_base[: params.num_aux_planes]) if per_plane else [],
        overlays=initial_overlays(params.num_aux_planes + 1),
        locked=1 | 1 << 15,
    )


def free_vmids(core: Core, count: int) -> list[int] | None:
    """The lowest `count` VMIDs that no Realm has, or None when there are not that many."""
    free = (vmid for vmid in range(1 << _VMID_BITS[core.features.vmid16]) if vmid not in core.state.vmids)
    taken = [vmid for vmid, _ in zip(free, range(count), strict=False)]
    return taken if len(taken) == count else None


def contexts_full(core: Core) -> bool:
    """Whether every private memory encryption context is taken."""
    count = core.features.later.mec_count
    return 0 < count <= len(core.state.mec.private)


def _build(core: Core, rd: int, params: RealmParams2, planes: PlaneConfiguration, private: bool) -> None:
    state = core.state
    state.realms_created += 1
    seed = b"".join((state.realms_created.to_bytes(8, "little"), rd.to_bytes(8, "little"), params.rpv))
    rim = measurement.initial_rim(params) if core.quirks.rim_hashes_params else measurement.ZERO_MEASUREMENT
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
        vmid=planes.vmids[0],
        rtt_base=params.rtt_base,
        rtt_level_start=params.rtt_level_start,
        rtt_num_start=params.rtt_num_start,
        num_aux=core.features.max_rec_aux,
        measurements=[rim] + [measurement.ZERO_MEASUREMENT] * 4,
        planes=planes,
        mecid=mecid.allocate(core, rd, private) or 0,
        instance_id=b"\x01" + hashlib.sha256(b"realm instance" + seed).digest(),
    )
    for tree, base in enumerate((realm.rtt_base, *planes.aux_rtt_base)):
        _make_roots(core, realm, tree, base)
    state.granules.set(rd, int(GranuleState.RD))
    state.realms[rd] = realm
    for vmid in planes.vmids:
        state.vmids[vmid] = rd


def _make_roots(core: Core, realm: Realm, tree: int, base: int) -> None:
    level, bits = realm.rtt_level_start, default_bits(realm, tree)
    for index in range(realm.rtt_num_start):
        table = starts_unprotected(realm.half, index * ENTRIES * size(level), level)
        table.values = [value | bits if value & KIND_MASK == UNASSIGNED else value for value in table.values]
        root = base + index * GRANULE_BYTES
        core.state.tables[root] = table
        core.state.granules.set(root, RTT_STATE)
