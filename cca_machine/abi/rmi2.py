"""The Realm Management Interface 2.0: numbers, statuses and pages (DEN0137 2.0-bet0; TF-RMM smc-rmi.h)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec

from cca_machine.abi.layout import Field, Layout
from cca_machine.abi.rmi import NUM_GPRS, PAGE_BYTES, RUN_EXIT_OFFSET, UNKNOWN_CALL, CommandShape, RecExit
from cca_machine.abi.smc import NOT_SUPPORTED, fast64

VERSION_2_0 = 0x2_0000
MAX_AUX_PLANES = 3
AUX_GRANULES = 16
"""Granules that a REC asks to be donated."""
MEC_COUNT_REGISTER = 4
"""Feature register that holds nothing but the number of private memory encryption contexts."""


class Rmi2(IntEnum):
    """Function ids of RMI 2.0; auxiliary tables keep the ids that TF-RMM still answers to."""

    VERSION = fast64(0x150)
    RTT_DATA_MAP_INIT = fast64(0x153)
    REALM_ACTIVATE = fast64(0x157)
    REALM_CREATE = fast64(0x158)
    REALM_DESTROY = fast64(0x159)
    REC_CREATE = fast64(0x15A)
    REC_DESTROY = fast64(0x15B)
    REC_ENTER = fast64(0x15C)
    RTT_CREATE = fast64(0x15D)
    RTT_DESTROY = fast64(0x15E)
    RTT_READ_ENTRY = fast64(0x161)
    RTT_DEV_VALIDATE = fast64(0x163)
    PSCI_COMPLETE = fast64(0x164)
    FEATURES = fast64(0x165)
    RTT_FOLD = fast64(0x166)
    RTT_INIT_RIPAS = fast64(0x168)
    RTT_SET_RIPAS = fast64(0x169)
    RMM_CONFIG_SET = fast64(0x16E)
    PDEV_ABORT = fast64(0x174)
    PDEV_COMMUNICATE = fast64(0x175)
    PDEV_CREATE = fast64(0x176)
    PDEV_DESTROY = fast64(0x177)
    PDEV_GET_STATE = fast64(0x178)
    PDEV_STREAM_KEY_REFRESH = fast64(0x17A)
    PDEV_SET_PUBKEY = fast64(0x17B)
    PDEV_STOP = fast64(0x17C)
    RTT_AUX_CREATE = fast64(0x17D)
    RTT_AUX_DESTROY = fast64(0x17E)
    RTT_AUX_FOLD = fast64(0x17F)
    RTT_AUX_MAP_PROTECTED = fast64(0x180)
    RTT_AUX_MAP_UNPROTECTED = fast64(0x181)
    RTT_AUX_UNMAP_PROTECTED = fast64(0x183)
    RTT_AUX_UNMAP_UNPROTECTED = fast64(0x184)
    VDEV_ABORT = fast64(0x185)
    VDEV_COMMUNICATE = fast64(0x186)
    VDEV_CREATE = fast64(0x187)
    VDEV_DESTROY = fast64(0x188)
    VDEV_GET_STATE = fast64(0x189)
    VDEV_UNLOCK = fast64(0x18A)
    RTT_SET_S2AP = fast64(0x18B)
    VDEV_COMPLETE = fast64(0x18E)
    VDEV_GET_INTERFACE_REPORT = fast64(0x1D0)
    VDEV_GET_MEASUREMENTS = fast64(0x1D1)
    VDEV_LOCK = fast64(0x1D2)
    VDEV_START = fast64(0x1D3)
    PSMMU_ACTIVATE = fast64(0x1D7)
    PSMMU_DEACTIVATE = fast64(0x1D8)
    PSMMU_ST_L2_CREATE = fast64(0x1DB)
    PSMMU_ST_L2_DESTROY = fast64(0x1DC)
    GRANULE_TRACKING_GET = fast64(0x1E1)
    RMM_CONFIG_GET = fast64(0x1EC)
    GRANULE_RANGE_DELEGATE = fast64(0x1F1)
    GRANULE_RANGE_UNDELEGATE = fast64(0x1F2)
    GPT_L1_CREATE = fast64(0x1F3)
    GPT_L1_DESTROY = fast64(0x1F4)
    RTT_DATA_MAP = fast64(0x1F5)
    RTT_DATA_UNMAP = fast64(0x1F6)
    RTT_DEV_MAP = fast64(0x1F7)
    RTT_DEV_UNMAP = fast64(0x1F8)
    RTT_UNPROT_MAP = fast64(0x1FB)
    RTT_UNPROT_UNMAP = fast64(0x1FC)
    REALM_TERMINATE = fast64(0x201)
    RMM_ACTIVATE = fast64(0x202)
    OP_CONTINUE = fast64(0x203)
    PDEV_STREAM_CONNECT = fast64(0x204)
    PDEV_STREAM_DISCONNECT = fast64(0x205)
    PDEV_STREAM_COMPLETE = fast64(0x206)
    PDEV_STREAM_KEY_PURGE = fast64(0x207)
    OP_MEM_DONATE = fast64(0x208)
    OP_MEM_RECLAIM = fast64(0x209)
    OP_CANCEL = fast64(0x20A)


_RANGE = CommandShape(("base", "top"), ("out_top",))
_TREE = ("rd", "ipa", "index")

COMMANDS_2_0: dict[Rmi2, CommandShape] = {
    Rmi2.VERSION: CommandShape(("req",), ("lower", "higher")),
    Rmi2.RTT_DATA_MAP_INIT: CommandShape(("rd", "data", "ipa", "src", "flags")),
    Rmi2.REALM_ACTIVATE: CommandShape(("rd",)),
    Rmi2.REALM_CREATE: CommandShape(("rd", "params_ptr")),
    Rmi2.REALM_TERMINATE: CommandShape(("rd",)),
    Rmi2.REALM_DESTROY: CommandShape(("rd",)),
    Rmi2.REC_CREATE: CommandShape(("rd", "rec", "params_ptr"), ("handle", "request")),
    Rmi2.REC_DESTROY: CommandShape(("rec",), ("handle",)),
    Rmi2.REC_ENTER: CommandShape(("rec", "run_ptr")),
    Rmi2.RTT_CREATE: CommandShape(("rd", "rtt", "ipa", "level")),
    Rmi2.RTT_DESTROY: CommandShape(("rd", "ipa", "level"), ("rtt", "top")),
    Rmi2.RTT_READ_ENTRY: CommandShape(("rd", "ipa", "level"), ("walk_level", "state", "desc", "ripas")),
    Rmi2.PSCI_COMPLETE: CommandShape(("calling_rec", "target_rec", "status")),
    Rmi2.FEATURES: CommandShape(("index",), ("value",)),
    Rmi2.RTT_FOLD: CommandShape(("rd", "ipa", "level"), ("rtt",)),
    Rmi2.RTT_INIT_RIPAS: CommandShape(("rd", "base", "top"), ("out_top",)),
    Rmi2.RTT_SET_RIPAS: CommandShape(("rd", "rec", "base", "top"), ("out_top",)),
    Rmi2.RTT_SET_S2AP: CommandShape(("rd", "rec", "base", "top"), ("out_top", "index")),
    Rmi2.RMM_CONFIG_SET: CommandShape(("config_ptr",)),
    Rmi2.RMM_CONFIG_GET: CommandShape(("config_ptr",)),
    Rmi2.RMM_ACTIVATE: CommandShape(()),
    Rmi2.GRANULE_TRACKING_GET: CommandShape(("start", "end"), ("category", "state", "end")),
    Rmi2.GRANULE_RANGE_DELEGATE: _RANGE,
    Rmi2.GRANULE_RANGE_UNDELEGATE: _RANGE,
    Rmi2.GPT_L1_CREATE: CommandShape(("addr",)),
    Rmi2.GPT_L1_DESTROY: CommandShape(("addr",)),
    Rmi2.RTT_DATA_MAP: CommandShape(("rd", "base", "top", "flags", "oaddr"), ("out_top",)),
    Rmi2.RTT_DATA_UNMAP: CommandShape(("rd", "base", "top", "flags", "oaddr"), ("out_top", "range", "count")),
    Rmi2.RTT_UNPROT_MAP: CommandShape(("rd", "base", "top", "flags", "oaddr"), ("out_top",)),
    Rmi2.RTT_UNPROT_UNMAP: CommandShape(("rd", "base", "top", "flags", "oaddr"), ("out_top", "range", "count")),
    Rmi2.OP_CONTINUE: CommandShape(("handle", "flags"), ("x1", "x2")),
    Rmi2.OP_MEM_DONATE: CommandShape(("handle", "list", "count"), ("taken", "request")),
    Rmi2.OP_MEM_RECLAIM: CommandShape(("handle", "list", "count"), ("returned",)),
    Rmi2.OP_CANCEL: CommandShape(("handle",)),
    Rmi2.RTT_AUX_CREATE: CommandShape(("rd", "rtt", "ipa", "level", "index")),
    Rmi2.RTT_AUX_DESTROY: CommandShape(("rd", "ipa", "level", "index"), ("rtt", "top")),
    Rmi2.RTT_AUX_FOLD: CommandShape(("rd", "ipa", "level", "index"), ("rtt",)),
    Rmi2.RTT_AUX_MAP_PROTECTED: CommandShape(_TREE, ("index", "level", "state", "ripas")),
    Rmi2.RTT_AUX_MAP_UNPROTECTED: CommandShape(_TREE),
    Rmi2.RTT_AUX_UNMAP_PROTECTED: CommandShape(_TREE, ("top",)),
    Rmi2.RTT_AUX_UNMAP_UNPROTECTED: CommandShape(_TREE, ("top",)),
}
"""Argument and result registers per command that needs no device (DEN0137 2.0-bet0, section B4.5)."""

DEVICE_COMMANDS = frozenset(set(Rmi2) - set(COMMANDS_2_0))
"""Commands on physical and virtual devices and their SMMUs."""


class Rmi2Status(IntEnum):
    """Bits 7:0 of X0 (DEN0137 2.0-bet0, RmiStatusCode)."""

    SUCCESS = 0
    ERROR_INPUT = 1
    ERROR_REALM = 2
    ERROR_REC = 3
    ERROR_RTT = 4
    ERROR_NOT_SUPPORTED = 5
    ERROR_DEVICE = 6
    ERROR_RTT_AUX = 7
    ERROR_PSMMU_ST = 8
    ERROR_DPT = 9
    BUSY = 10
    ERROR_GLOBAL = 11
    ERROR_TRACKING = 12
    INCOMPLETE = 13
    BLOCKED = 14
    ERROR_GPT = 15
    ERROR_GRANULE = 16


_STATUS_NAMES = {int(status): status.name for status in Rmi2Status}


def status_name(x0: int) -> str:
    """Name of the status in `x0`; unknown calls are NOT_SUPPORTED."""
    return UNKNOWN_CALL if x0 == NOT_SUPPORTED else _STATUS_NAMES.get(x0 & 0xFF, f"STATUS_{x0 & 0xFF}")


class MemoryRequest(IntEnum):
    """Bits 9:8 of an INCOMPLETE result: what the operation waits for (RmiOpMemReq)."""

    NONE = 0
    DONATE = 1
    RECLAIM = 2


CAN_CANCEL = 1 << 10
DONATE_COUNT_SHIFT = 2


def incomplete(request: MemoryRequest, can_cancel: bool = False) -> int:
    """X0 of an operation that goes on (RmiResult with data of INCOMPLETE)."""
    return int(Rmi2Status.INCOMPLETE) | request << 8 | (CAN_CANCEL if can_cancel else 0)


def request_of(x0: int) -> MemoryRequest:
    """What an INCOMPLETE result waits for."""
    return MemoryRequest(x0 >> 8 & 3)


def donated_pages(request: int) -> int:
    """Pages that X2 of an operation asks to be donated (RmiOpMemDonateReq)."""
    return request >> DONATE_COUNT_SHIFT & 0x3FFF


class AddressType(IntEnum):
    """Bits 1:0 of map and unmap flags: how output addresses are given (RmiAddrType)."""

    NONE = 0
    SINGLE = 1
    LIST = 2


class MemoryCategory(IntEnum):
    """X1 of GRANULE_TRACKING_GET."""

    CONVENTIONAL = 0
    DEVICE_NON_COHERENT = 1
    DEVICE_COHERENT = 2


class Tracking(IntEnum):
    """X2 of GRANULE_TRACKING_GET."""

    RESERVED = 0
    NONE = 1
    FINE = 2
    COARSE = 3


class RttEntryState2(IntEnum):
    """Entry state in X2 of RTT_READ_ENTRY and X3 of RTT_AUX_MAP_PROTECTED."""

    VOID = 0
    DATA = 1
    TABLE = 2
    DEVICE = 3
    AUX_DESTROYED = 5


class PlaneTables(IntEnum):
    """Feature register 3, bits 5:4: how planes may be translated."""

    TREE_PER_PLANE = 0
    EITHER = 1
    SINGLE_TREE = 2


class RealmFlags0(IntFlag):
    """RmiRealmFlags0, single bits."""

    LPA2 = 1
    SVE = 2
    PMU = 4
    DA = 8


MEC_POLICY_SHIFT, MEC_POLICY_MASK = 7, 3
MEC_SHARED, MEC_PRIVATE = 0, 1
LFA_POLICY_SHIFT, LFA_POLICY_MASK = 5, 3
LFA_DISALLOW, LFA_ALLOW = 0, 1
SHA_384 = 2
FLAGS1_TREE_PER_PLANE, FLAGS1_S2AP_INDIRECT = 1, 2


class RecEnterFlags2(IntFlag):
    """RmiRecEnterFlags of 2.0."""

    EMUL_MMIO = 1
    INJECT_SEA = 2
    TRAP_WFI = 4
    TRAP_WFE = 8
    RIPAS_RESPONSE = 16
    S2AP_RESPONSE = 32
    DEV_MEM_RESPONSE = 64
    FORCE_P0 = 128


REALM_PARAMS_2_0 = Layout(
    "RmiRealmParams",
    PAGE_BYTES,
    (
        Field("flags", 0x000, 8),
        Field("s2sz", 0x008, 4),
        Field("sve_vl", 0x010, 4),
        Field("num_bps", 0x018, 4),
        Field("num_wps", 0x020, 4),
        Field("pmu_num_ctrs", 0x028, 4),
        Field("hash_algo", 0x030, 1),
        Field("num_aux_planes", 0x038, 4),
        Field("rpv", 0x400, 64, 0),
        Field("ats_plane", 0x440, 8),
        Field("rtt_base", 0x808, 8),
        Field("rtt_level_start", 0x810, 8, signed=True),
        Field("rtt_num_start", 0x818, 4),
        Field("flags1", 0x820, 8),
        Field("aux_rtt_base", 0xF80, 8, MAX_AUX_PLANES),
    ),
)
"""RmiRealmParams of 2.0: neither VMID nor MECID, but planes."""

REC_PARAMS_2_0 = Layout(
    "RmiRecParams",
    PAGE_BYTES,
    (Field("flags", 0x000, 8), Field("mpidr", 0x100, 8), Field("pc", 0x200, 8), Field("gprs", 0x300, 8, 8)),
)

REC_ENTER_2_0 = Layout("RmiRecEnter", RUN_EXIT_OFFSET, (Field("flags", 0x000, 8), Field("gprs", 0x200, 8, NUM_GPRS)))

REC_EXIT_2_0 = Layout(
    "RmiRecExit",
    PAGE_BYTES - RUN_EXIT_OFFSET,
    (
        Field("exit_reason", 0x000, 8),
        Field("esr", 0x100, 8),
        Field("far", 0x108, 8),
        Field("hpfar", 0x110, 8),
        Field("rtt_tree", 0x118, 8),
        Field("gprs", 0x200, 8, NUM_GPRS),
        Field("cntp_ctl", 0x400, 8),
        Field("cntp_cval", 0x408, 8),
        Field("cntv_ctl", 0x410, 8),
        Field("cntv_cval", 0x418, 8),
        Field("ripas_base", 0x500, 8),
        Field("ripas_top", 0x508, 8),
        Field("ripas_value", 0x510, 1),
        Field("s2ap_base", 0x520, 8),
        Field("s2ap_top", 0x528, 8),
        Field("imm", 0x600, 4),
        Field("plane", 0x608, 8),
        Field("pmu_ovf_status", 0x700, 8),
    ),
)
"""Upper half of RmiRecRun of 2.0: no GIC fields, which the Host keeps in registers."""

RMM_CONFIG = Layout("RmiRmmConfig", PAGE_BYTES, (Field("tracking_region_size", 0x0, 8), Field("granule_size", 0x8, 8)))
"""RmiRmmConfig: region size 0 is 1 GiB, granule size 0 is 4 KiB."""


class RealmParams2(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host asks REALM_CREATE of 2.0 for; breakpoint counts are minus one."""

    flags: int = 0
    s2sz: int = 0
    sve_vl: int = 0
    num_bps: int = 0
    num_wps: int = 0
    pmu_num_ctrs: int = 0
    hash_algo: int = 0
    num_aux_planes: int = 0
    rpv: bytes = bytes(64)
    ats_plane: int = 0
    rtt_base: int = 0
    rtt_level_start: int = 0
    rtt_num_start: int = 0
    flags1: int = 0
    aux_rtt_base: tuple[int, ...] = (0,) * MAX_AUX_PLANES

    def encode(self) -> bytes:
        """The parameter page."""
        return REALM_PARAMS_2_0.encode(self)

    @classmethod
    def decode(cls, page: bytes) -> RealmParams2:
        """Any 4096 bytes read as parameters."""
        return cls(**REALM_PARAMS_2_0.decode(page))


