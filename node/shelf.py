"""The node itself: machines by name, each given what arrives for it and run up to an instant.

The same class stands in the head's own process and in a Ray actor (`node.wire` puts bytes around it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

from cca_machine.commands import Advance, MachineSpec
from node.errors import NodeBroken
from node.protocol import Arrival, MachineFactory, SimulatedMachine


def load_factory(name: str) -> MachineFactory:
    """The machine class that `module:name` names; raises `NodeBroken`."""
    module, _, attribute = name.partition(":")
    try:
        return cast(MachineFactory, getattr(import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as error:
        raise NodeBroken(f"no machines to be had from {name}: {error}") from error


class Node:
    """Holds machines. They share nothing, so the order in which they are run does not matter."""

    def __init__(self, factory: MachineFactory, specs: Sequence[MachineSpec]) -> None:
        self._machines: dict[str, SimulatedMachine] = {}
        for spec in specs:
            if spec.name in self._machines:
                raise NodeBroken(f"two machines are called {spec.name}")
            self._machines[spec.name] = factory(spec)

    def machines(self) -> list[str]:
        """Names of the machines on this node, sorted."""
        return sorted(self._machines)

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Arrival]], only: Sequence[str]
    ) -> list[tuple[str, Advance]]:
        """Give each machine of `only` its arrivals in total order and run it up to `until_ns`."""
        done = []
        for name in only:
            machine = self.machine(name)
            for arrival in sorted(inbox.get(name, ()), key=lambda arrival: arrival.key):
                machine.submit(arrival.item, arrival.arrives_ns, arrival.priority, arrival.source, arrival.number)
            done.append((name, machine.run_until(until_ns)))
        return done

    def snapshots(self, machines: Sequence[str]) -> dict[str, bytes]:
        """States of the named machines."""
        return {name: self.machine(name).snapshot() for name in machines}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Give the named machines the states they had elsewhere."""
        for name in sorted(states):
            self.machine(name).restore(states[name])

    def machine(self, name: str) -> SimulatedMachine:
        """The machine itself, for what only a node of the same process can do, such as recording its firmware door."""
        machine = self._machines.get(name)
        if machine is None:
            raise NodeBroken(f"machine {name} is not on this node")
        return machine
