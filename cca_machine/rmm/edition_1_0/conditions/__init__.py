"""The failure conditions of RMI 1.0 as predicates, in the order in which the model looks (DEN0137 1.0-rel0, B4.3).

Each row is a condition by the specification's id (a suffix tells cases of one id apart) and when it holds. A predicate
may rely on the rows above it being false. Used to explain refusals; the handlers beside this folder decide them.

    pages      what the Host gives in pages
    memory     granules, pages, RIPAS
    tables     translation tables, unprotected mappings
    realms     Realms and RECs
"""

from __future__ import annotations

from cca_machine.abi.rmi import Rmi
from cca_machine.rmm.conditions import Check, Look
from cca_machine.rmm.edition_1_0.conditions.memory import MEMORY
from cca_machine.rmm.edition_1_0.conditions.realms import REALMS
from cca_machine.rmm.edition_1_0.conditions.tables import TREES

TABLES: dict[Rmi, tuple[Check, ...]] = {**MEMORY, **TREES, **REALMS}
"""Conditions by command; VERSION and FEATURES cannot fail."""

__all__ = ["TABLES", "Check", "Look"]
