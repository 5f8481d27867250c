"""The Realm Management Interface 1.0: what a Host asks of the RMM (DEN0137 1.0-rel0, part B4)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

import msgspec

from cca_machine.abi.layout import Field, Layout
from cca_machine.abi.smc import NOT_SUPPORTED, fast64

VERSION_1_0 = 0x1_0000
"""RMI 1.0: minor in bits 15:0, major in bits 30:16 (DEN0137, section B4.3.24)."""

PAGE_BYTES = 4096
MAX_REC_AUX_GRANULES = 16
RUN_EXIT_OFFSET = 0x800
NUM_GPRS = 31
NUM_LIST_REGISTERS = 16


class Rmi(IntEnum):
    """Function ids of RMI 1.0 (DEN0137 1.0-rel0, section B4.3)."""

    VERSION = fast64(0x150)
    GRANULE_DELEGATE = fast64(0x151)
    GRANULE_UNDELEGATE = fast64(0x152)
    DATA_CREATE = fast64(0x153)
    DATA_CREATE_UNKNOWN = fast64(0x154)
    DATA_DESTROY = fast64(0x155)
    REALM_ACTIVATE = fast64(0x157)
    REALM_CREATE = fast64(0x158)
    REALM_DESTROY = fast64(0x159)
    REC_CREATE = fast64(0x15A)
    REC_DESTROY = fast64(0x15B)
    REC_ENTER = fast64(0x15C)
    RTT_CREATE = fast64(0x15D)
    RTT_DESTROY = fast64(0x15E)
    RTT_MAP_UNPROTECTED = fast64(0x15F)
    RTT_READ_ENTRY = fast64(0x161)
    RTT_UNMAP_UNPROTECTED = fast64(0x162)
    PSCI_COMPLETE = fast64(0x164)
    FEATURES = fast64(0x165)
    RTT_FOLD = fast64(0x166)
    REC_AUX_COUNT = fast64(0x167)
    RTT_INIT_RIPAS = fast64(0x168)
    RTT_SET_RIPAS = fast64(0x169)


class CommandShape(NamedTuple):
    """Names of a command's input registers x1.. and output registers x1.."""

    arguments: tuple[str, ...]
    results: tuple[str, ...] = ()


COMMANDS: dict[Rmi, CommandShape] = {
    Rmi.VERSION: CommandShape(("req",), ("lower", "higher")),
    Rmi.GRANULE_DELEGATE: CommandShape(("addr",)),
    Rmi.GRANULE_UNDELEGATE: CommandShape(("addr",)),
    Rmi.DATA_CREATE: CommandShape(("rd", "data", "ipa", "src", "flags")),
    Rmi.DATA_CREATE_UNKNOWN: CommandShape(("rd", "data", "ipa")),
    Rmi.DATA_DESTROY: CommandShape(("rd", "ipa"), ("data", "top")),
    Rmi.REALM_ACTIVATE: CommandShape(("rd",)),
    Rmi.REALM_CREATE: CommandShape(("rd", "params_ptr")),
    Rmi.REALM_DESTROY: CommandShape(("rd",)),
    Rmi.REC_CREATE: CommandShape(("rd", "rec", "params_ptr")),
    Rmi.REC_DESTROY: CommandShape(("rec",)),
    Rmi.REC_ENTER: CommandShape(("rec", "run_ptr")),
    Rmi.RTT_CREATE: CommandShape(("rd", "rtt", "ipa", "level")),
    Rmi.RTT_DESTROY: CommandShape(("rd", "ipa", "level"), ("rtt", "top")),
    Rmi.RTT_MAP_UNPROTECTED: CommandShape(("rd", "ipa", "level", "desc")),
    Rmi.RTT_READ_ENTRY: CommandShape(("rd", "ipa", "level"), ("walk_level", "state", "desc", "ripas")),
    Rmi.RTT_UNMAP_UNPROTECTED: CommandShape(("rd", "ipa", "level"), ("top",)),
    Rmi.PSCI_COMPLETE: CommandShape(("calling_rec", "target_rec", "status")),
    Rmi.FEATURES: CommandShape(("index",), ("value",)),
    Rmi.RTT_FOLD: CommandShape(("rd", "ipa", "level"), ("rtt",)),
    Rmi.REC_AUX_COUNT: CommandShape(("rd",), ("aux_count",)),
    Rmi.RTT_INIT_RIPAS: CommandShape(("rd", "base", "top"), ("out_top",)),
    Rmi.RTT_SET_RIPAS: CommandShape(("rd", "rec", "base", "top"), ("out_top",)),
}
"""Argument and result registers per command (DEN0137 1.0-rel0, section B4.3)."""


