"""Every life cycle of the house in one form: for the generic test that walks them and the page that draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from attestation.kbs import exchange
from cca_machine import pod
from cca_machine.host import states as host
from cca_machine.migration import tables as session
from cca_machine.monitor import lfa_states as lfa
from cca_machine.monitor.state import LfaState
from orchestrator.firmware import phases as firmware
from orchestrator.fleet import inventory
from orchestrator.migration import phases as migration
from orchestrator.realms import lifecycle
from orchestrator.store import MachineState, RealmState, SessionPhase


class LifeCycle(Struct, frozen=True):
    """One table: `starts` are the states a life may begin in, `ends` those that are never left.

    `refused` are inputs that some state answers with a status of the specification instead of a step.
    """

    name: str
    title: str
    where: str
    states: type[Enum]
    inputs: type[Enum]
    table: Mapping[Any, Any]
    starts: frozenset[Any]
    ends: frozenset[Any] = frozenset()
    refused: frozenset[Any] = frozenset()

    def steps(self) -> Iterator[tuple[Any, Any, Any, str]]:
        """(state, input, next state, effect) of every row; the effect is empty where the table has none."""
        for (state, given), result in self.table.items():
            after, effect = result if isinstance(result, tuple) else (result, None)
            yield state, given, after, "" if effect is None else str(effect.value)


LIFE_CYCLES: tuple[LifeCycle, ...] = (
    LifeCycle(
        "machine", "A machine as the control plane believes it", "orchestrator/fleet/inventory.py",
        MachineState, inventory.Sign, inventory.TABLE, frozenset({MachineState.EXPECTED}),
    ),
    LifeCycle(
        "realm", "A Realm in the fleet as the control plane believes it", "orchestrator/realms/lifecycle.py",
        RealmState, lifecycle.Step, lifecycle.TABLE, frozenset({RealmState.AWAITED}), lifecycle.TERMINAL,
    ),
    LifeCycle(
        "hosted-realm", "A Realm on its host", "cca_machine/host/states.py",
        host.HostedState, host.HostedEvent, host.TABLE,
        frozenset({host.HostedState.BUILDING, host.HostedState.ARRIVING}), frozenset({host.HostedState.STOPPING}),
    ),
    LifeCycle(
        "pod", "A confidential pod from its shim to its workload", "cca_machine/pod.py",
        pod.PodStep, pod.PodEvent, pod.TABLE, frozenset({pod.PodStep.SHIM}), pod.ENDS,
    ),
    LifeCycle(
        "migration", "A migration as the control plane sees it (modelled)", "orchestrator/migration/phases.py",
        SessionPhase, migration.Event, migration.TABLE, frozenset({SessionPhase.OPENING}), migration.TERMINAL,
    ),
    LifeCycle(
        "migration-source", "The source side of a migration session (modelled)", "cca_machine/migration/tables.py",
        session.SourceState, session.SourceInput, session.SOURCE, frozenset({session.SourceState.NEW}),
        frozenset(state for state in session.SourceState if state in session.CLOSED),
    ),
    LifeCycle(
        "migration-destination", "The destination side of a migration session (modelled)",
        "cca_machine/migration/tables.py",
        session.DestinationState, session.DestinationInput, session.DESTINATION,
        frozenset({session.DestinationState.NEW}),
        frozenset(state for state in session.DestinationState if state in session.CLOSED),
    ),
    LifeCycle(
        "lineage", "A Realm's lineage as the witness holds it (modelled)", "cca_machine/migration/tables.py",
        session.WitnessState, session.WitnessInput, session.WITNESS, frozenset({session.WitnessState.HELD}),
    ),
    LifeCycle(
        "lfa", "The live firmware activation agent of EL3", "cca_machine/monitor/lfa_states.py",
        LfaState, lfa.LfaInput, lfa.TRANSITIONS, frozenset({LfaState.IDLE}),
        refused=frozenset(given for _, given in lfa.REFUSALS),
    ),
    LifeCycle(
        "firmware-update", "One machine in a rollout", "orchestrator/firmware/phases.py",
        firmware.Phase, firmware.Input, firmware.MACHINE_TABLE, frozenset({firmware.Phase.QUEUED}),
        frozenset(),
    ),
    LifeCycle(
        "rollout", "A rollout", "orchestrator/firmware/phases.py",
        firmware.Stage, firmware.Cue, firmware.ROLLOUT_TABLE, frozenset({firmware.Stage.AWAITED}), firmware.SETTLED,
    ),
    LifeCycle(
        "key-broker", "A key-broker exchange", "attestation/kbs/exchange.py",
        exchange.ExchangeState, exchange.ExchangeInput, exchange.TRANSITIONS,
        frozenset({exchange.ExchangeState.CHALLENGED}),
        frozenset({exchange.ExchangeState.RELEASED, exchange.ExchangeState.REFUSED}),
    ),
)  # fmt: skip
