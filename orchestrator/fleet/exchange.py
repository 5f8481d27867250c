"""From the engine's messages to a machine's arrivals, and from what a machine did to the engine's report."""

from __future__ import annotations

from cca_machine.commands import Advance, Parcel
from node.protocol import Arrival
from orchestrator.engine.ports import Delivery, MachineReport, Message, Priority, TraceEntry


def arrival(delivery: Delivery) -> Arrival:
    """A delivery as the machine takes it."""
    message = delivery.message
    return Arrival(delivery.arrives_ns, int(delivery.priority), message.source, message.number, message.body)


def machine_report(machine: str, advance: Advance) -> MachineReport:
    """What a machine did, as the engine takes it; only parcels are charged to the links."""
    sent = [
        Message(
            machine,
            each.number,
            each.target,
            each.at_ns,
            each.body,
            each.answers,
            each.body.modelled_bytes if isinstance(each.body, Parcel) else 0,
        )
        for each in advance.sent
    ]
    records = [TraceEntry(each.at_ns, Priority.MACHINE, machine, each.number, each.what) for each in advance.records]
    return MachineReport(machine, sent, records, advance.next_due_ns, advance.idle)
