"""The failure conditions of RMI 1.0 as predicates, in the order in which the model looks (DEN0137 1.0-rel0, B4.3).

Each row is a condition by the specification's id (a suffix tells cases of one id apart) and when it holds. A predicate
may rely on the rows above it being false. Used to explain refusals; the handlers beside this file decide them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cca_machine.abi.psci import Psci, PsciStatus
from cca_machine.abi.rmi import (
    DATA_FLAG_MEASURE,
    MAX_REC_AUX_GRANULES,
    REC_ENTER,
    HashAlgorithm,
    RealmFlags,
    RealmParams,
    RecEnter,
    RecEnterFlags,
    RecParams,
    Ripas,
    Rmi,
)
from cca_machine.abi.smc import function_id, signed
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import Gpi, World
from cca_machine.hardware.granule_map import OUTSIDE
from cca_machine.rmm import psci, syndrome
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0 import params
from cca_machine.rmm.edition_1_0.enter import is_gic_state_valid
from cca_machine.rmm.edition_1_0.realm import root_tables_needed
from cca_machine.rmm.features import MIN_IPA_WIDTH
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ASSIGNED_NS,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    TABLE,
    UNASSIGNED,
    UNASSIGNED_NS,
    Walk,
    address_of,
    folded,
    ripas_of,
    size,
)
from cca_machine.rmm.state import Realm, RealmState, Rec
from cca_machine.rmm.syndrome import ExceptionClass

MPIDR_BITS = 0xFFFF_FF0F


class Look:
    """One call, and the state that it met."""

    def __init__(self, core: Core, args: dict[str, int]) -> None:
        self.core = core
        self.args = args

    def __getitem__(self, name: str) -> int:
        return self.args[name]

    @property
    def realm(self) -> Realm:
        """The Realm of `rd`."""
        return self.core.state.realms[self["rd"]]

    def rec(self, name: str = "rec") -> Rec:
        """The REC that an argument names."""
        return self.core.state.recs[self[name]]

    @property
    def level(self) -> int:
        """The level argument."""
        return signed(self["level"])

    def walk(self, level: int, ipa: str = "ipa") -> Walk:
        """Walk towards `level`."""
        return self.core.walk(self.realm, self[ipa], level)

    def state(self, address: int) -> int:
        """Granule state, OUTSIDE for memory that is not delegable."""
        return self.core.granules.get(address & -GRANULE_BYTES)

    def page(self, name: str) -> bytes:
        """The Host page that an argument names."""
        return self.core.memory.page(self[name])

    @property
    def realm_params(self) -> RealmParams:
        """Parameters of REALM_CREATE."""
        page = self.page("params_ptr")
        return params.realm_params(self.core, page) or RealmParams.decode(page)

    @property
    def rec_params(self) -> RecParams:
        """Parameters of REC_CREATE."""
        return RecParams.decode(self.page("params_ptr"))

    @property
    def entry(self) -> RecEnter:
        """What the Host gives at REC_ENTER."""
        return RecEnter.decode(self.page("run_ptr")[: REC_ENTER.size])

    @property
    def owner(self) -> Realm:
        """The Realm of the REC that is entered."""
        return self.core.state.realms[self.rec().rd]


class Check(NamedTuple):
    """One condition; `standalone` ones can be asked whatever holds above them."""

    name: str
    says: str
    holds: Callable[[Look], bool]
    standalone: bool = False


def _aligned(name: str) -> Check:
    return Check(f"{name}_align", f"{name} is not aligned to 4 KiB", lambda c: bool(c[name] & GRANULE_MASK), True)


def granule(name: str, state: GranuleState, suffix: str = "state") -> tuple[Check, ...]:
    """The group of three checks on a granule's address."""
    return (
        _aligned(name),
        Check(f"{name}_bound", f"{name} is no delegable memory", lambda c: c.state(c[name]) == OUTSIDE, True),
        Check(f"{name}_{suffix}", f"the granule is not {state.name}", lambda c: c.state(c[name]) != state, True),
    )


def accessible(name: str, label: str) -> Check:
    """The fourth check on a Host buffer: the NS world may read it."""
    return Check(
        f"{label}_pas", f"the Host page at {name} belongs to another world",
        lambda c: not c.core.memory.gpt.allows(World.NS, c[name]),
    )  # fmt: skip


