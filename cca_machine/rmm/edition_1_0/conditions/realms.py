"""Failure conditions of commands on Realms and RECs."""

from __future__ import annotations

from collections.abc import Callable

from cca_machine.abi.rmi import (
    MAX_REC_AUX_GRANULES,
    HashAlgorithm,
    RealmFlags,
    RecEnterFlags,
    Rmi,
)
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm import psci, syndrome
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
from cca_machine.rmm.edition_1_0 import params
from cca_machine.rmm.edition_1_0.conditions.pages import entry, realm_params, rec_params
from cca_machine.rmm.edition_1_0.enter import is_gic_state_valid
from cca_machine.rmm.edition_1_0.realm import root_tables_needed
from cca_machine.rmm.features import MIN_IPA_WIDTH
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    PAGE_LEVEL,
)
from cca_machine.rmm.state import RealmState
from cca_machine.rmm.syndrome import ExceptionClass

MPIDR_BITS = 0xFFFF_FF0F


def _supp(label: str, says: str, holds: Callable[[Look], bool]) -> Check:
    return Check(f"params_supp_{label}", says, holds)


def _flag(look: Look, flag: RealmFlags) -> bool:
    return bool(realm_params(look).flags & flag)


def _sve(look: Look) -> bool:
    most = look.core.features.sve_vl
    return _flag(look, RealmFlags.SVE) and (most is None or realm_params(look).sve_vl > most)


def _geometry(look: Look) -> str:
    """rtt_start, rtt_num_level or nothing: what is wrong with starting level and number of root tables."""
    given, features = realm_params(look), look.core.features
    lpa2, start, width = bool(given.flags & RealmFlags.LPA2), given.rtt_level_start, given.s2sz
    if not (-1 if lpa2 else 0) <= start <= PAGE_LEVEL:
        return "rtt_start_negative" if start < 0 else "rtt_start"
    smallest = 9 * (PAGE_LEVEL - start) + 13
    largest = smallest + (3 if start == -1 else 8) + (4 if start > 0 or (start == 0 and lpa2) else 0)
    if not smallest <= width <= largest or width > (52 if lpa2 else 48) or (start == 0 and features.pa_width < 44):
        return "rtt_start"
    return "" if given.rtt_num_start == root_tables_needed(width, start) else "rtt_num_level"


def _roots(look: Look) -> range:
    given = realm_params(look)
    return range(given.rtt_base, given.rtt_base + given.rtt_num_start * GRANULE_BYTES, GRANULE_BYTES)


def _aux(look: Look) -> tuple[int, ...]:
    given = rec_params(look)
    return given.aux[: given.num_aux]


def _last_abort(look: Look) -> bool:
    return syndrome.exception_class(look.rec().last_exit.esr) == ExceptionClass.DATA_ABORT


def _sea_misplaced(look: Look) -> bool:
    if not entry(look).flags & RecEnterFlags.INJECT_SEA or look.core.quirks.inject_sea_ignored:
        return False
    return not (_last_abort(look) and syndrome.faulting_ipa(look.rec().last_exit.hpfar) >= look.owner.half)


def _mmio_misplaced(look: Look) -> bool:
    if entry(look).flags & RecEnterFlags.INJECT_SEA or not entry(look).flags & RecEnterFlags.EMUL_MMIO:
        return False
    return not (_last_abort(look) and look.rec().last_exit.esr & syndrome.ISV)


PARAMS = (*granule("params_ptr", GranuleState.UNDELEGATED), accessible("params_ptr", "params"))

