"""Traces written by hand with the real records, for a fleet of two racks; instants in seconds."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from msgspec import Struct

from cca_machine import commands
from orchestrator import records
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.metrics.collect import collect
from orchestrator.metrics.fleet_facts import FleetFacts, Place
from orchestrator.metrics.samples import Samples
from orchestrator.metrics.tally import Key, Value

S = 1_000_000_000
FACTS = FleetFacts(
    run_id="story-7",
    cluster="story",
    seed=7,
    machines={"m1": Place("r1", "std"), "m2": Place("r1", "std"), "m3": Place("r2", "big")},
    realms=("web-001", "web-002", "db-001"),
)


class Story:
    """Collects trace entries and reads the metrics that follow from them; the run ends at 100 s."""

    end_ns = 100 * S

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []

    def put(self, source: str, at_s: float, what: Struct) -> Story:
        priority = Priority.CONTROL if source == commands.CONTROL else Priority.MACHINE
        self.entries.append(TraceEntry(round(at_s * S), priority, source, len(self.entries) + 1, what))
        return self

    def control(self, at_s: float, what: Struct) -> Story:
        return self.put(commands.CONTROL, at_s, what)

    # -- phrases -----------------------------------------------------------------------------------------------------

    def booted(self, machine: str, at_s: float, boot: int = 1, **versions: str) -> Story:
        return self.put(machine, at_s, commands.MachineBooted(boot, versions or {"RMM": "1.0.0"}))

    def lost(self, machine: str, at_s: float, *realms: tuple[str, int]) -> Story:
        return self.put(machine, at_s, commands.MachineLost(commands.FaultKind.POWER_LOSS, realms))

    def admitted(self, machine: str, at_s: float) -> Story:
        return self.control(at_s, records.MachineAdmitted(machine, 1, True, {}, "00", 0, 0))

    def wanted(self, realm: str, at_s: float, incarnation: int = 1) -> Story:
        return self.control(at_s, records.RealmWanted(realm, incarnation, "web", "start"))

    def moved(self, realm: str, at_s: float, was: str, state: str) -> Story:
        return self.control(at_s, records.RealmChanged(realm, 1, "m1", was, state, ""))

    def serves(self, machine: str, realm: str, at_s: float, incarnation: int = 1) -> Story:
        return self.put(machine, at_s, commands.RealmLive(realm, incarnation, True, "secret"))

    def still(self, machine: str, realm: str, at_s: float, why: str, served: int = 0, incarnation: int = 1) -> Story:
        return self.put(machine, at_s, commands.RealmStill(realm, incarnation, served, why))

    def verdict(self, realm: str, at_s: float, reason: str = "", why: str = "bring-up", **more: Any) -> Story:
        arrived_ns = round(at_s * S)
        return self.control(
            at_s,
            records.RealmVerdict(
                realm=realm, incarnation=1, machine="m1", passed=not reason, why=why, reason=reason, detail="",
                evidence_sha256="", rim="", tiers=more.get("tiers", {}), arrived_ns=arrived_ns,
                started_ns=arrived_ns + 2_000_000, done_ns=arrived_ns + 7_000_000, replied_ns=arrived_ns + 13_000_000,
            ),
        )  # fmt: skip

    # -- reading -----------------------------------------------------------------------------------------------------

    def samples(self, facts: FleetFacts = FACTS, **more: Any) -> Samples:
        return collect(self.entries, facts, self.end_ns, **more)

    def value(self, name: str, *labels: str, at_s: int | None = None) -> Value:
        """Value at the end, or at a sample instant."""
        samples = self.samples()
        wanted_ns = self.end_ns if at_s is None else at_s * S
        points = dict(samples.points(Key(f"realmfleet_{name}", labels)))
        return points[wanted_ns]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def facts() -> FleetFacts:
    return FACTS


@pytest.fixture
def day(story: Story) -> Story:
    """A little of everything: boots, a bring-up, a loss, a migration, an activation, a fault, a refusal."""
    story.booted("m1", 1).booted("m2", 1).booted("m3", 2).admitted("m1", 2).admitted("m2", 2).admitted("m3", 3)
    story.wanted("web-001", 3).moved("web-001", 3, "awaited", "wanted")
    story.control(3.5, records.RealmPlaced("web-001", 1, "m1", 3, {"granules": 1}, {}, ()))
    story.moved("web-001", 3.5, "wanted", "placed")
    story.put("m1", 4, commands.RealmBuilt("web-001", 1, "00", {"RMI_DATA_CREATE": 500}, ((0, 100),)))
    story.put("m1", 4, commands.RmiCalls({"RMI_DATA_CREATE": 500}))
    story.verdict("web-001", 5, tiers={"platform/executables": "affirming"})
    story.control(5.1, records.SecretReleased("web-001", 1, "m1", "default", ""))
    story.serves("m1", "web-001", 6).moved("web-001", 6, "placed", "serving")
    story.verdict("db-001", 20, "freshness")
    story.put("m2", 30, commands.FirmwareActivated("RMM", "1.0.1", 2, "aa", 5_000_000))
    story.put("m2", 31, commands.CommandRefused("launch", "web-002", "RMI_REALM_CREATE: RMI_ERROR_INPUT", "because"))
    return story


@pytest.fixture
def promtool() -> str:
    """Path of promtool; a host without it skips what needs it."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return found
