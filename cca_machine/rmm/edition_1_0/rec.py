"""RECs: REC_CREATE, REC_DESTROY and PSCI_COMPLETE (DEN0137 1.0-rel0, sections B4.3.13, B4.3.14 and B4.3.7)."""

from __future__ import annotations

from cca_machine.abi.rmi import MAX_REC_AUX_GRANULES, NUM_GPRS, REC_FLAG_RUNNABLE, RecParams
from cca_machine.abi.smc import Registers, signed
from cca_machine.rmm import measurement, psci
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.answers import INPUT, REALM, REC, SUCCESS
from cca_machine.rmm.edition_1_0.granule import DELEGATED, is_in
from cca_machine.rmm.edition_1_0.params import host_page
from cca_machine.rmm.granule import GranuleState, move
from cca_machine.rmm.state import Realm, RealmState, Rec

_MPIDR_BITS = 0xFFFF_FF0F


def create(core: Core, rd: int, rec_pa: int, params_ptr: int) -> Registers:
    """REC_CREATE: a vCPU with the next index; extends the RIM if it is runnable."""
    page = host_page(core, params_ptr)
    if page is None:
        return INPUT
    params = RecParams.decode(page)
    num_aux = params.num_aux & 0xFFFF_FFFF if core.quirks.num_aux_truncated else params.num_aux
    granules = core.granules
    if num_aux > MAX_REC_AUX_GRANULES:
        return INPUT
    aux = params.aux[:num_aux]
    if len(set(aux)) != num_aux or not all(is_in(granules, pa, DELEGATED) for pa in aux):
        return INPUT
    realm = core.state.realms.get(rd)
    if realm is None or rec_pa in aux or not is_in(granules, rec_pa, DELEGATED):
        return INPUT
    if realm.num_recs == (1 << core.features.max_recs_order) - 1 or realm.state is not RealmState.NEW:
        return REALM
    if params.mpidr & ~_MPIDR_BITS and not core.quirks.reserved_flags_ignored:
        return INPUT
    if psci.rec_index(params.mpidr) != realm.rec_index or num_aux != realm.num_aux:
        return INPUT
    _build(core, realm, rd, rec_pa, params, aux)
    return SUCCESS


def destroy(core: Core, rec_pa: int) -> Registers:
    """REC_DESTROY: whatever the REC waited for is lost."""
    state = core.state
    rec = state.recs.get(rec_pa)
    if rec is None:
        return INPUT
    if rec.running:
        return REC
    for pa in (rec_pa, *rec.aux):
        move(state.granules, pa, GranuleState.DELEGATED)
    del state.recs[rec_pa]
    state.realms[rec.rd].num_recs -= 1
    return SUCCESS


def psci_complete(core: Core, calling_pa: int, target_pa: int, status: int) -> Registers:
    """PSCI_COMPLETE: the Host hands in the target REC of a pending PSCI request, and agrees or denies."""
    calling, target = core.state.recs.get(calling_pa), core.state.recs.get(target_pa)
    if calling is None or target is None or calling is target:
        return INPUT
    if calling.running or not calling.psci_pending or calling.rd != target.rd:
        return INPUT
    if psci.target_index(calling.gprs[1], core.quirks) != target.index:
        return INPUT
    return SUCCESS if psci.complete(calling, target, signed(status), core.quirks) else INPUT


def _build(core: Core, realm: Realm, rd: int, rec_pa: int, params: RecParams, aux: tuple[int, ...]) -> None:
    runnable = bool(params.flags & REC_FLAG_RUNNABLE)
    core.state.recs[rec_pa] = Rec(
        rd=rd,
        index=realm.rec_index,
        mpidr=params.mpidr,
        runnable=runnable,
        gprs=[*params.gprs, *(0,) * (NUM_GPRS - len(params.gprs))],
        pc=params.pc,
        aux=list(aux),
    )
    move(core.granules, rec_pa, GranuleState.REC)
    for pa in aux:
        move(core.granules, pa, GranuleState.REC_AUX)
    realm.rec_index += 1
    realm.num_recs += 1
    if runnable:
        realm.measurements[measurement.RIM] = measurement.extend_rec(
            realm.hash_algo, realm.measurements[measurement.RIM], params.flags, params.pc, params.gprs
        )
