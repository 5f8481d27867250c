"""Stateful operations: OP_CONTINUE, OP_MEM_DONATE, OP_MEM_RECLAIM, OP_CANCEL (DEN0137 2.0-bet0; TF-RMM sro.c)."""

from __future__ import annotations

from cca_machine.abi.rmi2 import MemoryRequest, Rmi2, Rmi2Status, incomplete
from cca_machine.rmm import address_list, sro
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_2_0 import mapping, unmapping
from cca_machine.rmm.edition_2_0.answers import INPUT, Answer
from cca_machine.rmm.edition_2_0.rec import finish_create
from cca_machine.rmm.operation import Operation, Stage

_UNFINISHED = (Rmi2Status.INCOMPLETE, Rmi2Status.BUSY)


def carry_on(core: Core, handle: int, flags: int) -> Answer:
    """OP_CONTINUE: let the operation go on; any status but INCOMPLETE and BUSY ends it."""
    operation = core.state.operations.get(handle)
    if operation is None or operation.expected != Rmi2.OP_CONTINUE:
        return INPUT
    result = _step(core, handle, operation)
    if result[0] & 0xFF not in _UNFINISHED:
        del core.state.operations[handle]
    return result


def donate(core: Core, handle: int, list_address: int, count: int) -> Answer:
    """OP_MEM_DONATE: memory that the operation asked for."""
    operation = core.state.operations.get(handle)
    if operation is None or operation.expected != Rmi2.OP_MEM_DONATE or list_address % 8:
        return INPUT
    slots = address_list.usable_slots(list_address, count)
    descriptors = address_list.read(core, list_address, slots)
    if descriptors is None:
        return INPUT
    total = address_list.total_bytes(descriptors, address_list.DELEGATED)
    if total is None or total > operation.transfer_bytes:
        return INPUT
    operation.descriptors, operation.output, operation.slots = descriptors, False, slots
    return sro.take(core, operation)


def reclaim(core: Core, handle: int, list_address: int, count: int) -> Answer:
    """OP_MEM_RECLAIM: fetch memory that the operation gives back, as many ranges as the Host has room for.

    Granules are DELEGATED as soon as they are put on the list. With the firmware's quirk that happens even if the list
    cannot be written; it is offered again then.
    """
    operation = core.state.operations.get(handle)
    if operation is None or list_address % 8 or operation.expected != Rmi2.OP_MEM_RECLAIM:
        return INPUT
    slots = address_list.usable_slots(list_address, count)
    again = incomplete(MemoryRequest.RECLAIM, operation.can_cancel)
    if not slots:
        return again, 0
    if not core.quirks.reclaim_before_write and not address_list.is_writable(core, list_address):
        return INPUT
    result: Answer = (again, 0)
    if not operation.output or not operation.descriptors:
        operation.descriptors, operation.output, operation.slots = [], True, slots
        result = sro.give_back(core, operation)
    if not operation.descriptors:
        return result
    operation.expected = Rmi2.OP_MEM_RECLAIM
    given = operation.descriptors[:slots]
    if not address_list.write(core, list_address, given):
        return INPUT
    operation.descriptors = operation.descriptors[slots:]
    if operation.descriptors:
        return again, len(given)
    operation.expected = operation.after_reclaim
    return operation.reclaim_x0, len(given)


def cancel(core: Core, handle: int) -> Answer:
    """OP_CANCEL: no operation of this RMM can be cancelled."""
    return INPUT


def _step(core: Core, handle: int, operation: Operation) -> Answer:
    if operation.mapping is not None:
        return mapping.carry_on(core, handle, operation.mapping)
    if operation.unmapping is not None:
        return unmapping.carry_on(core, handle, operation, operation.unmapping)
    if operation.stage is Stage.CREATE:
        return finish_create(core, operation)
    return sro.finish(core, operation)
