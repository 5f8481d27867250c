"""REC_ENTER: what the Host answers to the last exit, the run, and the next exit (DEN0137 1.0-rel0, B4.3.15 and A4)."""

from __future__ import annotations

import struct

from cca_machine.abi.rmi import (
    GICV3_HCR_HOST_BITS,
    REC_ENTER,
    RUN_EXIT_OFFSET,
    RecEnter,
    RecEnterFlags,
    Ripas,
)
from cca_machine.abi.rsi import HOST_CALL, RsiResponse, RsiStatus
from cca_machine.abi.smc import Registers
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm import inject, syndrome
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, REALM_OFF, REC, SUCCESS
from cca_machine.rmm.edition_1_0.granule import UNDELEGATED, is_in
from cca_machine.rmm.edition_1_0.params import host_page
from cca_machine.rmm.exits import emulated_stage2_abort
from cca_machine.rmm.features import GicFeatures
from cca_machine.rmm.realm_memory import Reach, Translation, store, translate
from cca_machine.rmm.run import describe_exit, run_until_exit
from cca_machine.rmm.state import LastExit, RealmState, Rec
from cca_machine.rmm.syndrome import ExceptionClass
from cca_machine.rmm.view import RunningRec

LR_STATE_SHIFT = 62
LR_HW = 1 << 61
LR_PRIORITY_SHIFT = 48
LR_PINTID_MASK = 0x1FFF << 32
LR_EOI = 1 << 41
MAX_SPI, MIN_LPI = 1019, 8192
EXTENDED_PPI, EXTENDED_SPI = range(1056, 1120), range(4096, 5120)


def enter(core: Core, rec_pa: int, run_ptr: int, pe: int) -> Registers:
    """REC_ENTER on PE `pe`."""
    if not is_in(core.granules, run_ptr, UNDELEGATED):
        return INPUT
    rec = core.state.recs.get(rec_pa)
    if rec is None:
        return INPUT
    if rec.running:
        return REC
    half_page = host_page(core, run_ptr, REC_ENTER.size)
    if half_page is None:
        return INPUT
    entry = RecEnter.decode(half_page)
    refusal = _refusal(core, rec, entry)
    if refusal is not None:
        return refusal
    running = RunningRec(core, rec_pa, pe)
    try:
        if _answer_last_exit(running, entry):
            run_until_exit(running)
    finally:
        rec.running = False
    describe_exit(running, entry.gicv3_hcr)
    try:
        core.memory.write(World.NS, run_ptr + RUN_EXIT_OFFSET, running.exit.encode())
    except GranuleProtectionFault:
        return INPUT
    return SUCCESS


def _refusal(core: Core, rec: Rec, entry: RecEnter) -> Registers | None:
    realm = core.state.realms[rec.rd]
    if realm.state is RealmState.NEW:
        return REALM
    if realm.state is RealmState.SYSTEM_OFF:
        return REALM_OFF
    if not rec.runnable or rec.psci_pending or not is_gic_state_valid(entry, core.features.gic):
        return REC
    last = rec.last_exit
    is_data_abort = syndrome.exception_class(last.esr) == ExceptionClass.DATA_ABORT
    if entry.flags & RecEnterFlags.INJECT_SEA:
        applies = is_data_abort and syndrome.faulting_ipa(last.hpfar) >= realm.half
        return None if applies or core.quirks.inject_sea_ignored else REC
    if entry.flags & RecEnterFlags.EMUL_MMIO and not (is_data_abort and last.esr & syndrome.ISV):
        return REC
    return None


def is_gic_state_valid(entry: RecEnter, gic: GicFeatures) -> bool:
    """Whether the Host's control bits and list registers may be loaded (DEN0137 1.0-rel0, section A6.1)."""
    if entry.gicv3_hcr & ~GICV3_HCR_HOST_BITS:
        return False
    active = [lr for lr in entry.gicv3_lrs[: gic.num_lrs] if lr >> LR_STATE_SHIFT]
    interrupts = [lr & 0xFFFF_FFFF for lr in active]
    if len(set(interrupts)) != len(interrupts):
        return False
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


def _answer_last_exit(running: RunningRec, entry: RecEnter) -> bool:
    """Apply what the Host answers; False when the REC exits again without having run."""
    rec = running.state
    _answer_abort(running, entry)
    if rec.host_call_ipa is not None and not _answer_host_call(running, entry):
        return False
    rec.list_registers = list(entry.gicv3_lrs[: running.core.features.gic.num_lrs])
    _answer_ripas(rec, bool(entry.flags & RecEnterFlags.RIPAS_RESPONSE))
    esr = rec.last_exit.esr
    if syndrome.exception_class(esr) == ExceptionClass.SYSTEM_REGISTER and esr & 1:
        register = esr >> 5 & 0x1F
        if register != syndrome.XZR:
            rec.gprs[register] = entry.gprs[0]
    rec.last_exit = LastExit()
    rec.trap_wfi = bool(entry.flags & RecEnterFlags.TRAP_WFI)
    rec.trap_wfe = bool(entry.flags & RecEnterFlags.TRAP_WFE)
    return True


def _answer_abort(running: RunningRec, entry: RecEnter) -> None:
    rec, last = running.state, running.state.last_exit
    if syndrome.exception_class(last.esr) != ExceptionClass.DATA_ABORT:
        return
    if entry.flags & RecEnterFlags.INJECT_SEA:
        if syndrome.faulting_ipa(last.hpfar) >= running.realm.half:
            inject.synchronous_external_abort(rec, last.esr, last.far)
    elif entry.flags & RecEnterFlags.EMUL_MMIO:
        register = syndrome.transfer_register(last.esr)
        if not last.esr & syndrome.WNR and register != syndrome.XZR:
            rec.gprs[register] = syndrome.emulated_load(last.esr, entry.gprs[0])
        rec.pc += 4


def _answer_host_call(running: RunningRec, entry: RecEnter) -> bool:
    rec, core = running.state, running.core
    ipa = rec.host_call_ipa or 0
    found = translate(core, running.realm, ipa)
    if found.reach is Reach.MISSING:
        emulated_stage2_abort(running, found.level, ipa)
        return False
    if found.reach is Reach.PROTECTED:
        offset = HOST_CALL.offset("gprs")
        place = Translation(found.reach, found.level, found.pa + offset, found.attributes)
        store(core, place, struct.pack(f"<{len(entry.gprs)}Q", *entry.gprs))
    if found.reach is Reach.PROTECTED or not core.quirks.host_call_lost_keeps_x0:
        rec.gprs[0] = int(RsiStatus.SUCCESS)
    rec.host_call_ipa = None
    return True


def _answer_ripas(rec: Rec, reject: bool) -> None:
    request = rec.ripas
    if request is None:
        return
    refused = reject and request.ripas == Ripas.RAM and request.address != request.top
    response = RsiResponse.REJECT if refused else RsiResponse.ACCEPT
    rec.gprs[:3] = (int(RsiStatus.SUCCESS), request.address, int(response))
    rec.ripas = None
