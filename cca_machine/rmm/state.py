"""Everything of the RMM that a snapshot holds, and that a new RMM image takes over in a live activation."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import msgspec

from cca_machine.abi.guest import SystemRegister
from cca_machine.hardware.granule_map import Bank, GranuleMap
from cca_machine.rmm.granule import granule_table
from cca_machine.rmm.rtt import Table

RMM_STATE_VERSION = 1

PSTATE_EL1H_MASKED = 0x3C5
"""EL1h, AArch64, D, A, I, F masked: how every vCPU starts (DEN0137 1.0-rel0, section A4.3.5)."""


class RealmState(IntEnum):
    """Life of a Realm (DEN0137 1.0-rel0, section A2.1.5)."""

    NEW = 0
    ACTIVE = 1
    SYSTEM_OFF = 2


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


class RmmState(msgspec.Struct, kw_only=True):
    """The root. `realms`, `recs` and `tables` are named by the PA of their granule; `vmids` by VMID, giving the RD."""

    granules: GranuleMap
    realms: dict[int, Realm] = {}
    recs: dict[int, Rec] = {}
    tables: dict[int, Table] = {}
    vmids: dict[int, int] = {}
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
            [(pa, self.recs[pa], sorted(self.recs[pa].system.items())) for pa in sorted(self.recs)],
            [(pa, self.tables[pa]) for pa in sorted(self.tables)],
        )
        return hashlib.sha256(msgspec.msgpack.encode(sections)).digest()
