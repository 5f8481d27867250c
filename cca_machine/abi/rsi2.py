"""The Realm Services Interface 1.1: planes and memory permissions (DEN0137 2.0-bet0, part B5; TF-RMM smc-rsi.h)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

from cca_machine.abi.layout import Field, Layout
from cca_machine.abi.rmi import NUM_GPRS, NUM_LIST_REGISTERS
from cca_machine.abi.smc import fast64

VERSION_1_1 = 0x1_0001


class Rsi2(IntEnum):
    """Function ids that RSI 1.1 adds, device commands excepted."""

    MEM_GET_PERM_VALUE = fast64(0x1A0)
    MEM_SET_PERM_INDEX = fast64(0x1A1)
    MEM_SET_PERM_VALUE = fast64(0x1A2)
    PLANE_ENTER = fast64(0x1A3)
    PLANE_SYSREG_READ = fast64(0x1AE)
    PLANE_SYSREG_WRITE = fast64(0x1AF)


class RsiDevice(IntEnum):
    """Function ids of RSI 1.1 about devices of a Realm."""

    VDEV_DMA_ENABLE = fast64(0x19C)
    VDEV_GET_INFO = fast64(0x19D)
    VDEV_VALIDATE_MAPPING = fast64(0x19F)
    VDEV_DMA_DISABLE = fast64(0x1A4)


FEATURE_DA = 1


class PlaneEnterFlags(IntFlag):
    """RsiPlaneEnterFlags."""

    TRAP_WFI = 1
    TRAP_WFE = 2
    TRAP_HOST_CALL = 4
    OWN_GIC = 8
    TRAP_SIMD = 16
    TRAP_DEBUG = 32


class PlaneExitReason(IntEnum):
    """RsiPlaneExitReason."""

    SYNC = 0
    IRQ = 1
    HOST = 2


class Label(IntEnum):
    """Overlay labels: what the Realm side grants (cca S2POE)."""

    NO_ACCESS = 0
    MRO = 2
    MRO_TL1 = 3
    WO = 4
    MRO_TL0 = 6
    MRO_TL01 = 7
    RO = 8
    RO_UX = 9
    RO_PX = 10
    RO_X = 11
    RW = 12
    RW_UX = 13
    RW_PX = 14
    RW_X = 15


PSTATE_AARCH32 = 1 << 4
PLANE_EXIT_OFFSET = 0x800

REALM_CONFIG_1_1 = Layout(
    "RsiRealmConfig",
    4096,
    (
        Field("ipa_width", 0x000, 8),
        Field("hash_algo", 0x008, 1),
        Field("num_aux_planes", 0x010, 8),
        Field("gicv3_vtr", 0x018, 4),
        Field("ats_plane", 0x020, 8),
        Field("rpv", 0x200, 64, 0),
    ),
)

PLANE_ENTER = Layout(
    "RsiPlaneEnter",
    PLANE_EXIT_OFFSET,
    (
        Field("flags", 0x000, 8),
        Field("pc", 0x008, 8),
        Field("pstate", 0x010, 8),
        Field("gprs", 0x100, 8, NUM_GPRS),
        Field("gicv3_hcr", 0x200, 8),
        Field("gicv3_lrs", 0x208, 8, NUM_LIST_REGISTERS),
        Field("elr_el1", 0x400, 8),
    ),
)

PLANE_EXIT = Layout(
    "RsiPlaneExit",
    PLANE_EXIT_OFFSET,
    (
        Field("reason", 0x000, 1),
        Field("elr_el2", 0x008, 8),
        Field("pstate", 0x010, 8),
        Field("gprs", 0x100, 8, NUM_GPRS),
        Field("esr_el2", 0x200, 8),
        Field("far_el2", 0x208, 8),
        Field("hpfar_el2", 0x210, 8),
        Field("gicv3_hcr", 0x300, 8),
        Field("gicv3_lrs", 0x308, 8, NUM_LIST_REGISTERS),
        Field("gicv3_misr", 0x388, 8),
        Field("gicv3_vmcr", 0x390, 8),
        Field("cntp_ctl", 0x400, 8),
        Field("cntp_cval", 0x408, 8),
        Field("cntv_ctl", 0x410, 8),
        Field("cntv_cval", 0x418, 8),
        Field("sctlr_el1", 0x500, 8),
        Field("vbar_el1", 0x508, 8),
        Field("elr_el1", 0x510, 8),
        Field("pmu_ovf_status", 0x600, 1),
    ),
)


class RealmConfig2(msgspec.Struct, frozen=True, kw_only=True):
    """What RSI_REALM_CONFIG of 1.1 writes into the Realm's page."""

    ipa_width: int
    hash_algo: int
    num_aux_planes: int
    gicv3_vtr: int
    ats_plane: int
    rpv: bytes

    def encode(self) -> bytes:
        """The page."""
        return REALM_CONFIG_1_1.encode(self)


class PlaneEnter(msgspec.Struct, frozen=True, kw_only=True):
    """Lower half of a plane's run page: what P0 gives."""

    flags: int = 0
    pc: int = 0
    pstate: int = 0
    gprs: tuple[int, ...] = (0,) * NUM_GPRS
    gicv3_hcr: int = 0
    gicv3_lrs: tuple[int, ...] = (0,) * NUM_LIST_REGISTERS
    elr_el1: int = 0

    def encode(self) -> bytes:
        """The first 0x800 bytes of the run page."""
        return PLANE_ENTER.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> PlaneEnter:
        """Any 0x800 bytes read as a plane entry."""
        return cls(**PLANE_ENTER.decode(half_page))


