"""The SMC Calling Convention as CCA uses it: function id layout and register rules."""

from __future__ import annotations

from collections.abc import Sequence

MASK64 = 0xFFFF_FFFF_FFFF_FFFF

FAST_64_STANDARD_SECURE = 0xC400_0000
"""SMC64 fast call, owning entity 4 (SMCCC DEN0028, section 2.5)."""

SVE_HINT = 1 << 16
"""Bit of a function id that says no live SVE state; masked off before decoding (SMCCC 1.3, section 2.5)."""

NOT_SUPPORTED = MASK64
"""X0 of a call to an unknown function id, seen by Host and Realm alike (SMCCC, section 2.11)."""

RESULT_REGISTERS = 8
"""x0..x7 travel in both directions between the Normal world and the RMM (rmm-el3-comms-spec)."""

SMCCC_VERSION = 0x8000_0000
SMCCC_VERSION_1_2 = 0x1_0002

Registers = tuple[int, ...]
"""x0..x7 as unsigned 64-bit values."""


def fast64(number: int) -> int:
    """Function id of standard secure service call `number` (0x150 gives 0xC4000150)."""
    return FAST_64_STANDARD_SECURE + number


def function_id(x0: int) -> int:
    """The 32-bit function id in `x0` with the SVE hint masked off."""
    return x0 & 0xFFFF_FFFF & ~SVE_HINT


def signed(value: int) -> int:
    """A 64-bit register read as two's complement."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


def unsigned(value: int) -> int:
    """A possibly negative value as it stands in a 64-bit register."""
    return value & MASK64


def registers(values: Sequence[int]) -> Registers:
    """`values` as x0..x7, outputs that are not given reading zero."""
    given = tuple(value & MASK64 for value in values[:RESULT_REGISTERS])
    return given + (0,) * (RESULT_REGISTERS - len(given))
