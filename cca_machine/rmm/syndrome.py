"""Exception syndromes: fields of ESR_EL2 and what of them a Host may see (DDI0487 ESR_EL2; DEN0137 1.0-rel0, A4.3)."""

from __future__ import annotations

from enum import IntEnum

from cca_machine.abi.smc import MASK64

EC_SHIFT = 26
IL = 1 << 25
ISV = 1 << 24
SSE = 1 << 21
SF = 1 << 15
FNV = 1 << 10
EA = 1 << 9
S1PTW = 1 << 7
WNR = 1 << 6
FSC_MASK = 0x3F
EC_MASK = 0x3F << EC_SHIFT

FSC_ADDRESS_SIZE_L0 = 0x00
FSC_TRANSLATION_L0 = 0x04
FSC_PERMISSION_L0 = 0x0C
FSC_EXTERNAL = 0x10
FSC_EXTERNAL_WALK = range(0x13, 0x18)

VISIBLE_NOT_EMULATED = 0xFC00_1E3F
"""EC, SET, FnV, EA and FSC: what the Host sees of an abort that it cannot emulate."""

VISIBLE_EMULATED = 0xFDC0_9E7F
"""The same with ISV, SAS, SF and WnR: what emulating a load or store takes. SSE and SRT stay hidden."""

VISIBLE_SERROR = 0xFD00_1E3F

WFX_TI = 0x3
WFX_TI_BIT_0 = 0x1
WFX_RV = 1 << 2

SET_SHIFT = 11
SET_RECOVERABLE, SET_UNCONTAINABLE, SET_RESTARTABLE = 0, 2, 3

AET_SHIFT = 10
AET_UNCONTAINABLE, AET_UNRECOVERABLE, AET_RECOVERABLE = 0, 1, 3

XZR = 31


class ExceptionClass(IntEnum):
    """ESR_EL2.EC of the exceptions that leave a Realm."""

    UNKNOWN = 0x00
    WFX = 0x01
    FP = 0x07
    HVC = 0x16
    SMC = 0x17
    SYSTEM_REGISTER = 0x18
    SVE = 0x19
    SME = 0x1D
    INSTRUCTION_ABORT = 0x20
    DATA_ABORT = 0x24
    SERROR = 0x2F


def exception_class(esr: int) -> int:
    """ESR.EC."""
    return esr >> EC_SHIFT & 0x3F


def access_bytes(esr: int) -> int:
    """Bytes of the access that a data abort with valid syndrome describes."""
    return 1 << (esr >> 22 & 3)


def transfer_register(esr: int) -> int:
    """ESR.ISS.SRT; 31 is xzr."""
    return esr >> 16 & 0x1F


def is_external(esr: int) -> bool:
    """Whether an abort is a synchronous external abort, on the access or on a walk."""
    code = esr & FSC_MASK
    return code == FSC_EXTERNAL or code in FSC_EXTERNAL_WALK


def is_permission_fault(esr: int) -> bool:
    """Whether an abort is a permission fault of any level."""
    return (esr & FSC_MASK) >> 2 == FSC_PERMISSION_L0 >> 2


def faulting_ipa(hpfar: int) -> int:
    """Page address in HPFAR_EL2.FIPA, bits 43:4."""
    return (hpfar & 0xFFF_FFFF_FFF0) << 8


def hpfar_of(ipa: int) -> int:
    """HPFAR_EL2 that reports the page of `ipa`."""
    return ipa >> 12 << 4


def emulated_load(esr: int, data: int) -> int:
    """Register value after a load that the Host emulated: truncated, and extended as the instruction asked."""
    bits = 8 * access_bytes(esr)
    value = data & (1 << bits) - 1
    if esr & SSE:
        sign = 1 << bits - 1
        value = (value ^ sign) - sign & MASK64
        if not esr & SF:
            value &= 0xFFFF_FFFF
    return value


def data_abort(*, write: bool, size: int, register: int, sign_extend: bool, sixty_four: bool, fsc: int) -> int:
    """ESR_EL2 of a data abort from a lower level with valid instruction syndrome."""
    esr = ExceptionClass.DATA_ABORT << EC_SHIFT | IL | ISV | (size.bit_length() - 1) << 22 | register << 16 | fsc
    return esr | (SSE if sign_extend else 0) | (SF if sixty_four else 0) | (WNR if write else 0)


def instruction_abort(fsc: int) -> int:
    """ESR_EL2 of an instruction abort from a lower level."""
    return ExceptionClass.INSTRUCTION_ABORT << EC_SHIFT | IL | fsc
