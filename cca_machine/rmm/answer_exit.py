"""What the Host answers to a REC's last exit, whichever edition it speaks (DEN0137 1.0-rel0, A4.3 to A4.5)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rsi import HOST_CALL, RsiResponse, RsiStatus
from cca_machine.rmm import inject, syndrome
from cca_machine.rmm.core import Core
from cca_machine.rmm.exits import emulated_stage2_abort
from cca_machine.rmm.realm_memory import Reach, store, translate
from cca_machine.rmm.state import Rec
from cca_machine.rmm.syndrome import ExceptionClass
from cca_machine.rmm.view import RunningRec


def may_answer_abort(core: Core, rec: Rec, *, inject_sea: bool, emulate: bool) -> bool:
    """Whether the last exit can be answered by an injected abort or by an emulated access, as the Host wants."""
    last = rec.last_exit
    is_data_abort = syndrome.exception_class(last.esr) == ExceptionClass.DATA_ABORT
    if inject_sea:
        applies = is_data_abort and syndrome.faulting_ipa(last.hpfar) >= core.state.realms[rec.rd].half
        return applies or core.quirks.inject_sea_ignored
    return not emulate or bool(is_data_abort and last.esr & syndrome.ISV)


def answer_abort(running: RunningRec, *, inject_sea: bool, emulate: bool, value: int) -> None:
    """Answer a data abort: an external abort at an unprotected IPA, or the emulated access (a load gives `value`)."""
    rec, last = running.state, running.state.last_exit
    if syndrome.exception_class(last.esr) != ExceptionClass.DATA_ABORT:
        return
    if inject_sea:
        if syndrome.faulting_ipa(last.hpfar) >= running.realm.half:
            inject.synchronous_external_abort(rec, last.esr, last.far)
    elif emulate:
        register = syndrome.transfer_register(last.esr)
        if not last.esr & syndrome.WNR and register != syndrome.XZR:
            rec.gprs[register] = syndrome.emulated_load(last.esr, value)
        rec.pc += 4


def answer_host_call(running: RunningRec, gprs: Sequence[int]) -> bool:
    """Complete a host call with the Host's registers; False when its page is gone, so that the REC exits at once."""
    rec, core = running.state, running.core
    ipa = rec.host_call_ipa or 0
    found = translate(core, running.realm, ipa)
    if found.reach is Reach.MISSING:
        emulated_stage2_abort(running, found.level, ipa)
        return False
    if found.reach is Reach.PROTECTED:
        offset = HOST_CALL.offset("gprs")
        place = found.at(offset)
        store(core, place, struct.pack(f"<{len(gprs)}Q", *gprs))
    if found.reach is Reach.PROTECTED or not core.quirks.host_call_lost_keeps_x0:
        rec.gprs[0] = int(RsiStatus.SUCCESS)
    rec.host_call_ipa = None
    return True


def answer_ripas(rec: Rec, *, reject: bool) -> None:
    """Tell the Realm how far its RIPAS change came, and whether the rest was refused."""
    request = rec.ripas
    if request is None:
        return
    refused = reject and request.ripas == Ripas.RAM and request.address != request.top
    response = RsiResponse.REJECT if refused else RsiResponse.ACCEPT
    rec.gprs[:3] = (int(RsiStatus.SUCCESS), request.address, int(response))
    rec.ripas = None


def answer_register_access(rec: Rec, value: int) -> None:
    """Complete a forwarded read of a system register with the Host's `value`."""
    esr = rec.last_exit.esr
    if syndrome.exception_class(esr) == ExceptionClass.SYSTEM_REGISTER and esr & 1:
        register = esr >> 5 & 0x1F
        if register != syndrome.XZR:
            rec.gprs[register] = value