RD = granule("rd", GranuleState.RD)
REC = granule("rec", GranuleState.REC, "gran_state")
REALM_IS_NEW = Check("realm_state", "the Realm is no longer NEW", lambda c: c.realm.state is not RealmState.NEW)


def _protected_page() -> tuple[Check, ...]:
    return (
        Check("ipa_bound", "ipa is not in the protected half", lambda c: c["ipa"] >= c.realm.half),
        Check("ipa_align", "ipa is not aligned to 4 KiB", lambda c: bool(c["ipa"] & GRANULE_MASK)),
    )


def _wide(name: str) -> Check:
    return Check(
        f"{name}_bound2", f"{name} is at or above 2^48 and the Realm has no LPA2",
        lambda c: bool(c[name] >> 48) and not c.realm.lpa2,
    )  # fmt: skip


def _reaches(level: Callable[[Look], int], says: str) -> Check:
    return Check("rtt_walk", says, lambda c: c.walk(level(c)).level < level(c))


def _kind(level: Callable[[Look], int], wanted: int, says: str) -> Check:
    return Check("rtte_state", says, lambda c: c.walk(level(c)).entry & KIND_MASK != wanted)


def _page_level(_: Look) -> int:
    return PAGE_LEVEL


def _parent(look: Look) -> int:
    return look.level - 1


NO_PAGE_TABLE = _reaches(_page_level, "there is no level 3 table for ipa")
NO_PARENT = _reaches(_parent, "there is no table at the level above")
NO_CHILD = _kind(_parent, TABLE, "the entry above is no table")

PLACE = (*_protected_page(), _wide("data"), NO_PAGE_TABLE, _kind(_page_level, UNASSIGNED, "the page is not UNASSIGNED"))


def _structure() -> tuple[Check, ...]:
    return (
        Check("level_bound_low", "level is not below the starting level", lambda c: c.level <= c.realm.rtt_level_start),
        Check("level_bound_high", "level is above 3", lambda c: c.level > PAGE_LEVEL),
        Check("ipa_align", "ipa is not aligned to the entry above", lambda c: bool(c["ipa"] & size(c.level - 1) - 1)),
        Check("ipa_bound", "ipa is outside the IPA space", lambda c: bool(c["ipa"] >> c.realm.ipa_width)),
    )


def _leaf(lowest: Callable[[Look], int], low: str) -> tuple[Check, ...]:
    return (
        Check("level_bound_low", low, lambda c: c.level < lowest(c)),
        Check("level_bound_high", "level is above 3", lambda c: c.level > PAGE_LEVEL),
        Check(
            "ipa_align", "ipa is not aligned to an entry of that level", lambda c: bool(c["ipa"] & size(c.level) - 1)
        ),
        Check("ipa_bound", "ipa is outside the IPA space", lambda c: bool(c["ipa"] >> c.realm.ipa_width)),
    )


SHARED = (
    *_leaf(lambda c: max(c.realm.rtt_level_start, MIN_BLOCK_LEVEL), "no block or page lies at that level"),
    Check("ipa_protected", "ipa is in the protected half", lambda c: c["ipa"] < c.realm.half),
)


def _attr_bits(look: Look) -> bool:
    low = (1 << 48) - GRANULE_BYTES | 7 << 2 | 3 << 6
    high = 3 << 48 | 3 << 8 if look.realm.lpa2 else 0xF << 48
    return bool(look["desc"] & ~(low | high))


def _base_step(look: Look) -> int:
    return size(look.walk(PAGE_LEVEL, "base").level)


def _crosses(look: Look) -> bool:
    return (look["base"] & -_base_step(look)) + _base_step(look) > look["top"]


def _ripas_stop(look: Look) -> bool:
    request, entry = look.rec().ripas, look.walk(PAGE_LEVEL, "base").entry
    return request is not None and ripas_of(entry) == Ripas.DESTROYED and not request.change_destroyed


