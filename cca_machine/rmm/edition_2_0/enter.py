"""REC_ENTER: what the Host answers to the last exit, the run, and the next exit (TF-RMM runtime/rmi/run.c)."""

from __future__ import annotations

import struct

from cca_machine.abi.rmi import RUN_EXIT_OFFSET, Ripas
from cca_machine.abi.rmi2 import REC_ENTER_2_0, RecEnter2, RecEnterFlags2
from cca_machine.abi.rsi import HOST_CALL, RsiResponse, RsiStatus
from cca_machine.abi.rsi2 import PlaneExitReason
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm import inject, plane, syndrome
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import INPUT, REALM, REC, SUCCESS, Answer
from cca_machine.rmm.edition_2_0.checks import UNDELEGATED, host_page, is_in
from cca_machine.rmm.exits import emulated_stage2_abort
from cca_machine.rmm.realm_memory import Reach, Translation, store, translate
from cca_machine.rmm.run import describe_exit, run_until_exit
from cca_machine.rmm.state import LastExit, RealmState, Rec
from cca_machine.rmm.syndrome import ExceptionClass
from cca_machine.rmm.view import RunningRec

_TO_P0 = RecEnterFlags2.FORCE_P0 | RecEnterFlags2.INJECT_SEA


def enter(core: Core, rec_pa: int, run_ptr: int) -> Answer:
    """REC_ENTER on the PE that the call came from."""
    if not is_in(core, run_ptr, UNDELEGATED):
        return INPUT
    rec = core.state.recs.get(rec_pa)
    if rec is None:
        return INPUT
    if rec.running:
        return REC
    half_page = host_page(core, run_ptr, REC_ENTER_2_0.size)
    if half_page is None:
        return INPUT
    entry = RecEnter2.decode(half_page)
    refusal = _refusal(core, rec, entry)
    if refusal is not None:
        return refusal
    running = RunningRec(core, rec_pa, core.pe)
    try:
        answer = _answer_last_exit(running, entry)
        if answer is None:
            run_until_exit(running)
        elif answer != SUCCESS:
            return answer
    finally:
        rec.running = False
    describe_exit(running, 0)
    try:
        core.memory.write(World.NS, run_ptr + RUN_EXIT_OFFSET, running.exit.encode())
    except GranuleProtectionFault:
        return INPUT
    return SUCCESS


def _refusal(core: Core, rec: Rec, entry: RecEnter2) -> Answer | None:
    realm = core.state.realms[rec.rd]
    if realm.state is not RealmState.ACTIVE:
        return REALM
    if not rec.runnable or rec.psci_pending:
        return REC
    last = rec.last_exit
    is_data_abort = syndrome.exception_class(last.esr) == ExceptionClass.DATA_ABORT
    if entry.flags & RecEnterFlags2.INJECT_SEA:
        applies = is_data_abort and syndrome.faulting_ipa(last.hpfar) >= realm.half
        return None if applies or core.quirks.inject_sea_ignored else REC
    if entry.flags & RecEnterFlags2.EMUL_MMIO and not (is_data_abort and last.esr & syndrome.ISV):
        return REC
    return None


def _answer_last_exit(running: RunningRec, entry: RecEnter2) -> Answer | None:
    """Apply what the Host answers: None when the REC runs now, SUCCESS when it exits again at once, else a refusal."""
    rec = running.state
    _answer_abort(running, entry)
    if rec.host_call_ipa is not None and not _answer_host_call(running, entry):
        return SUCCESS
    if rec.active_plane and entry.flags & _TO_P0:
        forced = PlaneExitReason.SYNC if running.core.quirks.forced_p0_is_sync else PlaneExitReason.HOST
        sea = entry.flags & RecEnterFlags2.INJECT_SEA
        missing = plane.stop(running, PlaneExitReason.SYNC if sea else forced, rec.last_exit)
        if missing is not None:
            if running.core.quirks.forced_p0_fails:
                return INPUT
            emulated_stage2_abort(running, missing, plane.run_page_of(rec))
            return SUCCESS
    _answer_ripas(rec, bool(entry.flags & RecEnterFlags2.RIPAS_RESPONSE))
    _answer_permissions(running, bool(entry.flags & RecEnterFlags2.S2AP_RESPONSE))
    esr = rec.last_exit.esr
    if syndrome.exception_class(esr) == ExceptionClass.SYSTEM_REGISTER and esr & 1:
        register = esr >> 5 & 0x1F
        if register != syndrome.XZR:
            rec.gprs[register] = entry.gprs[0]
    rec.last_exit = LastExit()
    if not rec.active_plane:
        rec.trap_wfi = bool(entry.flags & RecEnterFlags2.TRAP_WFI)
        rec.trap_wfe = bool(entry.flags & RecEnterFlags2.TRAP_WFE)
    return None


def _answer_abort(running: RunningRec, entry: RecEnter2) -> None:
    rec, last = running.state, running.state.last_exit
    if syndrome.exception_class(last.esr) != ExceptionClass.DATA_ABORT:
        return
    if entry.flags & RecEnterFlags2.INJECT_SEA:
        if syndrome.faulting_ipa(last.hpfar) >= running.realm.half:
            inject.synchronous_external_abort(rec, last.esr, last.far)
    elif entry.flags & RecEnterFlags2.EMUL_MMIO:
        register = syndrome.transfer_register(last.esr)
        if not last.esr & syndrome.WNR and register != syndrome.XZR:
            rec.gprs[register] = syndrome.emulated_load(last.esr, entry.gprs[0])
        rec.pc += 4


def _answer_host_call(running: RunningRec, entry: RecEnter2) -> bool:
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


def _answer_permissions(running: RunningRec, reject: bool) -> None:
    """Tell P0 how far the change of an overlay index came; with a tree per plane, a cookie names what is next."""
    rec, planes = running.state, running.realm.planes
    request = rec.permissions
    if request is None:
        return
    if not reject:
        planes.locked |= 1 << request.index
    base = request.base
    cookie = 0
    if planes.tree_per_plane:
        tree = request.cookie & GRANULE_MASK
        if base != request.top:
            cookie = base | tree
        elif tree + 1 < planes.count:
            base = request.cookie - tree
            cookie = base | tree + 1
    rec.gprs[:4] = (int(RsiStatus.SUCCESS), base, int(reject), cookie)
    rec.permissions = None