class RmiStatus(IntEnum):
    """Bits 7:0 of X0 (DEN0137 1.0-rel0, section B4.4.1)."""

    SUCCESS = 0
    ERROR_INPUT = 1
    ERROR_REALM = 2
    ERROR_REC = 3
    ERROR_RTT = 4


STATUS_NAMES = {int(status): status.name for status in RmiStatus}
UNKNOWN_CALL = "NOT_SUPPORTED"


def rmi_result(status: RmiStatus, index: int = 0) -> int:
    """X0 of a command: status in bits 7:0, index or RTT level in bits 15:8 (level -1 is 0xFF)."""
    return int(status) | (index & 0xFF) << 8


def status_of(x0: int) -> RmiStatus | None:
    """Status in `x0`, or None when the call was not supported."""
    return None if x0 == NOT_SUPPORTED else RmiStatus(x0 & 0xFF)


def index_of(x0: int) -> int:
    """Index in `x0`: the RTT level of ERROR_RTT (signed), else a small number."""
    index = x0 >> 8 & 0xFF
    return index - 0x100 if index == 0xFF else index


def status_name(x0: int) -> str:
    """Name of the status in `x0`; unknown calls are NOT_SUPPORTED."""
    if x0 == NOT_SUPPORTED:
        return UNKNOWN_CALL
    return STATUS_NAMES.get(x0 & 0xFF, f"STATUS_{x0 & 0xFF}")


class Ripas(IntEnum):
    """State of a protected IPA as the Realm sees it (DEN0137 1.0-rel0, section A5.2.2)."""

    EMPTY = 0
    RAM = 1
    DESTROYED = 2


class RttEntryState(IntEnum):
    """Entry state in X2 of RTT_READ_ENTRY (DEN0137 1.0-rel0, section B4.4.25)."""

    UNASSIGNED = 0
    ASSIGNED = 1
    TABLE = 2


class HashAlgorithm(IntEnum):
    """Hash of a Realm's measurements (DEN0137 1.0-rel0, section B4.4.7)."""

    SHA_256 = 0
    SHA_512 = 1


class RealmFlags(IntFlag):
    """RmiRealmFlags (DEN0137 1.0-rel0, section B4.4.12)."""

    LPA2 = 1
    SVE = 2
    PMU = 4


class RecEnterFlags(IntFlag):
    """RmiRecEnterFlags (DEN0137 1.0-rel0, section B4.4.17)."""

    EMUL_MMIO = 1
    INJECT_SEA = 2
    TRAP_WFI = 4
    TRAP_WFE = 8
    RIPAS_RESPONSE = 16


class ExitReason(IntEnum):
    """RmiRecExitReason (DEN0137 1.0-rel0, section B4.4.20)."""

    SYNC = 0
    IRQ = 1
    FIQ = 2
    PSCI = 3
    RIPAS_CHANGE = 4
    HOST_CALL = 5
    SERROR = 6
    S2AP_CHANGE = 7
    """RMI 2.0 only."""


DATA_FLAG_MEASURE = 1
REC_FLAG_RUNNABLE = 1

GICV3_HCR_HOST_BITS = sum(1 << bit for bit in (1, 2, 3, 4, 5, 6, 7, 14))
"""UIE, LRENPIE, NPIE, VGrp0EIE, VGrp0DIE, VGrp1EIE, VGrp1DIE, TDIR: what a Host may set in ICH_HCR_EL2."""

REALM_PARAMS = Layout(
    "RmiRealmParams",
    PAGE_BYTES,
    (
        Field("flags", 0x000, 8),
        Field("s2sz", 0x008, 1),
        Field("sve_vl", 0x010, 1),
        Field("num_bps", 0x018, 1),
        Field("num_wps", 0x020, 1),
        Field("pmu_num_ctrs", 0x028, 1),
        Field("hash_algo", 0x030, 1),
        Field("rpv", 0x400, 64, 0),
        Field("vmid", 0x800, 2),
        Field("rtt_base", 0x808, 8),
        Field("rtt_level_start", 0x810, 8, signed=True),
        Field("rtt_num_start", 0x818, 4),
    ),
)
"""RmiRealmParams (DEN0137 1.0-rel0, section B4.4.13)."""

REC_PARAMS = Layout(
    "RmiRecParams",
    PAGE_BYTES,
    (
        Field("flags", 0x000, 8),
        Field("mpidr", 0x100, 8),
        Field("pc", 0x200, 8),
        Field("gprs", 0x300, 8, 8),
        Field("num_aux", 0x800, 8),
        Field("aux", 0x808, 8, MAX_REC_AUX_GRANULES),
    ),
)
"""RmiRecParams (DEN0137 1.0-rel0, section B4.4.22)."""