GRANULES: dict[Rmi, tuple[Check, ...]] = {
    Rmi.GRANULE_DELEGATE: (
        *granule("addr", GranuleState.UNDELEGATED),
        Check("gran_gpt", "the granule is not NS", lambda c: c.core.memory.gpt.gpi(c["addr"]) != Gpi.NON_SECURE),
    ),
    Rmi.GRANULE_UNDELEGATE: granule("addr", GranuleState.DELEGATED),
    Rmi.DATA_CREATE: (
        Check(
            "flags", "a reserved flag is set",
            lambda c: bool(c["flags"] & ~DATA_FLAG_MEASURE) and not c.core.quirks.reserved_flags_ignored, True,
        ),
        *granule("src", GranuleState.UNDELEGATED),
        *granule("data", GranuleState.DELEGATED),
        *RD,
        REALM_IS_NEW,
        *PLACE,
        accessible("src", "src"),
    ),
    Rmi.DATA_CREATE_UNKNOWN: (*granule("data", GranuleState.DELEGATED), *RD, *PLACE),
    Rmi.DATA_DESTROY: (
        *RD, *_protected_page(), NO_PAGE_TABLE, _kind(_page_level, ASSIGNED, "the page is not ASSIGNED"),
    ),
    Rmi.RTT_INIT_RIPAS: (
        Check("size_valid", "top is not above base", lambda c: c["top"] <= c["base"], True),
        *RD,
        Check("top_gran_align", "top is not aligned to 4 KiB", lambda c: bool(c["top"] & GRANULE_MASK)),
        Check("top_bound", "top is above the protected half", lambda c: c["top"] - GRANULE_BYTES >= c.realm.half),
        Check(
            "base_gran_align", "base is not aligned to 4 KiB (D5)",
            lambda c: bool(c["base"] & GRANULE_MASK) and not c.core.quirks.init_ripas_rtt_on_unaligned_base,
        ),
        REALM_IS_NEW,
        Check("base_align", "base is inside the entry", lambda c: bool(c["base"] & _base_step(c) - 1)),
        Check("no_progress", "the first entry reaches beyond top", _crosses),
        Check("rtte_state", "the first entry is not UNASSIGNED with RIPAS EMPTY or RAM", lambda c: True),
    ),
    Rmi.RTT_SET_RIPAS: (
        Check("size_valid", "top is not above base", lambda c: c["top"] <= c["base"], True),
        Check(
            "top_gran_align", "top is not aligned to 4 KiB",
            lambda c: bool(c["top"] & GRANULE_MASK) and not c.core.quirks.set_ripas_top_unchecked, True,
        ),
        *RD,
        *REC,
        Check("rec_state", "the REC is running", lambda c: c.rec().running),
        Check("rec_owner", "the REC belongs to another Realm", lambda c: c.rec().rd != c["rd"]),
        Check(
            "base_bound", "base is not where the Realm's request continues",
            lambda c: c["base"] != (request.address if (request := c.rec().ripas) else 0),
        ),
        Check(
            "top_bound", "top is above the Realm's request, or there is none",
            lambda c: c["top"] > (request.top if (request := c.rec().ripas) else 0),
        ),
        Check("base_align", "base is inside the entry", lambda c: bool(c["base"] & _base_step(c) - 1)),
        Check("no_progress", "the page is DESTROYED and the Realm does not permit that change", _ripas_stop),
        Check("no_progress", "the first entry reaches beyond top", lambda c: True),
    ),
}  # fmt: skip

