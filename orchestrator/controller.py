"""What a controller is: it learns from what arrived, and it decides what should happen next.

A controller is plain code over the store: no clock, no sockets, no draws outside named streams. The control plane
(`orchestrator.control`) calls all controllers in one fixed order, at beat boundaries only:

- `fold` once per arrived delivery, in total order;
- `decide` once per step, after everything was folded.

Requests to another controller go through a method of the store (`Store.request_attestation`, `Store.cordon`, ...),
never directly. Records of the trace are either returned in a `Decision` or handed to `Store.note`.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct, field

from cca_machine.commands import Command
from orchestrator.engine.ports import Delivery, Strike
from orchestrator.store import Store


class Order(Struct, frozen=True):
    """A command for a machine; it leaves at `not_before_ns` or at the present boundary, whichever is later (ns)."""

    machine: str
    command: Command
    not_before_ns: int = 0


class Decision(Struct):
    """What one controller wants after one look; everything takes effect from the present boundary on.

    `couple` opens migration sessions as (session, machine, machine), `uncouple` closes them by session. `records` are
    tagged structs for the trace. `next_due_ns` is when the controller wants to look again even if nothing arrives.
    """

    orders: list[Order] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    couple: list[tuple[str, str, str]] = field(default_factory=list)
    uncouple: list[str] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    next_due_ns: int | None = None

    def due(self, at_ns: int | None) -> None:
        """Ask to be called at `at_ns` (virtual ns) at the latest; None asks for nothing."""
        if at_ns is not None and (self.next_due_ns is None or at_ns < self.next_due_ns):
            self.next_due_ns = at_ns


class Controller(Protocol):
    """One concern of the control plane."""

    @property
    def name(self) -> str:
        """Word under which the controller appears in cordons and explanations."""
        ...

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Learn from one arrived outcome; `delivery.message.body` is an outcome of `cca_machine.commands`."""
        ...

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Say what should happen; with nothing new and nothing due the answer is empty and nothing changes."""
        ...
