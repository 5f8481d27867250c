"""A tape on which tests write traces by hand, with the real records and in any order."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from cca_machine import commands
from orchestrator import records
from orchestrator.chaos.checkers import judge
from orchestrator.chaos.records import FaultHealed, FaultInjected
from orchestrator.chaos.verdict import Facts, Verdict
from orchestrator.engine.ports import Priority, TraceEntry

S = 1_000_000_000
FACTS = Facts(end_ns=600 * S, lease_ns=30 * S, leases=True, recover_within_ns=90 * S, signers=("aa",))


class Tape:
    """Collects trace entries; instants are given in seconds."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []
        self.free = 0x8000_0000

    def put(self, source: str, at_s: float, what: Struct) -> Tape:
        priority = Priority.CONTROL if source == commands.CONTROL else Priority.MACHINE
        self.entries.append(TraceEntry(round(at_s * S), priority, source, len(self.entries) + 1, what))
        return self

    def control(self, at_s: float, what: Struct) -> Tape:
        return self.put(commands.CONTROL, at_s, what)

    def judge(self, checker: str, **changed: Any) -> Verdict:
        facts = Facts(**{name: changed.get(name, getattr(FACTS, name)) for name in FACTS.__struct_fields__})
        (verdict,) = judge(self.entries, facts, [checker])
        return verdict

    # -- phrases -------------------------------------------------------------------------------------------------

    def wanted(self, realm: str, at_s: float, incarnation: int = 1) -> Tape:
        return self.control(at_s, records.RealmWanted(realm, incarnation, "web", "start"))

    def built(self, machine: str, realm: str, at_s: float, incarnation: int = 1, granules: Any = None) -> Tape:
        if granules is None:
            granules, self.free = ((self.free, 16),), self.free + 16 * 4096
        return self.put(machine, at_s, commands.RealmBuilt(realm, incarnation, "00", {}, granules))

    def live(self, machine: str, realm: str, at_s: float, incarnation: int = 1, serving: bool = True) -> Tape:
        return self.put(machine, at_s, commands.RealmLive(realm, incarnation, serving, "enter"))

    def still(self, machine: str, realm: str, at_s: float, incarnation: int = 1, why: str = "lease") -> Tape:
        return self.put(machine, at_s, commands.RealmStill(realm, incarnation, 0, why))

    def evidence(self, machine: str, realm: str, at_s: float, digest: str, incarnation: int = 1) -> Tape:
        return self.put(machine, at_s, commands.RealmEvidence(realm, incarnation, digest, 1000))

    def verdict(
        self, machine: str, realm: str, at_s: float, digest: str, incarnation: int = 1, reason: str = ""
    ) -> Tape:
        instants = (round(at_s * S),) * 4
        facts = (realm, incarnation, machine, not reason, "bring-up", reason, "", digest, "00", {}, *instants)
        return self.control(at_s, records.RealmVerdict(*facts))

    def released(self, machine: str, realm: str, at_s: float, digest: str, incarnation: int = 1) -> Tape:
        return self.control(at_s, records.SecretReleased(realm, incarnation, machine, "default", digest))

    def bring_up(self, machine: str, realm: str, at_s: float, incarnation: int = 1) -> Tape:
        """Everything from building to serving, a second long."""
        digest = f"{realm}-{incarnation}-{machine}-{at_s}"
        self.built(machine, realm, at_s, incarnation)
        self.live(machine, realm, at_s + 0.1, incarnation, serving=False)
        self.evidence(machine, realm, at_s + 0.2, digest, incarnation)
        self.verdict(machine, realm, at_s + 0.5, digest, incarnation)
        self.released(machine, realm, at_s + 0.5, digest, incarnation)
        return self.live(machine, realm, at_s + 1, incarnation)

    def fault(self, kind: str, targets: tuple[str, ...], at_s: float, until_s: float, **more: Any) -> Tape:
        name = f"fault-{len(self.entries)}"
        self.control(at_s, FaultInjected(name, kind, targets, round(until_s * S), **more))
        return self.control(until_s, FaultHealed(name, kind, targets, more.get("peers", ())))


@pytest.fixture
def tape() -> Tape:
    return Tape()