TREES: dict[Rmi, tuple[Check, ...]] = {
    Rmi.RTT_CREATE: (
        Check("alias", "rtt and rd are the same granule", lambda c: c["rtt"] == c["rd"] in c.core.state.realms),
        *granule("rtt", GranuleState.DELEGATED),
        *RD,
        *_structure(),
        _wide("rtt"),
        NO_PARENT,
        Check("rtte_state", "there is a table already", lambda c: c.walk(c.level - 1).entry & KIND_MASK == TABLE),
    ),
    Rmi.RTT_DESTROY: (
        *RD, *_structure(), NO_PARENT, NO_CHILD, Check("rtt_live", "the table maps something", lambda c: True),
    ),
    Rmi.RTT_FOLD: (
        *RD, *_structure(), NO_PARENT, NO_CHILD,
        Check(
            "rtt_homo", "the table's entries do not add up to one entry above",
            lambda c: folded(c.core.state.tables[address_of(c.walk(c.level - 1).entry)]) is None,
        ),
    ),
    Rmi.RTT_MAP_UNPROTECTED: (
        *RD,
        *SHARED,
        Check("attr_reserved_bit", "a reserved bit of desc is set", _attr_bits),
        Check("attr_memattr", "MemAttr 0b100 is reserved", lambda c: c["desc"] >> 2 & 7 == 4),
        Check("addr_align", "the address is not aligned to it", lambda c: bool(c["desc"] & size(c.level) - 4096)),
        Check("addr_bound", "the address is at or above 2^48", lambda c: bool(c["desc"] >> 48) and not c.realm.lpa2),
        _reaches(lambda c: c.level, "there is no table of that level"),
        _kind(lambda c: c.level, UNASSIGNED_NS, "the entry is not UNASSIGNED_NS"),
    ),
    Rmi.RTT_UNMAP_UNPROTECTED: (
        *RD,
        *SHARED,
        _reaches(lambda c: c.level, "there is no table of that level"),
        _kind(lambda c: c.level, ASSIGNED_NS, "the entry is not ASSIGNED_NS"),
    ),
    Rmi.RTT_READ_ENTRY: (*RD, *_leaf(lambda c: c.realm.rtt_level_start, "level is above the starting level")),
}  # fmt: skip


def _supp(label: str, says: str, holds: Callable[[Look], bool]) -> Check:
    return Check(f"params_supp_{label}", says, holds)


def _flag(look: Look, flag: RealmFlags) -> bool:
    return bool(look.realm_params.flags & flag)


def _sve(look: Look) -> bool:
    most = look.core.features.sve_vl
    return _flag(look, RealmFlags.SVE) and (most is None or look.realm_params.sve_vl > most)


def _geometry(look: Look) -> str:
    """rtt_start, rtt_num_level or nothing: what is wrong with starting level and number of root tables."""
    given, features = look.realm_params, look.core.features
    lpa2, start, width = bool(given.flags & RealmFlags.LPA2), given.rtt_level_start, given.s2sz
    if not (-1 if lpa2 else 0) <= start <= PAGE_LEVEL:
        return "rtt_start_negative" if start < 0 else "rtt_start"
    smallest = 9 * (PAGE_LEVEL - start) + 13
    largest = smallest + (3 if start == -1 else 8) + (4 if start > 0 or (start == 0 and lpa2) else 0)
    if not smallest <= width <= largest or width > (52 if lpa2 else 48) or (start == 0 and features.pa_width < 44):
        return "rtt_start"
    return "" if given.rtt_num_start == root_tables_needed(width, start) else "rtt_num_level"


def _roots(look: Look) -> range:
    given = look.realm_params
    return range(given.rtt_base, given.rtt_base + given.rtt_num_start * GRANULE_BYTES, GRANULE_BYTES)


def _aux(look: Look) -> tuple[int, ...]:
    given = look.rec_params
    return given.aux[: given.num_aux]


def _wrong_status(look: Look) -> bool:
    calling, target, status = look.rec("calling_rec"), look.rec("target_rec"), signed(look["status"])
    if status == PsciStatus.SUCCESS:
        return False
    is_on = function_id(calling.gprs[0]) in (Psci.CPU_ON, Psci.CPU_ON_32)
    return not (status == PsciStatus.DENIED and is_on and not target.runnable)


def _last_abort(look: Look) -> bool:
    return syndrome.exception_class(look.rec().last_exit.esr) == ExceptionClass.DATA_ABORT


def _sea_misplaced(look: Look) -> bool:
    if not look.entry.flags & RecEnterFlags.INJECT_SEA or look.core.quirks.inject_sea_ignored:
        return False
    return not (_last_abort(look) and syndrome.faulting_ipa(look.rec().last_exit.hpfar) >= look.owner.half)


def _mmio_misplaced(look: Look) -> bool:
    if look.entry.flags & RecEnterFlags.INJECT_SEA or not look.entry.flags & RecEnterFlags.EMUL_MMIO:
        return False
    return not (_last_abort(look) and look.rec().last_exit.esr & syndrome.ISV)


PARAMS = (*granule("params_ptr", GranuleState.UNDELEGATED), accessible("params_ptr", "params"))

