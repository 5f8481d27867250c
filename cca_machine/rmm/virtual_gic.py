"""List registers that software one level up wants to load (DEN0137 1.0-rel0, section A6.1)."""

from __future__ import annotations

from collections.abc import Sequence

from cca_machine.rmm.features import GicFeatures

LR_STATE_SHIFT = 62
LR_PENDING = 1
"""Bit of the state field: pending, or pending and active."""
LR_HW = 1 << 61
LR_PRIORITY_SHIFT = 48
LR_PINTID_MASK = 0x1FFF << 32
LR_EOI = 1 << 41
MAX_SPI, MIN_LPI = 1019, 8192
EXTENDED_PPI, EXTENDED_SPI = range(1056, 1120), range(4096, 5120)


def are_list_registers_valid(list_registers: Sequence[int], gic: GicFeatures, *, thorough: bool = True) -> bool:
    """Whether all active ones are purely virtual, and name different interrupts; also real ones if `thorough`."""
    active = [lr for lr in list_registers[: gic.num_lrs] if lr >> LR_STATE_SHIFT]
    interrupts = [lr & 0xFFFF_FFFF for lr in active]
    if len(set(interrupts)) != len(interrupts):
        return False
    if not thorough:
        return not any(lr & LR_HW for lr in active)
    return all(
        not lr & LR_HW
        and not (lr >> LR_PRIORITY_SHIFT & 0xFF) & gic.pri_res0_mask
        and not lr & LR_PINTID_MASK & ~LR_EOI
        and _is_virtual_interrupt(lr & 0xFFFF_FFFF, gic)
        for lr in active
    )


def _is_virtual_interrupt(vintid: int, gic: GicFeatures) -> bool:
    if vintid <= MAX_SPI or MIN_LPI <= vintid <= gic.max_vintid:
        return True
    return gic.extended_ranges and (vintid in EXTENDED_PPI or vintid in EXTENDED_SPI)