class RecParams2(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host asks REC_CREATE of 2.0 for."""

    flags: int = 0
    mpidr: int = 0
    pc: int = 0
    gprs: tuple[int, ...] = (0,) * 8

    def encode(self) -> bytes:
        """The parameter page."""
        return REC_PARAMS_2_0.encode(self)

    @classmethod
    def decode(cls, page: bytes) -> RecParams2:
        """Any 4096 bytes read as parameters."""
        return cls(**REC_PARAMS_2_0.decode(page))


class RecEnter2(msgspec.Struct, frozen=True, kw_only=True):
    """What a Host gives at REC_ENTER of 2.0."""

    flags: int = 0
    gprs: tuple[int, ...] = (0,) * NUM_GPRS

    def encode(self) -> bytes:
        """The first 0x800 bytes of the run page."""
        return REC_ENTER_2_0.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> RecEnter2:
        """Any 0x800 bytes read as an entry."""
        return cls(**REC_ENTER_2_0.decode(half_page))


class RecExit2(RecExit, kw_only=True):
    """What the Host finds after REC_ENTER of 2.0; fields of 1.0 that left the page stay inside the RMM."""

    rtt_tree: int = 0
    s2ap_base: int = 0
    s2ap_top: int = 0
    plane: int = 0

    def encode(self) -> bytes:
        """The last 0x800 bytes of the run page."""
        return REC_EXIT_2_0.encode(self)

    @classmethod
    def decode(cls, half_page: bytes) -> RecExit2:
        """The upper half of a run page read as an exit."""
        return cls(**REC_EXIT_2_0.decode(half_page))
