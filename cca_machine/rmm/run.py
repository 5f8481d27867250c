"""Running a REC: timers, events of the guest until one exits, and what the Host is shown (DEN0137 1.0-rel0, A4)."""

from __future__ import annotations

from cca_machine.abi.guest import SystemRegister
from cca_machine.abi.rmi import GICV3_HCR_HOST_BITS, NUM_LIST_REGISTERS, ExitReason
from cca_machine.rmm.events import perform
from cca_machine.rmm.plane import P0
from cca_machine.rmm.state import Rec
from cca_machine.rmm.view import RunningRec

TIMER_ENABLE, TIMER_IMASK, TIMER_ISTATUS = 1, 2, 4
EOI_COUNT = 0x1F << 27


def run_until_exit(running: RunningRec) -> None:
    """Let the guest run until something exits to the Host, then describe the exit.

    A timer output that differs from what the Host last saw exits at once with IRQ. The caller marks the end of the run.
    """
    rec, core = running.state, running.core
    rec.running = True
    while asserted_timers(rec) == rec.timers_seen:
        if not perform(running, core.guest.next_event(running)):
            return
    running.exit.exit_reason = ExitReason.IRQ


def describe_exit(running: RunningRec, gicv3_hcr: int) -> None:
    """Fill the exit fields that every exit has: virtual GIC, timers, PMU."""
    rec, out = running.state, running.exit
    count_bits = rec.system.get(SystemRegister.ICH_HCR_EOICOUNT, 0) << 27 & EOI_COUNT
    out.gicv3_hcr = gicv3_hcr & GICV3_HCR_HOST_BITS | count_bits
    out.gicv3_lrs = (*rec.list_registers, *(0,) * (NUM_LIST_REGISTERS - len(rec.list_registers)))
    out.gicv3_misr = rec.system.get(SystemRegister.ICH_MISR, 0)
    out.gicv3_vmcr = rec.system.get(SystemRegister.ICH_VMCR, 0)
    out.cntp_ctl, out.cntp_cval = _earliest(rec, SystemRegister.CNTP_CTL, SystemRegister.CNTP_CVAL)
    out.cntv_ctl, out.cntv_cval = _earliest(rec, SystemRegister.CNTV_CTL, SystemRegister.CNTV_CVAL)
    rec.timers_seen = asserted_timers(rec)
    if running.realm.pmu:
        out.pmu_ovf_status = 1 if rec.system.get(SystemRegister.PMU_OVERFLOW, 0) else 0
    running.core.tally.exit(ExitReason(out.exit_reason))


def asserted_timers(rec: Rec) -> int:
    """EL1 timer outputs: bit 0 physical, bit 1 virtual; ENABLE and ISTATUS and not IMASK.

    While another plane runs, the timers of P0 go on.
    """
    return sum(
        bit
        for bit, register in ((1, SystemRegister.CNTP_CTL), (2, SystemRegister.CNTV_CTL))
        if any(timers.get(register, 0) & 7 == TIMER_ENABLE | TIMER_ISTATUS for timers in _timers(rec))
    )


def _timers(rec: Rec) -> list[dict[SystemRegister, int]]:
    """Registers of P0, and of the plane that runs if that is another."""
    return [rec.planes[P0].system, rec.system] if rec.active_plane else [rec.system]


def _earliest(rec: Rec, control: SystemRegister, deadline: SystemRegister) -> tuple[int, int]:
    """CTL and CVAL of the timer that the Host must watch: of those enabled the earliest, P0's if none is."""
    found = _timers(rec)
    enabled = [timers for timers in found if timers.get(control, 0) & TIMER_ENABLE]
    first = min(enabled or found[:1], key=lambda timers: timers.get(deadline, 0))
    return first.get(control, 0), first.get(deadline, 0)
