"""REC_ENTER: what the Host answers to the last exit, the run, and the next exit (TF-RMM runtime/rmi/run.c)."""

from __future__ import annotations

from cca_machine.abi.rmi import RUN_EXIT_OFFSET
from cca_machine.abi.rmi2 import REC_ENTER_2_0, RecEnter2, RecEnterFlags2
from cca_machine.abi.rsi import RsiStatus
from cca_machine.abi.rsi2 import PlaneExitReason
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm import plane
from cca_machine.rmm.answer_exit import (
    answer_abort,
    answer_host_call,
    answer_register_access,
    answer_ripas,
    may_answer_abort,
)
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import INPUT, REALM, REC, SUCCESS, Answer
from cca_machine.rmm.edition_2_0.checks import UNDELEGATED, host_page, is_in
from cca_machine.rmm.exits import emulated_stage2_abort
from cca_machine.rmm.run import describe_exit, run_until_exit
from cca_machine.rmm.state import LastExit, RealmState, Rec
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
    plane.take_interrupts(running)
    try:
        answer = _answer_last_exit(running, entry)
        if answer is None:
            run_until_exit(running)
        elif answer != SUCCESS:
            return answer
    finally:
        rec.running = False
        plane.leave_interrupts(running)
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
    inject_sea, emulate = _answers(entry)
    return None if may_answer_abort(core, rec, inject_sea=inject_sea, emulate=emulate) else REC


def _answers(entry: RecEnter2) -> tuple[bool, bool]:
    """Whether the Host wants an abort injected, and whether it emulated the access."""
    return bool(entry.flags & RecEnterFlags2.INJECT_SEA), bool(entry.flags & RecEnterFlags2.EMUL_MMIO)


def _answer_last_exit(running: RunningRec, entry: RecEnter2) -> Answer | None:
    """Apply what the Host answers: None when the REC runs now, SUCCESS when it exits again at once, else a refusal."""
    rec = running.state
    inject_sea, emulate = _answers(entry)
    answer_abort(running, inject_sea=inject_sea, emulate=emulate, value=entry.gprs[0])
    if rec.host_call_ipa is not None and not answer_host_call(running, entry.gprs):
        return SUCCESS
    stopped = _stop_plane(running, entry.flags)
    if stopped is not None:
        return stopped
    answer_ripas(rec, reject=bool(entry.flags & RecEnterFlags2.RIPAS_RESPONSE))
    _answer_permissions(running, bool(entry.flags & RecEnterFlags2.S2AP_RESPONSE))
    answer_register_access(rec, entry.gprs[0])
    rec.last_exit = LastExit()
    if not rec.active_plane:
        rec.trap_wfi = bool(entry.flags & RecEnterFlags2.TRAP_WFI)
        rec.trap_wfe = bool(entry.flags & RecEnterFlags2.TRAP_WFE)
    return None


def _stop_plane(running: RunningRec, flags: int) -> Answer | None:
    """Give control to P0 if the Host forces it, injects an abort, or if P0 has interrupts to look at."""
    rec, forced_is_sync = running.state, running.core.quirks.forced_p0_is_sync
    if not rec.active_plane:
        return None
    if flags & _TO_P0:
        host = PlaneExitReason.SYNC if forced_is_sync else PlaneExitReason.HOST
        reason = PlaneExitReason.SYNC if flags & RecEnterFlags2.INJECT_SEA else host
        missing = plane.stop(running, reason, rec.last_exit)
    elif plane.interrupts_wait_for_p0(rec):
        missing = plane.stop(running, PlaneExitReason.IRQ, LastExit())
    else:
        return None
    if missing is None:
        return None
    if running.core.quirks.forced_p0_fails:
        return INPUT
    emulated_stage2_abort(running, missing, plane.run_page_of(rec))
    return SUCCESS


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
