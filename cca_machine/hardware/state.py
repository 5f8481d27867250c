"""Everything of the hardware that a snapshot holds."""

from __future__ import annotations

import msgspec

from cca_machine.hardware.gpt import GranuleProtectionTable
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.memory import PhysicalMemory
from cca_machine.hardware.pe import Pe

HARDWARE_STATE_VERSION = 1


class HardwareState(msgspec.Struct, kw_only=True):
    """Memory with its protection table, and the PEs; `version` guards snapshots."""

    memory: PhysicalMemory
    pes: list[Pe]
    version: int = HARDWARE_STATE_VERSION

    @classmethod
    def build(cls, dram: tuple[Bank, ...], pes: int = 1) -> HardwareState:
        """A machine after EL3 set up the GPT: all DRAM Non-secure and zero."""
        return cls(memory=PhysicalMemory.over(*dram), pes=[Pe(index) for index in range(pes)])

    @property
    def gpt(self) -> GranuleProtectionTable:
        """The protection table that every memory access is checked against."""
        return self.memory.gpt

    def irq_pending(self, pe: int) -> bool:
        """Whether an interrupt waits on PE `pe`; a PE that does not exist has none."""
        return 0 <= pe < len(self.pes) and self.pes[pe].irq_pending

    def look_for_irq(self, pe: int) -> bool:
        """One look at the interrupt status of PE `pe` by firmware that works on and may be interrupted."""
        if self.irq_pending(pe):
            return True
        if not 0 <= pe < len(self.pes) or self.pes[pe].irq_after < 0:
            return False
        if not self.pes[pe].irq_after:
            return True
        self.pes[pe].irq_after -= 1
        return False

    def list_registers(self, pe: int) -> list[int]:
        """ICH_LR0_EL2 and up on PE `pe`; a PE that does not exist has none."""
        return list(self.pes[pe].list_registers) if 0 <= pe < len(self.pes) else []

    def set_list_registers(self, pe: int, values: list[int]) -> None:
        """Leave the list registers of PE `pe`, if it exists, for the Host to find."""
        if 0 <= pe < len(self.pes):
            self.pes[pe].list_registers = list(values)

    def digest(self) -> bytes:
        """SHA-256 over memory and protection; pending interrupts belong to the moment and are left out."""
        return self.memory.digest()
