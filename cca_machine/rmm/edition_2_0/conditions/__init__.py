"""The failure conditions of RMI 2.0 as predicates, in the order in which the model looks (DEN0137 2.0-bet0, B4.5).

As beside `edition_1_0`: each row is a condition by its id and when it holds, and may rely on the rows above it being
false. Used to explain refusals and to list what the tests must cover; the handlers beside this folder decide.

    shared     the gate before activation, contexts of operations, address lists
    memory     granules, mapping, unmapping, RIPAS, permissions
    tables     translation tables and auxiliary trees
    realms     Realms, RECs, stateful operations, the RMM as a whole
"""

from __future__ import annotations

from cca_machine.abi.rmi2 import Rmi2
from cca_machine.rmm.conditions import Check
from cca_machine.rmm.edition_2_0.conditions.memory import MEMORY
from cca_machine.rmm.edition_2_0.conditions.realms import LATE_REC_CREATE, REALMS
from cca_machine.rmm.edition_2_0.conditions.shared import GATE, GATE_BEFORE
from cca_machine.rmm.edition_2_0.conditions.tables import TREES
from cca_machine.rmm.edition_2_0.table import BEFORE_AND_AFTER, BEFORE_ONLY


def _gated(fid: Rmi2, checks: tuple[Check, ...]) -> tuple[Check, ...]:
    if fid in BEFORE_AND_AFTER:
        return checks
    return (GATE_BEFORE if fid in BEFORE_ONLY else GATE, *checks)


TABLES: dict[Rmi2, tuple[Check, ...]] = {
    fid: _gated(fid, checks) for fid, checks in {**MEMORY, **TREES, **REALMS}.items()
}
"""Conditions by command, for every command that needs no device."""

__all__ = ["LATE_REC_CREATE", "TABLES"]
