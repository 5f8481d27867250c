"""PSCI for the Host: which PEs run.

A cold boot leaves every PE on, because the boot that a machine models ends with a running Host. Turning the whole
machine off or on again is the machine's business and not offered here. Source: DEN0022 1.1, chapter 5; TF-A lib/psci.
"""

from __future__ import annotations

from collections.abc import Sequence

from cca_machine.abi.psci import VERSION_1_1, Affinity, Psci, PsciStatus
from cca_machine.abi.smc import Registers, registers
from cca_machine.monitor.state import Volatile

NO_RETURN: Registers = ()
"""Instead of registers: the PE has not come back from its call, because it is off or held in the pen."""

AFF1_SHIFT = 8
"""PE n has MPIDR affinity n << 8: affinity level 0 is for threads, as on Neoverse cores."""

SUPPORTED = (
    Psci.VERSION, Psci.CPU_OFF, Psci.CPU_ON_32, Psci.CPU_ON, Psci.AFFINITY_INFO_32, Psci.AFFINITY_INFO, Psci.FEATURES,
)  # fmt: skip


def mpidr_of(pe: int) -> int:
    """MPIDR affinity fields of PE `pe`."""
    return pe << AFF1_SHIFT


def _pe_of(volatile: Volatile, mpidr: int) -> int | None:
    pe, thread = divmod(mpidr, 1 << AFF1_SHIFT)
    return pe if not thread and pe < len(volatile.pes) else None


def psci(volatile: Volatile, fid: int, args: Sequence[int], pe: int) -> Registers:
    """One PSCI call on PE `pe`; calls that are not SUPPORTED answer NOT_SUPPORTED."""
    if fid == Psci.VERSION:
        return registers([VERSION_1_1])
    if fid == Psci.FEATURES:
        return registers([PsciStatus.SUCCESS if args[0] in SUPPORTED else PsciStatus.NOT_SUPPORTED])
    if fid == Psci.CPU_OFF:
        return _cpu_off(volatile, pe)
    if fid in (Psci.CPU_ON, Psci.CPU_ON_32):
        return registers([_cpu_on(volatile, args[0])])
    if fid in (Psci.AFFINITY_INFO, Psci.AFFINITY_INFO_32):
        target = _pe_of(volatile, args[0])
        if target is None or args[1] != 0:
            return registers([PsciStatus.INVALID_PARAMETERS])
        return registers([Affinity.ON if volatile.pes[target].on else Affinity.OFF])
    return registers([PsciStatus.NOT_SUPPORTED])


def _cpu_on(volatile: Volatile, mpidr: int) -> PsciStatus:
    """Turn a PE on; it passes the warm entry of the RMM that runs now (TF-A rmmd_cpu_on_finish_handler)."""
    target = _pe_of(volatile, mpidr)
    if target is None:
        return PsciStatus.INVALID_PARAMETERS
    if volatile.pes[target].on:
        return PsciStatus.ALREADY_ON
    volatile.pes[target].on = True
    volatile.pes[target].rmm_sequence = volatile.launch.rmm_sequence
    return PsciStatus.SUCCESS


def _cpu_off(volatile: Volatile, pe: int) -> Registers:
    """Turn the calling PE off; the last one that runs is denied (DEN0022, section 5.5)."""
    if sum(one.on for one in volatile.pes) == 1:
        return registers([PsciStatus.DENIED])
    volatile.pes[pe].on = False
    return NO_RETURN
