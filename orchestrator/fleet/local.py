"""A fleet in the head's own process: the same nodes as everywhere, without bytes in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cca_machine.commands import MachineSpec
from node.protocol import DEFAULT_FACTORY, SimulatedMachine
from node.shelf import Node, load_factory
from orchestrator.engine.ports import Delivery, MachineReport
from orchestrator.fleet.exchange import arrival, machine_report
from orchestrator.fleet.seats import deal, seat_count


class LocalFleet:
    """All machines on `nodes` nodes of this process: a `FleetPort` with nothing that could be lost."""

    actors = 0
    actor_restarts = 0

    def __init__(self, specs: Sequence[MachineSpec], nodes: int = 1, factory: str = DEFAULT_FACTORY) -> None:
        self._names = sorted(spec.name for spec in specs)
        hands = deal(specs, seat_count(len(specs), nodes, cores=1))
        self._node_of = {spec.name: number for number, hand in enumerate(hands) for spec in hand}
        build = load_factory(factory)
        self._nodes = [Node(build, hand) for hand in hands]

    def machines(self) -> Sequence[str]:
        """Names of all machines, sorted."""
        return self._names

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        """Run the machines named in `only`, node by node; reports sorted by machine."""
        hands: dict[int, list[str]] = {}
        for machine in only:
            hands.setdefault(self._node_of[machine], []).append(machine)
        arrivals = {machine: [arrival(delivery) for delivery in mail] for machine, mail in inbox.items()}
        done = [
            pair for number in sorted(hands) for pair in self._nodes[number].advance(until_ns, arrivals, hands[number])
        ]
        return [machine_report(machine, advance) for machine, advance in sorted(done, key=lambda pair: pair[0])]

    def machine(self, name: str) -> SimulatedMachine:
        """The machine itself: only a local fleet can hand it out."""
        return self._nodes[self._node_of[name]].machine(name)

    def snapshots(self) -> dict[str, bytes]:
        """States of all machines."""
        return {name: self._nodes[self._node_of[name]].snapshots([name])[name] for name in self._names}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Give machines the states they had in a fleet of the same specifications."""
        for name in sorted(states):
            self._nodes[self._node_of[name]].restore({name: states[name]})

    def pids(self) -> list[int]:
        """No processes but the head's own."""
        return []

    def hosts(self) -> list[str]:
        """No hosts but the head's own."""
        return []

    def close(self) -> None:
        """Nothing to end."""
