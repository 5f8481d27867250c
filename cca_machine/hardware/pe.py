"""Processing elements: the little of them that firmware behaviour depends on."""

from __future__ import annotations

import msgspec


class Pe(msgspec.Struct):
    """One PE of the machine."""

    index: int
    irq_pending: bool = False
    """A physical interrupt waits (ISR_EL1 is not zero): long RSI commands give up the PE at their next check."""
    irq_after: int = -1
    """Looks at the interrupt status that still find none before one that finds an interrupt; negative: none comes."""
    list_registers: list[int] = []
    """ICH_LR0_EL2 and up as the Host left them: under RMI 2.0 it keeps the virtual interrupts of a REC here."""
