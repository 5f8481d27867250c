"""REC_ENTER: what the Host answers to the last exit, the run, and the next exit (DEN0137 1.0-rel0, B4.3.15 and A4)."""

from __future__ import annotations

from cca_machine.abi.rmi import (
    GICV3_HCR_HOST_BITS,
    REC_ENTER,
    RUN_EXIT_OFFSET,
    RecEnter,
    RecEnterFlags,
)
from cca_machine.abi.smc import Registers
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm.answer_exit import (
    answer_abort,
    answer_host_call,
    answer_register_access,
    answer_ripas,
    may_answer_abort,
)
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, REALM_OFF, REC, SUCCESS
from cca_machine.rmm.edition_1_0.granule import UNDELEGATED, is_in
from cca_machine.rmm.edition_1_0.params import host_page
from cca_machine.rmm.features import GicFeatures
from cca_machine.rmm.run import describe_exit, run_until_exit
from cca_machine.rmm.state import LastExit, RealmState, Rec
from cca_machine.rmm.view import RunningRec
from cca_machine.rmm.virtual_gic import are_list_registers_valid


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
    inject_sea, emulate = _answers(entry)
    return None if may_answer_abort(core, rec, inject_sea=inject_sea, emulate=emulate) else REC


def _answers(entry: RecEnter) -> tuple[bool, bool]:
    """Whether the Host wants an abort injected, and whether it emulated the access."""
    return bool(entry.flags & RecEnterFlags.INJECT_SEA), bool(entry.flags & RecEnterFlags.EMUL_MMIO)


def is_gic_state_valid(entry: RecEnter, gic: GicFeatures) -> bool:
    """Whether the Host's control bits and list registers may be loaded (DEN0137 1.0-rel0, section A6.1)."""
    if entry.gicv3_hcr & ~GICV3_HCR_HOST_BITS:
        return False
    return are_list_registers_valid(entry.gicv3_lrs, gic)


def _answer_last_exit(running: RunningRec, entry: RecEnter) -> bool:
    """Apply what the Host answers; False when the REC exits again without having run."""
    rec = running.state
    inject_sea, emulate = _answers(entry)
    answer_abort(running, inject_sea=inject_sea, emulate=emulate, value=entry.gprs[0])
    if rec.host_call_ipa is not None and not answer_host_call(running, entry.gprs):
        return False
    rec.list_registers = list(entry.gicv3_lrs[: running.core.features.gic.num_lrs])
    answer_ripas(rec, reject=bool(entry.flags & RecEnterFlags.RIPAS_RESPONSE))
    answer_register_access(rec, entry.gprs[0])
    rec.last_exit = LastExit()
    rec.trap_wfi = bool(entry.flags & RecEnterFlags.TRAP_WFI)
    rec.trap_wfe = bool(entry.flags & RecEnterFlags.TRAP_WFE)
    return True