REC_ENTER = Layout(
    "RmiRecEnter",
    RUN_EXIT_OFFSET,
    (
        Field("flags", 0x000, 8),
        Field("gprs", 0x200, 8, NUM_GPRS),
        Field("gicv3_hcr", 0x300, 8),
        Field("gicv3_lrs", 0x308, 8, NUM_LIST_REGISTERS),
    ),
)
"""Lower half of RmiRecRun (DEN0137 1.0-rel0, section B4.4.16)."""

REC_EXIT = Layout(
    "RmiRecExit",
    PAGE_BYTES - RUN_EXIT_OFFSET,
    (
        Field("exit_reason", 0x000, 1),
        Field("esr", 0x100, 8),
        Field("far", 0x108, 8),
        Field("hpfar", 0x110, 8),
        Field("gprs", 0x200, 8, NUM_GPRS),
        Field("gicv3_hcr", 0x300, 8),
        Field("gicv3_lrs", 0x308, 8, NUM_LIST_REGISTERS),
        Field("gicv3_misr", 0x388, 8),
        Field("gicv3_vmcr", 0x390, 8),
        Field("cntp_ctl", 0x400, 8),
        Field("cntp_cval", 0x408, 8),
        Field("cntv_ctl", 0x410, 8),
        Field("cntv_cval", 0x418, 8),
        Field("ripas_base", 0x500, 8),
        Field("ripas_top", 0x508, 8),
        Field("ripas_value", 0x510, 1),
        Field("imm", 0x600, 4),
        Field("pmu_ovf_status", 0x700, 1),
    ),
)
"""Upper half of RmiRecRun, offsets from its own start (DEN0137 1.0-rel0, section B4.4.19).

`imm` is 16 bits wide in the text; four bytes are reserved for it because TF-RMM copies 32.
"""


class RealmParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host asks REALM_CREATE for (DEN0137 1.0-rel0, section B4.4.13); breakpoint counts are minus one."""

    flags: int = 0
    s2sz: int = 0
    sve_vl: int = 0
    num_bps: int = 0
    num_wps: int = 0
    pmu_num_ctrs: int = 0
    hash_algo: int = 0
    rpv: bytes = bytes(64)
    vmid: int = 0
    rtt_base: int = 0
    rtt_level_start: int = 0
    rtt_num_start: int = 0

    def encode(self) -> bytes:
        """The parameter page."""
        return REALM_PARAMS.encode(self)

    @classmethod
    def decode(cls, page: bytes) -> RealmParams:
        """Any 4096 bytes read as parameters."""
        return cls(**REALM_PARAMS.decode(page))


class RecParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host asks REC_CREATE for (DEN0137 1.0-rel0, section B4.4.22)."""

    flags: int = 0
    mpidr: int = 0
    pc: int = 0
    gprs: tuple[int, ...] = (0,) * 8
    num_aux: int = 0
    aux: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The parameter page."""
        return REC_PARAMS.encode(self)

    @classmethod
    def decode(cls, page: bytes) -> RecParams:
        """Any 4096 bytes read as parameters."""
        return cls(**REC_PARAMS.decode(page))


class RecEnter(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host gives at REC_ENTER (DEN0137 1.0-rel0, section B4.4.16)."""

    flags: int = 0
    gprs: tuple[int, ...] = (0,) * NUM_GPRS
    gicv3_hcr: int = 0
    gicv3_lrs: tuple[int, ...] = (0,) * NUM_LIST_REGISTERS

    def encode(self) -> bytes:
        """The first 0x800 bytes of the run page."""
        return REC_ENTER.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> RecEnter:
        """Any 0x800 bytes read as an entry."""
        return cls(**REC_ENTER.decode(half_page))


class RecExit(msgspec.Struct, kw_only=True):
    """What the Host finds after REC_ENTER (DEN0137 1.0-rel0, section B4.4.19); unused fields are zero."""

    exit_reason: int = 0
    esr: int = 0
    far: int = 0
    hpfar: int = 0
    gprs: tuple[int, ...] = (0,) * NUM_GPRS
    gicv3_hcr: int = 0
    gicv3_lrs: tuple[int, ...] = (0,) * NUM_LIST_REGISTERS
    gicv3_misr: int = 0
    gicv3_vmcr: int = 0
    cntp_ctl: int = 0
    cntp_cval: int = 0
    cntv_ctl: int = 0
    cntv_cval: int = 0
    ripas_base: int = 0
    ripas_top: int = 0
    ripas_value: int = 0
    imm: int = 0
    pmu_ovf_status: int = 0

    def encode(self) -> bytes:
        """The last 0x800 bytes of the run page."""
        return REC_EXIT.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> RecExit:
        """The upper half of a run page read as an exit."""
        return cls(**REC_EXIT.decode(half_page))
