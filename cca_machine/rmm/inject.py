"""Exceptions that the RMM makes a Realm take at EL1 (DDI0487 AArch64.TakeException; TF-RMM core/inject_exp.c)."""

from __future__ import annotations

from cca_machine.abi.guest import SystemRegister
from cca_machine.rmm import syndrome
from cca_machine.rmm.state import PSTATE_EL1H_MASKED, Rec

MODE_MASK = 0xF
EL0T, EL1T, EL1H = 0x0, 0x4, 0x5
VECTOR_OFFSETS = {EL1H: 0x200, EL1T: 0x000, EL0T: 0x400}
NZCV = 0xF << 28
DIT = 1 << 24
PAN = 1 << 22
SCTLR_SPAN = 1 << 23
SCTLR_EE = 1 << 25


def synchronous_external_abort(rec: Rec, esr: int, far: int) -> None:
    """Turn an abort taken to R-EL2 with `esr` into an external abort inside the Realm (ESR_EL1.EA = 1)."""
    _abort(rec, esr, far, syndrome.FSC_EXTERNAL | syndrome.EA)


def address_size_fault(rec: Rec, esr: int, far: int) -> None:
    """An access beyond the IPA space, taken inside the Realm."""
    _abort(rec, esr, far, syndrome.FSC_ADDRESS_SIZE_L0)


def undefined(rec: Rec) -> None:
    """An Unknown exception: the instruction does not exist for this Realm."""
    _take(rec, syndrome.IL | syndrome.ExceptionClass.UNKNOWN << syndrome.EC_SHIFT)


def _abort(rec: Rec, esr: int, far: int, status: int) -> None:
    hidden = syndrome.EC_MASK | syndrome.FSC_MASK | syndrome.FNV | syndrome.S1PTW
    cause = syndrome.exception_class(esr)
    if rec.pstate & MODE_MASK != EL0T:
        cause += 1
    rec.system[SystemRegister.FAR_EL1] = far
    _take(rec, esr & ~hidden | cause << syndrome.EC_SHIFT | status)


def _take(rec: Rec, esr: int) -> None:
    sctlr = rec.system.get(SystemRegister.SCTLR_EL1, 0)
    rec.system[SystemRegister.ESR_EL1] = esr
    rec.system[SystemRegister.ELR_EL1] = rec.pc
    rec.system[SystemRegister.SPSR_EL1] = rec.pstate
    rec.pc = rec.system.get(SystemRegister.VBAR_EL1, 0) + VECTOR_OFFSETS.get(rec.pstate & MODE_MASK, 0x200)
    rec.pstate = PSTATE_EL1H_MASKED | rec.pstate & (NZCV | DIT) | (0 if sctlr & SCTLR_SPAN else PAN)