REALMS: dict[Rmi, tuple[Check, ...]] = {
    Rmi.REALM_CREATE: (
        *PARAMS,
        Check(
            "params_valid", "hash_algo names no algorithm",
            lambda c: realm_params(c).hash_algo not in HashAlgorithm.__members__.values(),
        ),
        Check(
            "params_later",
            "a parameter of RMI 1.1 is given (F4)",
            lambda c: params.realm_params(c.core, c.page("params_ptr")) is None,
        ),
        _supp("lpa2", "LPA2 is not supported", lambda c: _flag(c, RealmFlags.LPA2) and not c.core.features.lpa2),
        _supp("sve", "SVE, or that vector length, is not supported", _sve),
        _supp("pmu", "fewer PMU counters are there", lambda c: _flag(c, RealmFlags.PMU)
              and realm_params(c).pmu_num_ctrs > c.core.features.pmu_num_ctrs),
        _supp("pmu_none", "a PMU without counters needs FEAT_HPMN0", lambda c: _flag(c, RealmFlags.PMU)
              and not realm_params(c).pmu_num_ctrs and not c.core.features.hpmn0),
        _supp("s2sz_high", "the IPA space is wider than S2SZ", lambda c: realm_params(c).s2sz > c.core.features.s2sz),
        _supp("s2sz_low", "the IPA space is below 32 bits", lambda c: realm_params(c).s2sz < MIN_IPA_WIDTH),
        _supp("bps_zero", "num_bps 0 is reserved", lambda c: not realm_params(c).num_bps),
        _supp("bps", "fewer breakpoints are there", lambda c: realm_params(c).num_bps > c.core.features.num_bps),
        _supp("wps_zero", "num_wps 0 is reserved", lambda c: not realm_params(c).num_wps),
        _supp("wps", "fewer watchpoints are there", lambda c: realm_params(c).num_wps > c.core.features.num_wps),
        Check("alias", "rd is one of the root tables", lambda c: c["rd"] in _roots(c)),
        *granule("rd", GranuleState.DELEGATED),
        Check(
            "rtt_align", "rtt_base is not aligned to the root tables together",
            lambda c: bool(realm_params(c).rtt_num_start) and not c.core.quirks.rtt_base_page_aligned
            and bool(realm_params(c).rtt_base % (realm_params(c).rtt_num_start * GRANULE_BYTES)),
        ),
        Check("rtt_num_level", "the number of root tables does not fit", lambda c: _geometry(c) == "rtt_num_level"),
        Check("rtt_start", "the starting level does not fit the IPA width", lambda c: _geometry(c) == "rtt_start"),
        Check("rtt_start_negative", "level -1 needs LPA2", lambda c: _geometry(c) == "rtt_start_negative"),
        Check(
            "rtt_state", "a root table's granule is not DELEGATED",
            lambda c: any(pa & GRANULE_MASK or c.state(pa) != GranuleState.DELEGATED for pa in _roots(c)),
        ),
        Check(
            "vmid_valid", "VMIDs have 8 bits here",
            lambda c: bool(realm_params(c).vmid >> 8) and not c.core.features.vmid16,
        ),
        Check("vmid_used", "another Realm has that VMID", lambda c: realm_params(c).vmid in c.core.state.vmids),
    ),
    Rmi.REALM_ACTIVATE: (*RD, REALM_IS_NEW),
    Rmi.REALM_DESTROY: (
        *RD,
        Check("realm_live_rec", "the Realm has RECs", lambda c: bool(c.realm.num_recs)),
        Check("realm_live_rtt", "a root table still maps something", lambda c: True),
    ),
    Rmi.REC_AUX_COUNT: RD,
    Rmi.REC_CREATE: (
        *PARAMS,
        Check(
            "num_aux_high", "more than 16 auxiliary granules",
            lambda c: rec_params(c).num_aux > MAX_REC_AUX_GRANULES,
        ),
        Check("aux_align", "an auxiliary address is not aligned", lambda c: any(pa & GRANULE_MASK for pa in _aux(c))),
        Check("aux_alias", "an auxiliary granule is named twice", lambda c: len(set(_aux(c))) != len(_aux(c))),
        Check("aux_alias_rec", "an auxiliary granule is rec itself", lambda c: c["rec"] in _aux(c)),
        Check(
            "aux_state", "an auxiliary granule is not DELEGATED",
            lambda c: any(c.state(pa) != GranuleState.DELEGATED for pa in _aux(c)),
        ),
        *granule("rec", GranuleState.DELEGATED),
        *RD,
        Check(
            "num_recs", "the Realm has as many RECs as it may",
            lambda c: c.realm.num_recs == (1 << c.core.features.max_recs_order) - 1,
        ),
        REALM_IS_NEW,
        Check(
            "mpidr_index", "mpidr is not that of the next REC",
            lambda c: psci.rec_index(rec_params(c).mpidr) != c.realm.rec_index,
        ),
        Check(
            "mpidr_reserved", "mpidr has a reserved bit set",
            lambda c: bool(rec_params(c).mpidr & ~MPIDR_BITS) and not c.core.quirks.reserved_flags_ignored,
        ),
        Check("num_aux", "not the number of auxiliary granules that a REC needs", lambda c: True),
    ),
    Rmi.REC_DESTROY: (*REC, Check("rec_state", "the REC is running", lambda c: c.rec().running)),
    Rmi.REC_ENTER: (
        *granule("run_ptr", GranuleState.UNDELEGATED),
        *REC,
        Check("rec_state", "the REC is running", lambda c: c.rec().running),
        accessible("run_ptr", "run"),
        Check("realm_new", "the Realm is not activated", lambda c: c.owner.state is RealmState.NEW),
        Check("system_off", "the Realm has switched itself off", lambda c: c.owner.state is RealmState.SYSTEM_OFF),
        Check("rec_runnable", "the REC is not runnable", lambda c: not c.rec().runnable),
        Check("rec_psci", "the REC waits for PSCI_COMPLETE", lambda c: c.rec().psci_pending),
        Check(
            "rec_gicv3", "the GIC state that the Host gives is not valid",
            lambda c: not is_gic_state_valid(entry(c), c.core.features.gic),
        ),
        Check("inject_sea", "the last exit was no data abort at an unprotected IPA", _sea_misplaced),
        Check("rec_mmio", "the last exit was no emulatable data abort", _mmio_misplaced),
    ),
    Rmi.PSCI_COMPLETE: PSCI_COMPLETE,
}  # fmt: skip
