"""Why a call was refused: the failure condition of its command's table that decided.

A refused command changes nothing, so the question can be asked after the answer, of the state as it is. The tables
are a second statement of what the handlers decide, and no state: `Rmm.smc` never looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cca_machine.abi.rmi import COMMANDS, VERSION_1_0, Rmi, RmiStatus, index_of, status_name
from cca_machine.abi.smc import NOT_SUPPORTED, Registers, function_id
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.conditions import TABLES, Look


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


def answer_text(x0: int) -> str:
    """X0 for people: ERROR_RTT(2), ERROR_REALM(1), SUCCESS, NOT_SUPPORTED."""
    name = status_name(x0)
    if x0 != NOT_SUPPORTED and (x0 & 0xFF == RmiStatus.ERROR_RTT or index_of(x0)):
        return f"{name}({index_of(x0)})"
    return name


def why(core: Core, fid: int, args: Sequence[int], answer: Registers) -> Reason | None:
    """Why RMI 1.0 answered `answer`; None where it was no refusal, or where another edition answered."""
    if not answer[0] or core.features.rmi_versions[-1] != VERSION_1_0:
        return None
    command = function_id(fid)
    if core.state.failed:
        return Reason("RMM", "panicked", "the RMM has stopped for good and serves nobody", answer_text(answer[0]))
    if command not in COMMANDS:
        return Reason(hex(command), "unknown", "this function id is no command of RMI 1.0", answer_text(answer[0]))
    if command == Rmi.VERSION:
        return Reason(
            "VERSION", "req", "this revision is not supported, but those in the answer", answer_text(answer[0])
        )
    fid_ = Rmi(command)
    look = Look(core, dict(zip(COMMANDS[fid_].arguments, (*args, *(0,) * 8), strict=False)))
    for place, check in enumerate(TABLES.get(fid_, ())):
        if check.holds(look):
            later = TABLES[fid_][place + 1 :]
            also = tuple(other.name for other in later if other.standalone and other.holds(look))
            return Reason(fid_.name, check.name, check.says, answer_text(answer[0]), also)
    return Reason(fid_.name, "exit", "Host memory or EL3 refused at the end of the command", answer_text(answer[0]))