class PlaneExit(msgspec.Struct, kw_only=True):
    """Upper half of a plane's run page: what P0 finds when the plane stopped."""

    reason: int = 0
    elr_el2: int = 0
    pstate: int = 0
    gprs: tuple[int, ...] = (0,) * NUM_GPRS
    esr_el2: int = 0
    far_el2: int = 0
    hpfar_el2: int = 0
    gicv3_hcr: int = 0
    gicv3_lrs: tuple[int, ...] = (0,) * NUM_LIST_REGISTERS
    gicv3_misr: int = 0
    gicv3_vmcr: int = 0
    cntp_ctl: int = 0
    cntp_cval: int = 0
    cntv_ctl: int = 0
    cntv_cval: int = 0
    sctlr_el1: int = 0
    vbar_el1: int = 0
    elr_el1: int = 0
    pmu_ovf_status: int = 0

    def encode(self) -> bytes:
        """The last 0x800 bytes of the run page."""
        return PLANE_EXIT.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> PlaneExit:
        """The upper half of a plane's run page."""
        return cls(**PLANE_EXIT.decode(half_page))


def sysreg_code(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """A system register as PLANE_SYSREG_READ and WRITE name it (as KVM does): op0 15:14, op1, CRn, CRm, op2 2:0."""
    return op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


SYSREG_128 = 1 << 16
"""Set in a code: both halves of a 128-bit register."""

_CODES: dict[str, tuple[int, int, int, int, int]] = {
    "actlr_el1": (3, 0, 1, 0, 1), "afsr0_el1": (3, 0, 5, 1, 0), "afsr1_el1": (3, 0, 5, 1, 1),
    "amair_el1": (3, 0, 10, 3, 0), "apiakeylo_el1": (3, 0, 2, 1, 0), "apiakeyhi_el1": (3, 0, 2, 1, 1),
    "apibkeylo_el1": (3, 0, 2, 1, 2), "apibkeyhi_el1": (3, 0, 2, 1, 3), "apdakeylo_el1": (3, 0, 2, 2, 0),
    "apdakeyhi_el1": (3, 0, 2, 2, 1), "apdbkeylo_el1": (3, 0, 2, 2, 2), "apdbkeyhi_el1": (3, 0, 2, 2, 3),
    "apgakeylo_el1": (3, 0, 2, 3, 0), "apgakeyhi_el1": (3, 0, 2, 3, 1), "cntkctl_el1": (3, 0, 14, 1, 0),
    "contextidr_el1": (3, 0, 13, 0, 1), "cpacr_el1": (3, 0, 1, 0, 2), "csselr_el1": (3, 2, 0, 0, 0),
    "disr_el1": (3, 0, 12, 1, 1), "elr_el1": (3, 0, 4, 0, 1), "esr_el1": (3, 0, 5, 2, 0),
    "far_el1": (3, 0, 6, 0, 0), "mair_el1": (3, 0, 10, 2, 0), "mdccint_el1": (2, 0, 0, 2, 0),
    "mdscr_el1": (2, 0, 0, 2, 2), "sctlr_el1": (3, 0, 1, 0, 0), "sp_el0": (3, 0, 4, 1, 0),
    "sp_el1": (3, 4, 4, 1, 0), "spsr_el1": (3, 0, 4, 0, 0), "tcr_el1": (3, 0, 2, 0, 2),
    "tpidr_el0": (3, 3, 13, 0, 2), "tpidr_el1": (3, 0, 13, 0, 4), "tpidrro_el0": (3, 3, 13, 0, 3),
    "vbar_el1": (3, 0, 12, 0, 0), "zcr_el1": (3, 0, 1, 2, 0), "cntp_ctl": (3, 3, 14, 2, 1),
    "cntp_cval": (3, 3, 14, 2, 2), "cntv_ctl": (3, 3, 14, 3, 1), "cntv_cval": (3, 3, 14, 3, 2),
    "brbcr_el1": (2, 1, 9, 0, 0), "tcr2_el1": (3, 0, 2, 0, 3), "pir_el1": (3, 0, 10, 2, 3),
    "pire0_el1": (3, 0, 10, 2, 2), "por_el1": (3, 0, 10, 2, 4), "par_el1": (3, 0, 7, 4, 0),
    "ttbr0_el1": (3, 0, 2, 0, 0), "ttbr1_el1": (3, 0, 2, 0, 1),
}  # fmt: skip
_PMU_CODES: dict[str, tuple[int, int, int, int, int]] = {
    "pmcr_el0": (3, 3, 9, 12, 0), "pmccfiltr_el0": (3, 3, 14, 15, 7), "pmccntr_el0": (3, 3, 9, 13, 0),
    "pmcntenset_el0": (3, 3, 9, 12, 1), "pmintenset_el1": (3, 0, 9, 14, 1), "pmovsset_el0": (3, 3, 9, 14, 3),
    "pmselr_el0": (3, 3, 9, 12, 5), "pmuserenr_el0": (3, 3, 9, 14, 0),
}  # fmt: skip

PLANE_REGISTERS: dict[int, str] = {sysreg_code(*code): name for name, code in _CODES.items()}
"""Registers that P0 reads and writes on behalf of another plane, by code (PLANE_SYSREG_READ)."""

WIDE_REGISTERS = frozenset(("par_el1", "ttbr0_el1", "ttbr1_el1"))
"""Registers of which 128 bits can be asked for."""

PLANE_PMU_REGISTERS: dict[int, str] = {sysreg_code(*code): name for name, code in _PMU_CODES.items()}
"""The same for the PMU, event counters excepted."""

PMU_EVENT_MASK = sysreg_code(3, 7, 15, 12, 0)
PMU_EVENT_COUNTERS = sysreg_code(3, 3, 14, 8, 0)
PMU_EVENT_TYPES = sysreg_code(3, 3, 14, 12, 0)
NUM_PMU_EVENTS = 31