REALMS: dict[Rmi, tuple[Check, ...]] = {
    Rmi.REALM_CREATE: (
        *PARAMS,
        Check(
            "params_valid", "hash_algo names no algorithm",
            lambda c: c.realm_params.hash_algo not in HashAlgorithm.__members__.values(),
        ),
        Check(
            "params_later",
            "a parameter of RMI 1.1 is given (F4)",
            lambda c: params.realm_params(c.core, c.page("params_ptr")) is None,
        ),
        _supp("lpa2", "LPA2 is not supported", lambda c: _flag(c, RealmFlags.LPA2) and not c.core.features.lpa2),
        _supp("sve", "SVE, or that vector length, is not supported", _sve),
        _supp("pmu", "fewer PMU counters are there", lambda c: _flag(c, RealmFlags.PMU)
              and c.realm_params.pmu_num_ctrs > c.core.features.pmu_num_ctrs),
        _supp("pmu_none", "a PMU without counters needs FEAT_HPMN0", lambda c: _flag(c, RealmFlags.PMU)
              and not c.realm_params.pmu_num_ctrs and not c.core.features.hpmn0),
        _supp("s2sz_high", "the IPA space is wider than S2SZ", lambda c: c.realm_params.s2sz > c.core.features.s2sz),
        _supp("s2sz_low", "the IPA space is below 32 bits", lambda c: c.realm_params.s2sz < MIN_IPA_WIDTH),
        _supp("bps_zero", "num_bps 0 is reserved", lambda c: not c.realm_params.num_bps),
        _supp("bps", "fewer breakpoints are there", lambda c: c.realm_params.num_bps > c.core.features.num_bps),
        _supp("wps_zero", "num_wps 0 is reserved", lambda c: not c.realm_params.num_wps),
        _supp("wps", "fewer watchpoints are there", lambda c: c.realm_params.num_wps > c.core.features.num_wps),
        Check("alias", "rd is one of the root tables", lambda c: c["rd"] in _roots(c)),
        *granule("rd", GranuleState.DELEGATED),
        Check(
            "rtt_align", "rtt_base is not aligned to the root tables together",
            lambda c: bool(c.realm_params.rtt_num_start) and not c.core.quirks.rtt_base_page_aligned
            and bool(c.realm_params.rtt_base % (c.realm_params.rtt_num_start * GRANULE_BYTES)),
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
            lambda c: bool(c.realm_params.vmid >> 8) and not c.core.features.vmid16,
        ),
        Check("vmid_used", "another Realm has that VMID", lambda c: c.realm_params.vmid in c.core.state.vmids),
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
        Check("num_aux_high", "more than 16 auxiliary granules", lambda c: c.rec_params.num_aux > MAX_REC_AUX_GRANULES),
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
            lambda c: psci.rec_index(c.rec_params.mpidr) != c.realm.rec_index,
        ),
        Check(
            "mpidr_reserved", "mpidr has a reserved bit set",
            lambda c: bool(c.rec_params.mpidr & ~MPIDR_BITS) and not c.core.quirks.reserved_flags_ignored,
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
            lambda c: not is_gic_state_valid(c.entry, c.core.features.gic),
        ),
        Check("inject_sea", "the last exit was no data abort at an unprotected IPA", _sea_misplaced),
        Check("rec_mmio", "the last exit was no emulatable data abort", _mmio_misplaced),
    ),
    Rmi.PSCI_COMPLETE: (
        Check("alias", "a REC cannot be its own target", lambda c: c["calling_rec"] == c["target_rec"]),
        *granule("calling_rec", GranuleState.REC, "gran_state"),
        *granule("target_rec", GranuleState.REC, "gran_state"),
        Check("pending", "the calling REC has no PSCI request", lambda c: not c.rec("calling_rec").psci_pending),
        Check(
            "owner", "the RECs belong to different Realms",
            lambda c: c.rec("calling_rec").rd != c.rec("target_rec").rd,
        ),
        Check(
            "target", "the request names another REC",
            lambda c: psci.target_index(c.rec("calling_rec").gprs[1], c.core.quirks) != c.rec("target_rec").index,
        ),
        Check("status", "the Host may not answer that", _wrong_status),
    ),
}  # fmt: skip

TABLES: dict[Rmi, tuple[Check, ...]] = {**GRANULES, **TREES, **REALMS}
"""Conditions by command; VERSION and FEATURES cannot fail."""
