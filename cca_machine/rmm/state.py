"""Everything of the RMM that a snapshot holds, and that a new RMM image takes over in a live activation."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import msgspec

from cca_machine.abi.guest import SystemRegister
from cca_machine.hardware.granule_map import Bank, GranuleMap
from cca_machine.rmm.granule import granule_table
from cca_machine.rmm.operation import MecState, Operation
from cca_machine.rmm.table_store import TableStore

RMM_STATE_VERSION = 1

PSTATE_EL1H_MASKED = 0x3C5
"""EL1h, AArch64, D, A, I, F masked: how every vCPU starts (DEN0137 1.0-rel0, section A4.3.5)."""


class RealmState(IntEnum):
    """Life of a Realm (DEN0137 1.0-rel0, section A2.1.5)."""

    NEW = 0
    ACTIVE = 1
    SYSTEM_OFF = 2
    ZOMBIE = 3
    """Terminated, waiting to be taken apart (RMI 2.0)."""


class PlaneConfiguration(msgspec.Struct, kw_only=True):
    """Planes of a Realm, and what translation knows of them (RMI 2.0).

    Contexts are numbered as TF-RMM does: plane p uses context (p + 1) mod (number of planes), context 0 has the primary
    tree. `overlays` holds sixteen 4-bit permission labels per context; bit i of `locked` makes index i immutable.
    """

    aux: int = 0
    tree_per_plane: bool = False
    indirect: bool = False
    ats_plane: int = 0
    aux_rtt_base: list[int] = []
    vmids: list[int] = []
    overlays: list[int] = []
    locked: int = 0

    @property
    def count(self) -> int:
        """Planes, P0 included."""
        return self.aux + 1

    def context_of(self, plane: int) -> int:
        """Translation context of a plane."""
        return (plane + 1) % self.count

    def tree_of(self, plane: int) -> int:
        """Tree that translates for a plane."""
        return self.context_of(plane) if self.tree_per_plane else 0


class Realm(msgspec.Struct, kw_only=True):
    """A Realm: what its RD granule holds. `measurements` are RIM and four REMs, 64 bytes each."""

    state: RealmState
    flags: int
    ipa_width: int
    sve_vl: int
    num_bps: int
    num_wps: int
    pmu_num_ctrs: int
    hash_algo: int
    rpv: bytes
    vmid: int
    rtt_base: int
    rtt_level_start: int
    rtt_num_start: int
    num_aux: int
    measurements: list[bytes]
    rec_index: int = 0
    """RECs ever created: the index of the next one. Never decreases."""
    num_recs: int = 0
    planes: PlaneConfiguration = msgspec.field(default_factory=PlaneConfiguration)
    mecid: int = 0
    instance_id: bytes = b""

    @property
    def lpa2(self) -> bool:
        """Whether addresses may be 52 bits wide."""
        return bool(self.flags & 1)

    @property
    def pmu(self) -> bool:
        """Whether the Realm has a PMU."""
        return bool(self.flags & 4)

    @property
    def half(self) -> int:
        """First unprotected IPA."""
        return 1 << self.ipa_width - 1

    def root_of(self, tree: int) -> int:
        """PA of the first root table of a tree; planes that share one tree share its root."""
        aux = self.planes.aux_rtt_base
        return self.rtt_base if not tree or not aux else aux[tree - 1]


class AttestationOperation(msgspec.Struct, kw_only=True):
    """A token being made on a REC: claims captured at INIT, the token from the first CONTINUE on, bytes handed out."""

    challenge: bytes
    measurements: list[bytes]
    token: bytes | None = None
    copied: int = 0


class RipasRequest(msgspec.Struct, kw_only=True):
    """A RIPAS change that the Host is asked to make: done from `base` up to `address`, wanted up to `top`."""

    base: int
    top: int
    address: int
    ripas: int
    change_destroyed: bool


class LastExit(msgspec.Struct):
    """Syndrome of the exit that the next entry may answer; zero when there is nothing to answer."""

    esr: int = 0
    far: int = 0
    hpfar: int = 0


class PermissionRequest(msgspec.Struct, kw_only=True):
    """A change of overlay index that the Host is asked to make: done up to `base`, wanted up to `top` (RMI 2.0)."""

    base: int
    top: int
    index: int
    cookie: int


class PlaneContext(msgspec.Struct, kw_only=True):
    """A plane of a vCPU that does not run now."""

    gprs: list[int]
    pc: int
    pstate: int
    system: dict[SystemRegister, int]
    registers: dict[str, int]
    list_registers: list[int]
    last_exit: LastExit
    trap_wfi: bool = False
    trap_wfe: bool = False


class Rec(msgspec.Struct, kw_only=True):
    """A vCPU: what its REC granule and auxiliary granules hold."""

    rd: int
    index: int
    mpidr: int
    runnable: bool
    gprs: list[int]
    pc: int
    aux: list[int]
    pstate: int = PSTATE_EL1H_MASKED
    running: bool = False
    psci_pending: bool = False
    host_call_ipa: int | None = None
    """IPA of the host call structure while a host call waits for its answer."""
    ripas: RipasRequest | None = None
    attestation: AttestationOperation | None = None
    last_exit: LastExit = msgspec.field(default_factory=LastExit)
    system: dict[SystemRegister, int] = {}
    list_registers: list[int] = []
    timers_seen: int = 0
    """Asserted EL1 timer outputs that the Host knows of: bit 0 physical, bit 1 virtual."""
    trap_wfi: bool = False
    trap_wfe: bool = False
    active_plane: int = 0
    """The plane that the registers above belong to."""
    planes: dict[int, PlaneContext] = {}
    """The other planes that have run, or whose registers P0 has set."""
    registers: dict[str, int] = {}
    """System registers of the active plane that nothing but RSI_PLANE_SYSREG commands looks at."""
    gic_owner: int = 0
    trap_host_call: bool = False
    trap_simd: bool = False
    permissions: PermissionRequest | None = None


class RmmState(msgspec.Struct, kw_only=True):
    """The root. `realms`, `recs` and `tables` are named by the PA of their granule; `vmids` by VMID, giving the RD."""

    granules: GranuleMap
    realms: dict[int, Realm] = {}
    recs: dict[int, Rec] = {}
    tables: TableStore = msgspec.field(default_factory=TableStore)
    vmids: dict[int, int] = {}
    active: bool = False
    """Whether RMM_ACTIVATE of RMI 2.0 was called; RMI 1.0 knows no such state."""
    device_granules: GranuleMap | None = None
    operations: dict[int, Operation] = {}
    """Stateful operations under way, by handle."""
    mec: MecState = msgspec.field(default_factory=MecState)
    references: dict[int, int] = {}
    """Mappings in auxiliary trees per DATA granule that has any."""
    realms_created: int = 0
    failed: bool = False
    version: int = RMM_STATE_VERSION

    @classmethod
    def boot(cls, dram: tuple[Bank, ...]) -> RmmState:
        """State after a cold boot on a machine with these banks of delegable memory."""
        return cls(granules=granule_table(*dram))

    def digest(self) -> bytes:
        """SHA-256 over the whole state; equal states give equal digests however they came about."""
        sections = (
            self.version,
            self.failed,
            list(self.granules.runs()),
            sorted(self.vmids.items()),
            [(pa, self.realms[pa]) for pa in sorted(self.realms)],
            [(pa, _ordered(self.recs[pa])) for pa in sorted(self.recs)],
            list(self.tables.items()),
        )
        return hashlib.sha256(msgspec.msgpack.encode((*sections, *self._later_sections()))).digest()

    def _later_sections(self) -> tuple[object, ...]:
        """What only an RMM of RMI 2.0 has; nothing while it has done nothing."""
        devices = list(self.device_granules.runs()) if self.device_granules else []
        if not (self.active or devices):
            return ()
        return (
            devices,
            sorted(self.operations.items()),
            (self.mec.shared, sorted(self.mec.private.items())),
            sorted(self.references.items()),
            self.realms_created,
        )


def _ordered(rec: Rec) -> Rec:
    planes = {
        plane: msgspec.structs.replace(
            context, system=dict(sorted(context.system.items())), registers=dict(sorted(context.registers.items()))
        )
        for plane, context in sorted(rec.planes.items())
    }
    system, registers = dict(sorted(rec.system.items())), dict(sorted(rec.registers.items()))
    return msgspec.structs.replace(rec, system=system, registers=registers, planes=planes)
