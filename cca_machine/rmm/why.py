"""Why a call was refused: the failure condition of its command's table that decided.

A refused command changes nothing, so the question can be asked after the answer, of the state as it is. The tables
are a second statement of what the handlers decide, and no state: `Rmm.smc` never looks at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import msgspec

from cca_machine.abi import rmi, rmi2
from cca_machine.abi.rmi import COMMANDS, CommandShape, Rmi, index_of
from cca_machine.abi.rmi2 import COMMANDS_2_0, DEVICE_COMMANDS, MemoryRequest, Rmi2, Rmi2Status, incomplete
from cca_machine.abi.smc import NOT_SUPPORTED, Registers, function_id
from cca_machine.rmm.conditions import Check, Look
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.conditions import TABLES as TABLES_1_0
from cca_machine.rmm.edition_2_0.conditions import LATE_REC_CREATE
from cca_machine.rmm.edition_2_0.conditions import TABLES as TABLES_2_0
from cca_machine.rmm.features import EDITION_1_0, EDITION_2_0
from cca_machine.rmm.operation import Operation, Stage

_WITH_LEVEL = (Rmi2Status.ERROR_RTT, Rmi2Status.ERROR_RTT_AUX)
_GIVES_BACK = incomplete(MemoryRequest.RECLAIM)


class Dialect(msgspec.Struct, frozen=True):
    """What an edition calls its commands, and the conditions of each."""

    edition: str
    ids: type[IntEnum]
    shapes: Mapping[int, CommandShape]
    tables: Mapping[int, tuple[Check, ...]]

    def name(self, fid: int) -> str:
        """Name of a command, or its function id."""
        command = function_id(fid)
        return self.ids(command).name if command in self.shapes else hex(fid)

    def shape(self, fid: int) -> CommandShape:
        """Arguments and results of a command; none for what is no command."""
        return self.shapes.get(function_id(fid), CommandShape(()))

    def table(self, fid: int) -> tuple[Check, ...]:
        """Conditions of a command in the order in which the model looks."""
        return self.tables.get(function_id(fid), ())


DIALECTS = {
    EDITION_1_0: Dialect(EDITION_1_0, Rmi, {int(fid): shape for fid, shape in COMMANDS.items()},
                         {int(fid): table for fid, table in TABLES_1_0.items()}),
    EDITION_2_0: Dialect(EDITION_2_0, Rmi2, {int(fid): shape for fid, shape in COMMANDS_2_0.items()},
                         {int(fid): table for fid, table in TABLES_2_0.items()}),
}  # fmt: skip


class Reason(msgspec.Struct, frozen=True):
    """The first condition of `command`'s table that holds; `also` are later ones that hold besides."""

    command: str
    condition: str
    says: str
    answer: str
    also: tuple[str, ...] = ()

    def sentence(self) -> str:
        """One line for people."""
        also = f" (also true: {', '.join(self.also)})" if self.also else ""
        return f"{self.command} {self.answer}: {self.condition}: {self.says}{also}"


def answer_text(x0: int, edition: str = EDITION_1_0) -> str:
    """X0 for people: ERROR_RTT(2), ERROR_REALM(1), SUCCESS, NOT_SUPPORTED, INCOMPLETE(DONATE)."""
    name = rmi.status_name(x0) if edition == EDITION_1_0 else rmi2.status_name(x0)
    if x0 == NOT_SUPPORTED:
        return name
    if edition == EDITION_2_0 and x0 & 0xFF == Rmi2Status.INCOMPLETE:
        wanted = x0 >> 8 & 3
        return f"{name}({MemoryRequest(wanted).name})" if wanted in tuple(MemoryRequest) and wanted else name
    return f"{name}({index_of(x0)})" if x0 & 0xFF in _WITH_LEVEL or index_of(x0) else name


def is_refusal(x0: int, edition: str) -> bool:
    """Whether a call failed: under 2.0 an operation that goes on has not."""
    return bool(x0) and not (edition == EDITION_2_0 and x0 & 0xFF == Rmi2Status.INCOMPLETE and x0 != NOT_SUPPORTED)


def why(core: Core, fid: int, args: Sequence[int], answer: Registers, before: Operation | None = None) -> Reason | None:
    """Why the RMM answered `answer`; None where it was no refusal.

    Under 2.0 an operation may end with a status that an earlier step has found: `before` is the operation, as it was
    when the call came.
    """
    dialect = DIALECTS[core.features.edition]
    text = answer_text(answer[0], dialect.edition)
    command = function_id(fid)
    if not is_refusal(answer[0], dialect.edition):
        return _late(core, command, args, text) if answer[0] == _GIVES_BACK else None
    if core.state.failed:
        return Reason("RMM", "panicked", "the RMM has stopped for good and serves nobody", text)
    if command not in dialect.shapes:
        if dialect.edition == EDITION_2_0 and command in tuple(DEVICE_COMMANDS):
            return Reason(Rmi2(command).name, "device", "this machine has no such device", text)
        says = f"this function id is no command of RMI {dialect.edition}"
        return Reason(hex(command), "unknown", says, text)
    name = dialect.name(command)
    if before is not None and before.stage is Stage.FINISH and command == Rmi2.OP_CONTINUE:
        return Reason(
            name, "ended", "the operation has given its memory back, and tells what it failed of before", text
        )
    if dialect.edition == EDITION_1_0 and command == Rmi.VERSION:
        return Reason(name, "req", "this revision is not supported, but those in the answer", text)
    look = Look(core, dict(zip(dialect.shape(command).arguments, (*args, *(0,) * 8), strict=False)))
    return first_that_holds(look, name, dialect.table(command), text)


def first_that_holds(look: Look, name: str, table: Sequence[Check], text: str) -> Reason:
    """The condition of `table` that decides, and later ones that can be asked whatever holds above them."""
    for place, check in enumerate(table):
        if check.holds(look):
            also = tuple(other.name for other in table[place + 1 :] if other.standalone and other.holds(look))
            return Reason(name, check.name, check.says, text, also)
    return Reason(name, "exit", "Host memory or EL3 refused at the end of the command", text)


def _late(core: Core, command: int, args: Sequence[int], text: str) -> Reason | None:
    """Why a REC_CREATE gives back the memory that it was given."""
    operation = core.state.operations.get(args[0]) if args else None
    if operation is None or operation.command != Rmi2.REC_CREATE or not operation.result:
        return None
    if command == Rmi2.OP_MEM_DONATE:
        return Reason("REC_CREATE", "aux_state", "a donated granule is not DELEGATED", text)
    if command != Rmi2.OP_CONTINUE:
        return None
    look = Look(core, {"rd": operation.rd, "rec": operation.obj, "params_ptr": operation.params})
    return first_that_holds(look, "REC_CREATE", LATE_REC_CREATE, text)
