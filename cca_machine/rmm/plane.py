"""Planes: how P0 enters another plane of its vCPU, and how control comes back (DEN0137 2.0-bet0; TF-RMM planes.c).

A REC holds the registers of the plane that runs; those of the others wait in `Rec.planes`. P0's program counter stays
at its PLANE_ENTER until the plane it entered has stopped.
"""

from __future__ import annotations

from cca_machine.abi.guest import SystemRegister
from cca_machine.abi.rmi import NUM_GPRS
from cca_machine.abi.rmi2 import RecExit2
from cca_machine.abi.rsi import RsiStatus
from cca_machine.abi.rsi2 import (
    NUM_PMU_EVENTS,
    PLANE_EXIT_OFFSET,
    PLANE_PMU_REGISTERS,
    PLANE_REGISTERS,
    PMU_EVENT_COUNTERS,
    PMU_EVENT_MASK,
    PMU_EVENT_TYPES,
    PSTATE_AARCH32,
    SYSREG_128,
    WIDE_REGISTERS,
    PlaneEnter,
    PlaneEnterFlags,
    PlaneExit,
    PlaneExitReason,
)
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.rmm.outcome import Outcome, back
from cca_machine.rmm.realm_memory import Reach, load, store, translate
from cca_machine.rmm.rsi import INPUT, buffer
from cca_machine.rmm.state import PSTATE_EL1H_MASKED, LastExit, PlaneContext, Rec
from cca_machine.rmm.view import RunningRec
from cca_machine.rmm.virtual_gic import LR_PENDING, LR_STATE_SHIFT, are_list_registers_valid

P0 = 0
SCTLR_RESET = sum(1 << bit for bit in (3, 4, 5, 6, 11, 16, 18, 22, 23))
"""SA, SA0, CP15BEN, nAA, EOS, nTWI, nTWE, EIS, SPAN: SCTLR_EL1 of a vCPU that starts."""

_MDSCR_TDCC = 1 << 12
_PMCR_LC_DP, _PMCR_C_P = 1 << 6 | 1 << 5, 1 << 2 | 1 << 1
_HIGH = "_high"
_SYSTEM_NAMES = frozenset(register.value for register in SystemRegister)


def initial_registers(*, pmu: bool) -> dict[str, int]:
    """System registers of a plane that do not start as zero, SCTLR_EL1 excepted."""
    return {"mdscr_el1": _MDSCR_TDCC, "pmcr_el0": _PMCR_LC_DP | (_PMCR_C_P if pmu else 0)}


def enter(running: RunningRec) -> Outcome:
    """RSI_PLANE_ENTER: the plane in x1 runs with the registers that P0 put into the run page at x2."""
    rec, realm = running.state, running.realm
    target, run_ipa = rec.gprs[1:3]
    if not 0 < target < realm.planes.count or run_ipa & GRANULE_MASK or run_ipa >= realm.half:
        return INPUT
    found = buffer(running, run_ipa)
    if isinstance(found, Outcome):
        return found if found.abort_level is None else Outcome(leaves=True, abort_level=found.abort_level, buffer=2)
    entry = PlaneEnter.decode(load(running.core, found, GRANULE_BYTES)[:PLANE_EXIT_OFFSET])
    own_gic = bool(entry.flags & PlaneEnterFlags.OWN_GIC)
    if entry.pstate & PSTATE_AARCH32:
        return INPUT
    core = running.core
    thorough = not core.quirks.plane_interrupts_unchecked
    if not own_gic and not are_list_registers_valid(entry.gicv3_lrs, core.features.gic, thorough=thorough):
        return INPUT
    waiting = _context(rec, target, pmu=realm.pmu)
    rec.planes[P0] = _suspended(rec)
    _resume(rec, target, waiting)
    rec.gprs[:] = entry.gprs
    rec.pc, rec.pstate = entry.pc, entry.pstate
    rec.system[SystemRegister.ELR_EL1] = entry.elr_el1
    if own_gic:
        rec.gic_owner = target
        rec.list_registers = list(rec.planes[P0].list_registers)
    else:
        rec.list_registers = list(entry.gicv3_lrs[: core.features.gic.num_lrs])
    rec.trap_wfi = bool(entry.flags & PlaneEnterFlags.TRAP_WFI)
    rec.trap_wfe = bool(entry.flags & PlaneEnterFlags.TRAP_WFE)
    rec.trap_host_call = bool(entry.flags & PlaneEnterFlags.TRAP_HOST_CALL)
    rec.trap_simd = bool(entry.flags & PlaneEnterFlags.TRAP_SIMD)
    return Outcome(moved=True)


