"""Traces written by hand, with the real records; instants in seconds."""

from __future__ import annotations

import pytest
from msgspec import Struct

from cca_machine.commands import CONTROL, RealmLive, RealmStill
from orchestrator.chaos.verdict import Facts
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.records import RealmWanted

S = 1_000_000_000


class Script:
    """Collects trace entries of a run that ends at 100 s."""

    facts = Facts(end_ns=100 * S, lease_ns=30 * S, leases=True, recover_within_ns=90 * S)

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []

    def put(self, source: str, at_s: float, what: Struct) -> Script:
        priority = Priority.CONTROL if source == CONTROL else Priority.MACHINE
        self.entries.append(TraceEntry(round(at_s * S), priority, source, len(self.entries) + 1, what))
        return self

    def control(self, at_s: float, what: Struct) -> Script:
        return self.put(CONTROL, at_s, what)

    def wanted(self, realm: str, at_s: float, incarnation: int = 1) -> Script:
        return self.control(at_s, RealmWanted(realm, incarnation, "web", "start"))

    def serves(self, machine: str, realm: str, at_s: float, incarnation: int = 1) -> Script:
        return self.put(machine, at_s, RealmLive(realm, incarnation, True, "secret"))

    def still(self, machine: str, realm: str, at_s: float, why: str, served: int = 0, incarnation: int = 1) -> Script:
        return self.put(machine, at_s, RealmStill(realm, incarnation, served, why))


@pytest.fixture
def script() -> Script:
    return Script()
