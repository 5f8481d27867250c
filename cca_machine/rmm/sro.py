"""Stateful operations: handles, and what that of a REC asks for and gives back (DEN0137 2.0-bet0; TF-RMM sro)."""

from __future__ import annotations

from cca_machine.abi.rmi2 import AUX_GRANULES, DONATE_COUNT_SHIFT, MemoryRequest, Rmi2, incomplete
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm import address_list
from cca_machine.rmm.core import Core
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.operation import Operation, Stage

REC_AUX, PARTIAL, DELEGATED = int(GranuleState.REC_AUX), int(GranuleState.PARTIAL), int(GranuleState.DELEGATED)


def free_handle(core: Core) -> int | None:
    """The lowest handle that no operation has, or None when all contexts are taken."""
    taken = core.state.operations
    return next((handle for handle in range(core.features.later.contexts) if handle not in taken), None)


def donate_request(granules: int) -> int:
    """X2 of an operation that wants `granules` delegated pages, not contiguous (RmiOpMemDonateReq)."""
    return granules << DONATE_COUNT_SHIFT


def begin_donation(core: Core, handle: int, rd: int, rec_pa: int, params: int) -> tuple[int, ...]:
    """REC_CREATE: ask for the auxiliary granules."""
    core.state.operations[handle] = Operation(
        command=Rmi2.REC_CREATE,
        expected=Rmi2.OP_MEM_DONATE,
        transfer_bytes=AUX_GRANULES * GRANULE_BYTES,
        stage=Stage.DONATE,
        obj=rec_pa,
        rd=rd,
        params=params,
        wanted=AUX_GRANULES,
    )
    return incomplete(MemoryRequest.DONATE), handle, donate_request(AUX_GRANULES)


def begin_reclaim(operation: Operation, result: int) -> tuple[int, ...]:
    """Give all donated granules back before the operation ends with `result`."""
    operation.stage = Stage.RECLAIM
    operation.result = result
    operation.wanted = len(operation.granules)
    operation.moved = 0
    operation.expected = Rmi2.OP_MEM_RECLAIM
    operation.reclaim_x0 = incomplete(MemoryRequest.RECLAIM)
    operation.after_reclaim = Rmi2.OP_MEM_RECLAIM
    return operation.reclaim_x0, 0, 0


def take(core: Core, operation: Operation) -> tuple[int, ...]:
    """DONATE: the granules of the Host's list become auxiliary ones; the first that cannot ends the whole operation."""
    taken = 0
    for address, _, _ in address_list.blocks(operation.descriptors):
        if not core.granules.swap(address, DELEGATED, REC_AUX):
            if not taken:
                return begin_reclaim(operation, 1)
            break
        operation.granules.append(address)
        taken += 1
    operation.moved += taken
    pending = operation.wanted - operation.moved
    if pending:
        operation.expected = Rmi2.OP_MEM_DONATE
        operation.transfer_bytes = pending * GRANULE_BYTES
        return incomplete(MemoryRequest.DONATE), taken, donate_request(pending)
    operation.stage = Stage.CREATE
    operation.expected = Rmi2.OP_CONTINUE
    return incomplete(MemoryRequest.NONE), taken, 0


def give_back(core: Core, operation: Operation) -> tuple[int, ...]:
    """RECLAIM: as many granules as the Host has slots for are DELEGATED again, and enter the address list."""
    count = min(operation.wanted, operation.slots)
    for address in operation.granules[operation.moved : operation.moved + count]:
        core.granules.set(address, DELEGATED)
        core.memory.scrub(address)
        address_list.add_block(operation.descriptors, address, 3, address_list.DELEGATED, address_list.SLOTS)
    operation.wanted -= count
    operation.moved += count
    if operation.wanted:
        request, operation.expected = MemoryRequest.RECLAIM, Rmi2.OP_MEM_RECLAIM
    else:
        request, operation.expected = MemoryRequest.NONE, Rmi2.OP_CONTINUE
        operation.stage = Stage.FINISH
    if operation.wanted or count:
        operation.reclaim_x0, operation.after_reclaim = incomplete(request), operation.expected
    return incomplete(request), count, 0


def finish(core: Core, operation: Operation) -> tuple[int, ...]:
    """All granules are back: the object's own follows, and the stored result is told."""
    core.granules.set(operation.obj, DELEGATED)
    core.memory.scrub(operation.obj)
    return operation.result, 0, 0