def stop(running: RunningRec, reason: PlaneExitReason, syndrome: LastExit) -> int | None:
    """Stop the active plane and go on with P0; the level at which P0's run page is missing, if it is.

    A run page that P0 gave away (RIPAS EMPTY) is not written, and P0 is told ERROR_INPUT.
    """
    rec, stopped = running.state, running.state.active_plane
    run_ipa = rec.planes[P0].gprs[2]
    found = translate(running.core, running.realm, run_ipa)
    if found.reach is Reach.MISSING:
        return found.level
    status = RsiStatus.ERROR_INPUT
    if found.reach is Reach.PROTECTED:
        status = RsiStatus.SUCCESS
        page = _exit_page(rec, reason, syndrome).encode()
        place = found.at(PLANE_EXIT_OFFSET)
        store(running.core, place, page)
    context = _suspended(rec)
    if rec.gic_owner == stopped:
        rec.planes[P0].list_registers = list(rec.list_registers)
    _resume(rec, P0, rec.planes.pop(P0))
    rec.planes[stopped] = context
    rec.gic_owner = P0
    rec.gprs[:4] = (int(status), 0, 0, 0)
    rec.pc += 4
    return None


def take_interrupts(running: RunningRec) -> None:
    """The Host's list registers are those of whoever owns the GIC: P0, or the plane that P0 gave it to."""
    rec, core = running.state, running.core
    given = core.hardware.list_registers(running.pe)[: core.features.gic.num_lrs]
    if rec.active_plane in (P0, rec.gic_owner):
        rec.list_registers = given
    else:
        rec.planes[P0].list_registers = given


def leave_interrupts(running: RunningRec) -> None:
    """The Host finds the list registers as the owner of the GIC left them."""
    rec = running.state
    owned = rec.active_plane in (P0, rec.gic_owner)
    kept = rec.list_registers if owned else rec.planes[P0].list_registers
    running.core.hardware.set_list_registers(running.pe, kept)


def interrupts_wait_for_p0(rec: Rec) -> bool:
    """Whether P0 has a pending virtual interrupt, or the plane that it entered a maintenance condition."""
    if rec.active_plane in (P0, rec.gic_owner):
        return False
    pending = any(lr >> LR_STATE_SHIFT & LR_PENDING for lr in rec.planes[P0].list_registers)
    return pending or bool(rec.system.get(SystemRegister.ICH_MISR, 0))


def run_page_of(rec: Rec) -> int:
    """IPA of the run page that P0 gave for the plane that is active."""
    return rec.planes[P0].gprs[2]


def show_tree(running: RunningRec) -> None:
    """Tell the Host through which translation context an abort came."""
    if isinstance(running.exit, RecExit2):
        running.exit.rtt_tree = running.realm.planes.context_of(running.state.active_plane)


def show_plane(running: RunningRec) -> None:
    """Tell the Host which plane makes a host call."""
    if isinstance(running.exit, RecExit2):
        running.exit.plane = running.state.active_plane


def register_read(running: RunningRec) -> Outcome:
    """RSI_PLANE_SYSREG_READ: a system register of another plane, in x1 and, if 128 bits are asked for, x2."""
    rec = running.state
    target, code = rec.gprs[1:3]
    name = _register_name(running, target, code)
    if name is None:
        return INPUT
    context = _context(rec, target, pmu=running.realm.pmu)
    high = _peek(context, name + _HIGH) if code & SYSREG_128 else 0
    return back(RsiStatus.SUCCESS, _peek(context, name), high)


