"""A fleet with its lineage witness (modelled) beside the machines: one more endpoint, kept in the head's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cca_machine.migration.wire import WITNESS
from cca_machine.migration.witness import Witness
from orchestrator.engine.ports import Delivery, FleetPort, MachineReport
from orchestrator.engine.streams import derive
from orchestrator.fleet.exchange import machine_report


def witness_of(secret: bytes) -> Witness:
    """The witness of the run that derives everything from `secret`."""
    return Witness(derive(secret, "lineage witness"))


class WitnessedFleet:
    """A `FleetPort`: the machines of another one, and the witness."""

    def __init__(self, fleet: FleetPort, witness: Witness) -> None:
        self.witness = witness
        self._fleet = fleet
        self._names = sorted([*fleet.machines(), WITNESS])

    def machines(self) -> Sequence[str]:
        """Names of all endpoints that run, sorted."""
        return self._names

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        """Run those named in `only` up to `until_ns`; reports sorted by name."""
        machines = [name for name in only if name != WITNESS]
        mail = {name: deliveries for name, deliveries in inbox.items() if name != WITNESS}
        reports = self._fleet.advance(until_ns, mail, machines) if machines else []
        if len(machines) < len(only):
            for delivery in inbox.get(WITNESS, ()):
                message = delivery.message
                self.witness.submit(
                    message.body, delivery.arrives_ns, int(delivery.priority), message.source, message.number
                )
            reports = [*reports, machine_report(WITNESS, self.witness.run_until(until_ns))]
        return sorted(reports, key=lambda report: report.machine)
