"""The number of series stays within its budget, whatever happens in the fleet."""

from __future__ import annotations

from itertools import product

import pytest

from cca_machine import commands
from orchestrator import records
from orchestrator.chaos.records import FaultInjected, FaultSkipped
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.firmware import records as rollout
from orchestrator.metrics import labels
from orchestrator.metrics.catalogue import CATALOGUE
from orchestrator.metrics.collect import collect
from orchestrator.metrics.export import openmetrics
from orchestrator.metrics.fleet_facts import FleetFacts, Place
from orchestrator.metrics.metric import PER_MACHINE_BELOW, SERIES_BUDGET

S = 1_000_000_000


def fleet(size: int) -> FleetFacts:
    """A fleet in twenty racks."""
    places = {f"r{number % 20:02d}-std-{number:04d}": Place(f"r{number % 20:02d}", "std") for number in range(size)}
    return FleetFacts("big-1", "big", 1, places, tuple(f"web-{number:03d}" for number in range(10 * size)))


def worst_trace(facts: FleetFacts) -> list[TraceEntry]:
    """Everything that gives a series of its own: each label value at least once, three kinds of faults everywhere."""
    entries: list[TraceEntry] = []

    def put(source: str, what: object) -> None:
        entries.append(TraceEntry(len(entries), Priority.MACHINE, source, len(entries), what))

    machines = list(facts.machines)
    for machine in machines:
        put(machine, commands.MachineBooted(1, dict.fromkeys(("BL2", "BL31", "RMM", "HES"), "1.0.0")))
        put(machine, commands.FirmwareActivated("RMM", "1.0.1", 2, "", 1))
    for number, kind in enumerate(labels.FAULT_KIND.values):
        struck = tuple(machines if number < 3 else machines[:10])
        put(commands.CONTROL, FaultInjected(f"f{number}", kind, struck, 0))
        put(commands.CONTROL, FaultSkipped(f"f{number}", kind, ""))
    for reason, trigger in product(labels.ATTESTATION_RESULT.values, labels.TRIGGER.values):
        tiers = {f"{half}/{claim}": "warning" for half in labels.HALF.values for claim in labels.CLAIM.values}
        passed = reason == "success"
        verdict = ("web-000", 1, machines[0], passed, trigger, "" if passed else reason, "", "", "", tiers, 0, 0, 0, 0)
        put(commands.CONTROL, records.RealmVerdict(*verdict))
    for command, status in product(labels.RMI_COMMAND.values, labels.RMI_STATUS.values):
        put(machines[0], commands.CommandRefused("launch", "", f"{command}: {status}", ""))
    put(machines[0], commands.RmiCalls(dict.fromkeys(labels.RMI_COMMAND.values, 1)))
    for component, result in product(labels.COMPONENT.values, labels.ACTIVATION_RESULT.values):
        put(machines[0], commands.FirmwareRefused(component, "", result, ""))
    for name in ("rollout-1", "rollout-2", "rollout-3"):
        put(commands.CONTROL, rollout.RolloutStarted(name, "r", "RMM", "1.0.1", len(machines), 3))
    return entries


def series(facts: FleetFacts) -> list[str]:
    """Distinct series of the exposition, as a Prometheus counts them."""
    text = "".join(openmetrics(collect(worst_trace(facts), facts, S)))
    return sorted({line.rsplit(" ", 2)[0] for line in text.splitlines() if not line.startswith("#")})


@pytest.mark.parametrize("size", [PER_MACHINE_BELOW - 1, PER_MACHINE_BELOW])
def test_a_fleet_of_a_thousand_machines_stays_within_the_budget(size: int) -> None:
    assert len(series(fleet(size))) <= SERIES_BUDGET


def test_series_per_machine_exist_below_the_limit_only() -> None:
    names = {entry.name for entry in CATALOGUE if entry.per_machine}
    below = {one.split("{")[0] for one in series(fleet(PER_MACHINE_BELOW - 1))}
    above = {one.split("{")[0] for one in series(fleet(PER_MACHINE_BELOW))}
    assert names <= below
    assert not names & above


def test_ten_times_the_realms_and_machines_add_no_series() -> None:
    """Ten thousand machines in the same twenty racks have the series of a thousand."""
    assert len(series(fleet(10 * PER_MACHINE_BELOW))) == len(series(fleet(PER_MACHINE_BELOW)))