def register_write(running: RunningRec) -> Outcome:
    """RSI_PLANE_SYSREG_WRITE: set a system register of another plane from x3."""
    rec = running.state
    target, code, value, high = rec.gprs[1:5]
    name = _register_name(running, target, code)
    if name is None:
        return INPUT
    context = _context(rec, target, pmu=running.realm.pmu)
    if name in _SYSTEM_NAMES:
        context.system[SystemRegister(name)] = value
    else:
        context.registers[name] = value
    if code & SYSREG_128:
        context.registers[name + _HIGH] = high
    rec.planes[target] = context
    return back(RsiStatus.SUCCESS)


def _register_name(running: RunningRec, target: int, code: int) -> str | None:
    if not 0 < target < running.realm.planes.count:
        return None
    if code & SYSREG_128:
        wide = PLANE_REGISTERS.get(code & ~SYSREG_128)
        return wide if running.core.features.later.sysreg_128 and wide in WIDE_REGISTERS else None
    name = PLANE_REGISTERS.get(code) or PLANE_PMU_REGISTERS.get(code)
    if name is not None:
        return name
    group = {PMU_EVENT_COUNTERS: "pmevcntr", PMU_EVENT_TYPES: "pmevtyper"}.get(code & PMU_EVENT_MASK)
    event = code & ~PMU_EVENT_MASK
    return f"{group}{event}" if group and event < NUM_PMU_EVENTS and code >> 16 == 0 else None


def _peek(context: PlaneContext, name: str) -> int:
    if name in _SYSTEM_NAMES:
        return context.system.get(SystemRegister(name), 0)
    return context.registers.get(name, 0)


def _context(rec: Rec, target: int, *, pmu: bool) -> PlaneContext:
    known = rec.planes.get(target)
    if known is not None:
        return known
    return PlaneContext(
        gprs=[0] * NUM_GPRS,
        pc=0,
        pstate=PSTATE_EL1H_MASKED,
        system={SystemRegister.SCTLR_EL1: SCTLR_RESET},
        registers=initial_registers(pmu=pmu),
        list_registers=[],
        last_exit=LastExit(),
    )


def _suspended(rec: Rec) -> PlaneContext:
    return PlaneContext(
        gprs=list(rec.gprs),
        pc=rec.pc,
        pstate=rec.pstate,
        system=rec.system,
        registers=rec.registers,
        list_registers=rec.list_registers,
        last_exit=rec.last_exit,
        trap_wfi=rec.trap_wfi,
        trap_wfe=rec.trap_wfe,
    )


def _resume(rec: Rec, target: int, context: PlaneContext) -> None:
    rec.planes.pop(target, None)
    rec.active_plane = target
    rec.gprs = list(context.gprs)
    rec.pc, rec.pstate = context.pc, context.pstate
    rec.system, rec.registers = context.system, context.registers
    rec.list_registers, rec.last_exit = context.list_registers, context.last_exit
    rec.trap_wfi, rec.trap_wfe = context.trap_wfi, context.trap_wfe


def _exit_page(rec: Rec, reason: PlaneExitReason, syndrome: LastExit) -> PlaneExit:
    system = rec.system
    return PlaneExit(
        reason=reason,
        elr_el2=rec.pc,
        pstate=rec.pstate,
        gprs=tuple(rec.gprs),
        esr_el2=syndrome.esr,
        far_el2=syndrome.far,
        hpfar_el2=syndrome.hpfar,
        gicv3_lrs=tuple(rec.list_registers),
        gicv3_misr=system.get(SystemRegister.ICH_MISR, 0),
        gicv3_vmcr=system.get(SystemRegister.ICH_VMCR, 0),
        cntp_ctl=system.get(SystemRegister.CNTP_CTL, 0),
        cntp_cval=system.get(SystemRegister.CNTP_CVAL, 0),
        cntv_ctl=system.get(SystemRegister.CNTV_CTL, 0),
        cntv_cval=system.get(SystemRegister.CNTV_CVAL, 0),
        sctlr_el1=system.get(SystemRegister.SCTLR_EL1, 0),
        vbar_el1=system.get(SystemRegister.VBAR_EL1, 0),
        elr_el1=system.get(SystemRegister.ELR_EL1, 0),
        pmu_ovf_status=1 if system.get(SystemRegister.PMU_OVERFLOW, 0) else 0,
    )
