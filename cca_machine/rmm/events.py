"""What a guest does, event by event, and whether its REC still runs afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    GuestEvent,
    Poke,
    RealmAccessFault,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    Smc,
    Yield,
)
from cca_machine.abi.rmi import NUM_GPRS
from cca_machine.abi.smc import MASK64
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault
from cca_machine.rmm import inject, realm_memory, syndrome
from cca_machine.rmm.exits import leave, service_call
from cca_machine.rmm.realm_memory import Reach, may_execute, permits, translate_for
from cca_machine.rmm.view import RunningRec


def perform(running: RunningRec, event: GuestEvent) -> bool:
    """Do what the guest does; True when the Realm carries on."""
    return _PERFORM[type(event)](running, event)


def _smc(running: RunningRec, event: Smc) -> bool:
    count = min(len(event.registers), NUM_GPRS)
    running.state.gprs[:count] = [value & MASK64 for value in event.registers[:count]]
    return service_call(running)


def _exception(running: RunningRec, event: Exception_) -> bool:
    return leave(running, event.kind, event.esr & MASK64, event.far & MASK64, event.hpfar & MASK64)


def _set_register(running: RunningRec, event: SetRegister) -> bool:
    if 0 <= event.index < NUM_GPRS:
        running.state.gprs[event.index] = event.value & MASK64
    return True


def _set_system_register(running: RunningRec, event: SetSystemRegister) -> bool:
    running.state.system[event.register] = event.value & MASK64
    return True


def _set_list_register(running: RunningRec, event: SetListRegister) -> bool:
    if 0 <= event.index < len(running.state.list_registers):
        running.state.list_registers[event.index] = event.value & MASK64
    return True


def _poke(running: RunningRec, event: Poke) -> bool:
    try:
        realm_memory.write(running.core, running.realm, event.ipa, event.data, running.state.active_plane)
    except RealmAccessFault as fault:
        found = translate_for(running.core, running.realm, running.state.active_plane, fault.ipa)
        esr = syndrome.ExceptionClass.DATA_ABORT << syndrome.EC_SHIFT | syndrome.IL | syndrome.WNR
        if permits(found, True):
            # Stage 2 lets it pass, granule protection does not: taken inside the Realm, which has to tolerate it.
            inject.synchronous_external_abort(running.state, esr, fault.ipa)
            return True
        return _fault(running, fault.ipa, esr, found)
    return True


def _access(running: RunningRec, event: Access) -> bool:
    rec = running.state
    ipa = event.ipa & MASK64
    found = translate_for(running.core, running.realm, rec.active_plane, ipa)
    if event.instruction:
        if may_execute(found):
            return True
        return _fault(running, ipa, syndrome.instruction_abort(0), found)
    size = event.size if event.size in (1, 2, 4, 8) else 8
    register = event.register & 0x1F
    esr = syndrome.data_abort(
        write=event.write, size=size, register=register,
        sign_extend=event.sign_extend, sixty_four=event.sixty_four, fsc=0,
    )  # fmt: skip
    if not permits(found, event.write) or (ipa & GRANULE_MASK) + size > GRANULE_MASK + 1:
        return _fault(running, ipa, esr, found)
    try:
        if event.write:
            value = 0 if register == syndrome.XZR else rec.gprs[register]
            realm_memory.store(running.core, found, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
        else:
            loaded = int.from_bytes(realm_memory.load(running.core, found, size), "little")
            if register != syndrome.XZR:
                rec.gprs[register] = syndrome.emulated_load(esr, loaded)
    except GranuleProtectionFault:
        inject.synchronous_external_abort(rec, esr, ipa)
        return True
    rec.pc += 4
    return True


def _fault(running: RunningRec, ipa: int, esr: int, found: realm_memory.Translation) -> bool:
    if found.reach is Reach.BEYOND:
        inject.address_size_fault(running.state, esr, ipa)
        return True
    is_data = syndrome.exception_class(esr) == syndrome.ExceptionClass.DATA_ABORT
    if found.reach is Reach.PROTECTED or (found.reach is Reach.SHARED and is_data):
        esr |= syndrome.FSC_PERMISSION_L0 + found.level
    else:
        esr |= syndrome.FSC_TRANSLATION_L0 + max(found.level, 0)
    return leave(running, ExceptionKind.SYNC, esr, ipa, syndrome.hpfar_of(ipa))


def _yield(running: RunningRec, event: Yield) -> bool:
    kind = event.kind if event.kind in (ExceptionKind.IRQ, ExceptionKind.FIQ) else ExceptionKind.FIQ
    return leave(running, kind, 0, 0, 0)


_PERFORM: dict[type[Any], Callable[[RunningRec, Any], bool]] = {
    Smc: _smc,
    Exception_: _exception,
    SetRegister: _set_register,
    SetSystemRegister: _set_system_register,
    SetListRegister: _set_list_register,
    Poke: _poke,
    Access: _access,
    Yield: _yield,
}
