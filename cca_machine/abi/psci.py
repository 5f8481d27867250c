"""PSCI 1.1 as the RMM serves it to Realms (DEN0022; DEN0137 1.0-rel0, part B6)."""

from __future__ import annotations

from enum import IntEnum

VERSION_1_1 = 0x1_0001


class Psci(IntEnum):
    """Function ids; the 64-bit and 32-bit forms of one function are two members."""

    VERSION = 0x8400_0000
    CPU_SUSPEND_32 = 0x8400_0001
    CPU_SUSPEND = 0xC400_0001
    CPU_OFF = 0x8400_0002
    CPU_ON_32 = 0x8400_0003
    CPU_ON = 0xC400_0003
    AFFINITY_INFO_32 = 0x8400_0004
    AFFINITY_INFO = 0xC400_0004
    SYSTEM_OFF = 0x8400_0008
    SYSTEM_RESET = 0x8400_0009
    FEATURES = 0x8400_000A


class PsciStatus(IntEnum):
    """Signed return codes (DEN0022, section 5.2.2)."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    DENIED = -3
    ALREADY_ON = -4
    ON_PENDING = -5
    INTERNAL_FAILURE = -6
    NOT_PRESENT = -7
    DISABLED = -8
    INVALID_ADDRESS = -9


class Affinity(IntEnum):
    """Answers of AFFINITY_INFO (DEN0022, section 5.7.1)."""

    ON = 0
    OFF = 1


def is_psci(fid: int) -> bool:
    """Whether `fid` lies in the PSCI range of either width (function numbers 0 to 0x1F)."""
    return fid & ~0x4000_001F == 0x8400_0000
