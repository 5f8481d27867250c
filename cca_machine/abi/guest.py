"""The port between a REC and the program inside the Realm.

Whenever a REC runs, the RMM asks a `GuestPort` for the next thing that the Realm does, and hands it a `RecView`: what
software in the Realm can see and touch without leaving it. Programs, the trace replayer and tests implement the port.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

import msgspec


class ExceptionKind(IntEnum):
    """How a PE leaves a Realm for R-EL2."""

    SYNC = 0
    IRQ = 1
    FIQ = 2
    SERROR = 3


class SystemRegister(StrEnum):
    """State of a vCPU besides its general registers that a Realm, its timers or its virtual GIC can change."""

    CNTP_CTL = "cntp_ctl"
    CNTP_CVAL = "cntp_cval"
    CNTV_CTL = "cntv_ctl"
    CNTV_CVAL = "cntv_cval"
    SCTLR_EL1 = "sctlr_el1"
    VBAR_EL1 = "vbar_el1"
    ESR_EL1 = "esr_el1"
    FAR_EL1 = "far_el1"
    ELR_EL1 = "elr_el1"
    SPSR_EL1 = "spsr_el1"
    ICH_MISR = "ich_misr"
    ICH_VMCR = "ich_vmcr"
    ICH_HCR_EOICOUNT = "ich_hcr_eoicount"
    PMU_OVERFLOW = "pmu_overflow"
    VSESR_EL2 = "vsesr_el2"


class RealmAccessFault(Exception):
    """The Realm touched an IPA that stage 2 does not let it reach.

    A program answers it with an `Access` of the same IPA, so that the abort is taken where the architecture takes it,
    and repeats the access when it runs again.
    """

    def __init__(self, ipa: int) -> None:
        super().__init__(f"no stage 2 mapping for IPA {ipa:#x}")
        self.ipa = ipa


class Smc(msgspec.Struct, frozen=True, tag="smc"):
    """Put `registers` into x0, x1, .. (the others keep theirs) and execute SMC."""

    registers: tuple[int, ...]


class Exception_(msgspec.Struct, frozen=True, tag="exception"):
    """Leave with an exception as hardware reports it: ESR_EL2, FAR_EL2, HPFAR_EL2."""

    kind: ExceptionKind
    esr: int = 0
    far: int = 0
    hpfar: int = 0


class SetRegister(msgspec.Struct, frozen=True, tag="register"):
    """Set general register x`index` (0 to 30) and carry on."""

    index: int
    value: int


class SetSystemRegister(msgspec.Struct, frozen=True, tag="system-register"):
    """Set one piece of vCPU state and carry on; a timer output that changes level exits to the Host as an IRQ."""

    register: SystemRegister
    value: int


class SetListRegister(msgspec.Struct, frozen=True, tag="list-register"):
    """The virtual GIC changed ICH_LR`index` (an interrupt was acknowledged or ended) and the Realm carries on."""

    index: int
    value: int


class Poke(msgspec.Struct, frozen=True, tag="poke"):
    """Store `data` (within one granule) at `ipa` and carry on; a faulting store is a data abort without ISV."""

    ipa: int
    data: bytes


class Access(msgspec.Struct, frozen=True, tag="access", kw_only=True):
    """One load or store of 1, 2, 4 or 8 bytes, or an instruction fetch, at `ipa` (virtual address equal to it).

    Where stage 2 maps the page it happens (a load fills x`register`, zero-extended unless `sign_extend`); otherwise it
    is an abort with a syndrome made from these fields, and it is repeated or emulated at the next entry.
    """

    ipa: int
    write: bool = False
    size: int = 8
    register: int = 0
    sign_extend: bool = False
    sixty_four: bool = True
    instruction: bool = False


class Yield(msgspec.Struct, frozen=True, tag="yield"):
    """Nothing more for now: the PE is taken away from the Realm by an interrupt (`kind` IRQ or FIQ)."""

    kind: ExceptionKind = ExceptionKind.FIQ


GuestEvent = Smc | Exception_ | SetRegister | SetSystemRegister | SetListRegister | Poke | Access | Yield


@runtime_checkable
class RecView(Protocol):
    """A running REC as the software inside sees it; valid only during the call that received it."""

    @property
    def rd(self) -> int:
        """PA of the Realm's RD: the name of the Realm on this machine."""
        ...

    @property
    def rec(self) -> int:
        """PA of the REC granule."""
        ...

    @property
    def index(self) -> int:
        """REC index: 0 for the first vCPU."""
        ...

    @property
    def plane(self) -> int:
        """Plane whose software runs: 0 is P0, and the only one before RMI 2.0."""
        ...

    @property
    def gprs(self) -> Sequence[int]:
        """x0..x30; do not change, answer `SetRegister` instead."""
        ...

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        ...

    @property
    def ipa_width(self) -> int:
        """Width of the IPA space in bits; addresses with the top bit set are shared with the Host."""
        ...

    def system_register(self, register: SystemRegister) -> int:
        """Current value of `register`."""
        ...

    def list_registers(self) -> Sequence[int]:
        """ICH_LR0.. as the Host presented them at entry and the Realm changed them since."""
        ...

    def read(self, ipa: int, size: int) -> bytes:
        """`size` bytes at `ipa` through stage 2, protected or shared.

        Raises:
            RealmAccessFault: with the first IPA that cannot be read.
        """
        ...

    def write(self, ipa: int, data: bytes) -> None:
        """Store `data` at `ipa` through stage 2, all or nothing.

        Raises:
            RealmAccessFault: with the first IPA that cannot be written.
        """
        ...


class GuestPort(Protocol):
    """Whatever decides what Realms do when their RECs run."""

    def next_event(self, rec: RecView) -> GuestEvent:
        """What the Realm does next on `rec`; asked until the REC exits, so an endless answer never returns."""
        ...
