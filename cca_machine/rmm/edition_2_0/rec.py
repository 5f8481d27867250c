"""RECs: REC_CREATE, REC_DESTROY and PSCI_COMPLETE (DEN0137 2.0-bet0; TF-RMM runtime/rmi/rec.c)."""

from __future__ import annotations

from cca_machine.abi.guest import SystemRegister
from cca_machine.abi.rmi import NUM_GPRS, REC_FLAG_RUNNABLE
from cca_machine.abi.rmi2 import MemoryRequest, RecParams2, Rmi2, incomplete
from cca_machine.abi.smc import signed
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.rmm import measurement, plane, psci, sro
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0.answers import BLOCKED, INPUT, REALM, REC, SUCCESS, Answer
from cca_machine.rmm.edition_2_0.checks import DELEGATED, host_page, is_in
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.operation import Operation, Stage
from cca_machine.rmm.state import Realm, RealmState, Rec

PARTIAL = int(GranuleState.PARTIAL)
MPIDR_BITS = 0xFFFF_FF0F


def create(core: Core, rd: int, rec_pa: int, params_ptr: int) -> Answer:
    """REC_CREATE: only the REC granule is looked at; the rest when the auxiliary granules have been donated."""
    if not is_in(core, rec_pa, DELEGATED):
        return INPUT
    handle = sro.free_handle(core)
    if handle is None:
        return BLOCKED
    core.granules.set(rec_pa, PARTIAL)
    return sro.begin_donation(core, handle, rd, rec_pa, params_ptr)


def finish_create(core: Core, operation: Operation) -> Answer:
    """OP_CONTINUE of REC_CREATE with all memory there: a vCPU with the next index, or all memory is given back."""
    page = host_page(core, operation.params)
    realm = core.state.realms.get(operation.rd)
    if page is None or realm is None:
        return sro.begin_reclaim(operation, INPUT[0])
    params = RecParams2.decode(page)
    if realm.num_recs == (1 << core.features.max_recs_order) - 1 or realm.state is not RealmState.NEW:
        return sro.begin_reclaim(operation, REALM[0])
    if params.mpidr & ~MPIDR_BITS or psci.rec_index(params.mpidr) != realm.rec_index:
        return sro.begin_reclaim(operation, INPUT[0])
    _build(core, realm, operation, params)
    return SUCCESS


def destroy(core: Core, rec_pa: int) -> Answer:
    """REC_DESTROY: the REC is gone at once, its memory is reclaimed after."""
    handle = sro.free_handle(core)
    if handle is None:
        return BLOCKED
    rec = core.state.recs.get(rec_pa)
    if rec is None:
        return INPUT
    if rec.running:
        return REC
    core.granules.set(rec_pa, PARTIAL)
    del core.state.recs[rec_pa]
    core.state.realms[rec.rd].num_recs -= 1
    operation = Operation(
        command=Rmi2.REC_DESTROY, expected=Rmi2.OP_MEM_RECLAIM, stage=Stage.RECLAIM, obj=rec_pa, granules=rec.aux
    )
    sro.begin_reclaim(operation, SUCCESS[0])
    core.state.operations[handle] = operation
    return incomplete(MemoryRequest.RECLAIM), handle


def psci_complete(core: Core, calling_pa: int, target_pa: int, status: int) -> Answer:
    """PSCI_COMPLETE: the Host hands in the target REC of a pending PSCI request, and agrees or denies."""
    calling, target = core.state.recs.get(calling_pa), core.state.recs.get(target_pa)
    if calling is None or target is None or calling is target or (calling_pa | target_pa) & GRANULE_MASK:
        return INPUT
    if calling.running or not calling.psci_pending or calling.rd != target.rd:
        return INPUT
    if psci.target_index(calling.gprs[1], core.quirks) != target.index:
        return INPUT
    was_runnable = target.runnable
    if not psci.complete(calling, target, signed(status), core.quirks):
        return INPUT
    if target.runnable and not was_runnable:
        target.system[SystemRegister.SCTLR_EL1] |= plane.SCTLR_RESET
    return SUCCESS


def _build(core: Core, realm: Realm, operation: Operation, params: RecParams2) -> None:
    runnable = bool(params.flags & REC_FLAG_RUNNABLE)
    core.state.recs[operation.obj] = Rec(
        rd=operation.rd,
        index=realm.rec_index,
        mpidr=params.mpidr,
        runnable=runnable,
        gprs=[*params.gprs, *(0,) * (NUM_GPRS - len(params.gprs))],
        pc=params.pc,
        aux=operation.granules,
        system={SystemRegister.SCTLR_EL1: plane.SCTLR_RESET},
        registers=plane.initial_registers(pmu=realm.pmu),
    )
    core.granules.set(operation.obj, int(GranuleState.REC))
    realm.rec_index += 1
    realm.num_recs += 1
    if runnable:
        realm.measurements[measurement.RIM] = measurement.extend_rec(
            realm.hash_algo, realm.measurements[measurement.RIM], params.flags, params.pc, params.gprs
        )
