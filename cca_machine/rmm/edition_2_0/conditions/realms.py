"""Failure conditions of commands on Realms, RECs, stateful operations and the RMM as a whole."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi import HashAlgorithm
from cca_machine.abi.rmi2 import (
    FLAGS1_TREE_PER_PLANE,
    MEC_POLICY_MASK,
    MEC_POLICY_SHIFT,
    MEC_PRIVATE,
    REC_ENTER_2_0,
    RMM_CONFIG,
    SHA_384,
    RealmFlags0,
    RealmParams2,
    RecEnter2,
    RecEnterFlags2,
    RecParams2,
    Rmi2,
)
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import L0_REGION_BYTES
from cca_machine.rmm import address_list, psci
from cca_machine.rmm.answer_exit import may_answer_abort
from cca_machine.rmm.conditions import (
    PSCI_COMPLETE,
    RD,
    REALM_IS_NEW,
    REC,
    Check,
    Look,
    accessible,
    granule,
)
from cca_machine.rmm.edition_2_0.conditions.shared import HANDLES, list_page_is_missing
from cca_machine.rmm.edition_2_0.realm import contexts_full, free_vmids, geometry_fault, plane_fault
from cca_machine.rmm.edition_2_0.rec import MPIDR_BITS
from cca_machine.rmm.edition_2_0.system import GRANULE_4_KIB, TRACKING_REGION_1_GIB
from cca_machine.rmm.features import MIN_IPA_WIDTH
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.operation import Operation
from cca_machine.rmm.state import RealmState
from cca_machine.rmm.versions import negotiate


def _params(look: Look) -> RealmParams2:
    return RealmParams2.decode(look.page("params_ptr"))


def _rec_params(look: Look) -> RecParams2:
    return RecParams2.decode(look.page("params_ptr"))


def _entry(look: Look) -> RecEnter2:
    return RecEnter2.decode(look.page("run_ptr")[: REC_ENTER_2_0.size])


def _flag(look: Look, flag: RealmFlags0) -> bool:
    return bool(_params(look).flags & flag)


def _supp(label: str, says: str, holds: Callable[[Look], bool]) -> Check:
    return Check(f"params_supp_{label}", says, holds)


def _sve(look: Look) -> bool:
    most = look.core.features.sve_vl
    return _flag(look, RealmFlags0.SVE) and (most is None or _params(look).sve_vl > most)


def _pmu(look: Look) -> bool:
    later, given = look.core.features.later, _params(look)
    if not _flag(look, RealmFlags0.PMU):
        return False
    counters = look.core.features.pmu_num_ctrs if later.pmu else 0
    missing = not later.pmu and not look.core.quirks.pmu_flag_unchecked
    return missing or given.pmu_num_ctrs > counters or (not given.pmu_num_ctrs and not look.core.features.hpmn0)


def _policy(look: Look) -> int:
    return _params(look).flags >> MEC_POLICY_SHIFT & MEC_POLICY_MASK


def _hash(look: Look) -> bool:
    if _params(look).hash_algo == SHA_384:
        return not (look.core.features.later.sha_384 or look.core.quirks.sha_384_unadvertised)
    return _params(look).hash_algo not in HashAlgorithm.__members__.values()


def _trees(look: Look) -> list[int]:
    given = _params(look)
    own = given.num_aux_planes and given.flags1 & FLAGS1_TREE_PER_PLANE
    return [given.rtt_base, *(given.aux_rtt_base[: given.num_aux_planes] if own else ())]


def _roots(look: Look) -> list[int]:
    count = _params(look).rtt_num_start
    return [base + offset * GRANULE_BYTES for base in _trees(look) for offset in range(count)]


def _plane(label: str, says: str, fault: str) -> Check:
    return Check(label, says, lambda c: plane_fault(c.core, _params(c)) == fault)


def _geometry(label: str, says: str) -> Check:
    return Check(label, says, lambda c: geometry_fault(_params(c), c.core.features) == label)


PARAMS = (*granule("params_ptr", GranuleState.UNDELEGATED), accessible("params_ptr", "params"))

_CREATE = (
    *PARAMS,
    _supp("lpa2", "LPA2 is not supported", lambda c: _flag(c, RealmFlags0.LPA2) and not c.core.features.lpa2),
    _supp("s2sz_low", "the IPA space is below 32 bits", lambda c: _params(c).s2sz < MIN_IPA_WIDTH),
    _supp("s2sz_high", "the IPA space is wider than S2SZ", lambda c: _params(c).s2sz > c.core.features.s2sz),
    _supp("bps_zero", "num_bps 0 is reserved", lambda c: not _params(c).num_bps),
    _supp("bps", "fewer breakpoints are there", lambda c: _params(c).num_bps > c.core.features.num_bps),
    _supp("wps_zero", "num_wps 0 is reserved", lambda c: not _params(c).num_wps),
    _supp("wps", "fewer watchpoints are there", lambda c: _params(c).num_wps > c.core.features.num_wps),
    _supp("sve", "SVE, or that vector length, is not supported", _sve),
    _supp("pmu", "no PMU is shown, or not that many counters", _pmu),
    _supp(
        "da", "device assignment is not supported",
        lambda c: _flag(c, RealmFlags0.DA) and not c.core.features.later.devices,
    ),
    Check("mec_policy", "reserved MEC policy", lambda c: _policy(c) > MEC_PRIVATE),
    Check("params_valid_hash", "hash_algo names no algorithm, or one that is not shown", _hash),
    _geometry("rtt_start_negative", "level -1 needs LPA2"),
    _geometry("rtt_start", "the starting level does not fit the IPA width"),
    _geometry("rtt_num_level", "the number of root tables does not fit"),
    _plane("num_aux_planes", "more auxiliary planes than feature register 3 shows", "num_aux_planes"),
    _plane("ats_plane", "the Realm has no such plane", "ats_plane"),
    _plane("planes_supp_tree", "feature register 3 does not show this way of translating planes", "tree"),
    _plane("planes_tree_s2ap", "direct permissions need a tree per plane, indirect ones a single tree", "tree_s2ap"),
    _plane("planes_supp_s2ap", "indirect permissions are not supported", "s2ap"),
    Check(
        "rtt_align", "a root is not aligned to its tables together",
        lambda c: any(base % (_params(c).rtt_num_start * GRANULE_BYTES) for base in _trees(c)),
    ),
    Check(
        "vmids", "there are not enough VMIDs left",
        lambda c: free_vmids(c.core, _params(c).num_aux_planes + 1) is None,
    ),
    Check("mecids", "there is no private MECID left", lambda c: _policy(c) == MEC_PRIVATE and contexts_full(c.core)),
    Check(
        "alias", "rd is a root table, or two roots overlap",
        lambda c: len({c["rd"], *_roots(c)}) != len(_roots(c)) + 1,
    ),
    *granule("rd", GranuleState.DELEGATED),
    Check("rtt_state", "a root table's granule is not DELEGATED", lambda c: True),
)  # fmt: skip

LATE_REC_CREATE = (
    *PARAMS,
    *RD,
    Check(
        "num_recs",
        "the Realm has as many RECs as it may",
        lambda c: c.realm.num_recs == (1 << c.core.features.max_recs_order) - 1,
    ),
    REALM_IS_NEW,
    Check("mpidr_reserved", "mpidr has a reserved bit set", lambda c: bool(_rec_params(c).mpidr & ~MPIDR_BITS)),
    Check(
        "mpidr_index",
        "mpidr is not that of the next REC",
        lambda c: psci.rec_index(_rec_params(c).mpidr) != c.realm.rec_index,
    ),
)
"""What REC_CREATE looks at when its memory has been donated: found at OP_CONTINUE, told after the memory is back."""


def _operation(look: Look) -> Operation | None:
    return look.core.state.operations.get(look["handle"])


def _waits_for(command: Rmi2) -> tuple[Check, ...]:
    return (
        Check("handle", "no operation has this handle", lambda c: _operation(c) is None),
        Check(
            "expected",
            f"the operation does not wait for {command.name}",
            lambda c: (operation := _operation(c)) is not None and operation.expected != command,
        ),
    )


LIST_ALIGN = Check("list_align", "the list is not aligned to 8 bytes", lambda c: bool(c["list"] % 8), True)


def _donated(look: Look) -> list[int]:
    return address_list.read(look.core, look["list"], address_list.usable_slots(look["list"], look["count"])) or []


def _too_much(look: Look) -> bool:
    operation, total = _operation(look), address_list.total_bytes(_donated(look), address_list.DELEGATED)
    return operation is not None and total is not None and total > operation.transfer_bytes


def _misplaced(look: Look, *, sea: bool) -> bool:
    flags = _entry(look).flags
    inject = bool(flags & RecEnterFlags2.INJECT_SEA)
    emulate = bool(flags & RecEnterFlags2.EMUL_MMIO)
    refused = not may_answer_abort(look.core, look.rec(), inject_sea=inject, emulate=emulate)
    return inject is sea and refused


_CONFIG = (
    Check("config_zero", "there is no page at 0", lambda c: not c["config_ptr"], True),
    *granule("config_ptr", GranuleState.UNDELEGATED),
    accessible("config_ptr", "config"),
)


def _not_in_force(look: Look) -> bool:
    wanted = {"tracking_region_size": TRACKING_REGION_1_GIB, "granule_size": GRANULE_4_KIB}
    return RMM_CONFIG.decode(look.page("config_ptr")) != wanted


REALMS: dict[Rmi2, tuple[Check, ...]] = {
    Rmi2.REALM_CREATE: _CREATE,
    Rmi2.REALM_ACTIVATE: (*RD, REALM_IS_NEW),
    Rmi2.REALM_TERMINATE: (
        *RD,
        Check(
            "rec_running",
            "a REC of the Realm is running",
            lambda c: any(rec.running for rec in c.core.state.recs.values() if rec.rd == c["rd"]),
        ),
    ),
    Rmi2.REALM_DESTROY: (
        *RD,
        Check("realm_live_rec", "the Realm has RECs", lambda c: bool(c.realm.num_recs)),
        Check("realm_state", "the Realm was not terminated", lambda c: c.realm.state is not RealmState.ZOMBIE),
        Check("realm_live_rtt", "a root table still maps something", lambda c: True),
    ),
    Rmi2.REC_CREATE: (*granule("rec", GranuleState.DELEGATED), HANDLES),
    Rmi2.REC_DESTROY: (HANDLES, *REC, Check("rec_state", "the REC is running", lambda c: c.rec().running)),
    Rmi2.REC_ENTER: (
        *granule("run_ptr", GranuleState.UNDELEGATED),
        *REC,
        Check("rec_state", "the REC is running", lambda c: c.rec().running),
        accessible("run_ptr", "run"),
        Check("realm_state", "the Realm is not ACTIVE", lambda c: c.owner.state is not RealmState.ACTIVE),
        Check("rec_runnable", "the REC is not runnable", lambda c: not c.rec().runnable),
        Check("rec_psci", "the REC waits for PSCI_COMPLETE", lambda c: c.rec().psci_pending),
        Check(
            "inject_sea", "the last exit was no data abort at an unprotected IPA", lambda c: _misplaced(c, sea=True)
        ),
        Check("rec_mmio", "the last exit was no emulatable data abort", lambda c: _misplaced(c, sea=False)),
    ),
    Rmi2.PSCI_COMPLETE: PSCI_COMPLETE,
    Rmi2.OP_CONTINUE: _waits_for(Rmi2.OP_CONTINUE),
    Rmi2.OP_MEM_DONATE: (
        *_waits_for(Rmi2.OP_MEM_DONATE),
        LIST_ALIGN,
        Check("list_state", "the list is not in an NS granule", lambda c: list_page_is_missing(c, "list")),
        Check(
            "desc_valid",
            "a range is misaligned, or not said to be delegated",
            lambda c: address_list.total_bytes(_donated(c), address_list.DELEGATED) is None,
        ),
        Check("too_much", "more memory than the operation asked for", _too_much),
    ),
    Rmi2.OP_MEM_RECLAIM: (
        *_waits_for(Rmi2.OP_MEM_RECLAIM),
        LIST_ALIGN,
        Check("list_state", "the list is not in an NS granule", lambda c: list_page_is_missing(c, "list")),
    ),
    Rmi2.OP_CANCEL: (Check("cancel", "no operation of this RMM can be cancelled", lambda c: True),),
    Rmi2.VERSION: (
        Check(
            "req",
            "this revision is not supported, but those in the answer",
            lambda c: not negotiate(c["req"], c.core.features.rmi_versions, False)[0],
        ),
    ),
    Rmi2.FEATURES: (Check("index", "there is no such feature register", lambda c: True),),
    Rmi2.RMM_CONFIG_GET: _CONFIG,
    Rmi2.RMM_CONFIG_SET: (
        *_CONFIG,
        Check("config_supp", "only the configuration in force is supported", _not_in_force),
    ),
    Rmi2.RMM_ACTIVATE: (),
    Rmi2.GRANULE_TRACKING_GET: (
        Check("start_bound", "start is no physical address", lambda c: bool(c["start"] >> c.core.features.pa_width)),
        Check("end_bound", "end is no physical address", lambda c: bool(c["end"] >> c.core.features.pa_width)),
        Check("start_align", "start is not aligned to 4 KiB", lambda c: bool(c["start"] & GRANULE_MASK)),
        Check("end_align", "end is not aligned to 4 KiB", lambda c: bool(c["end"] & GRANULE_MASK)),
        Check("size_valid", "end is not above start", lambda c: c["end"] <= c["start"]),
    ),
    Rmi2.GPT_L1_DESTROY: (
        Check("addr_bound", "addr is no physical address", lambda c: bool(c["addr"] >> c.core.features.pa_width)),
        Check(
            "addr_align", "addr is not aligned to an entry of the L0 table",
            lambda c: bool(c["addr"] % L0_REGION_BYTES),
        ),
        Check("l1_platform", "the L1 table is the platform's, not the Host's", lambda c: True),
    ),
    Rmi2.GPT_L1_CREATE: (
        Check(
            "addr_align", "addr is not aligned to an entry of the L0 table",
            lambda c: bool(c["addr"] % L0_REGION_BYTES),
        ),
        Check("l1_exists", "EL3 made every L1 table at boot", lambda c: True),
    ),
}  # fmt: skip
