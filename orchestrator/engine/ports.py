"""The three seams of the beat engine: fleet, control plane and links, as the engine sees them.

The engine knows instants, endpoints and order; bodies are opaque to it. A body travels in a `Message`; where and when
it arrives is a `Delivery`. Everything is ordered by (instant, priority, source, number), never by who answered first.

Time is cut into beats. Machines run over the half-open stretch [now, now + beat): what is due exactly at a boundary
belongs to the beat that starts there. Controllers act at boundaries and see what arrived up to and including it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct


class Priority(IntEnum):
    """Second part of the total order: at one instant, nature strikes first and deliberation comes last."""

    ENVIRONMENT = 0
    PARCEL = 1
    ORDER = 2
    MACHINE = 3
    SERVICE = 4
    CONTROL = 5


APART = 1 << 40
"""Messages numbered from here on stand beside the count of their source: heartbeats, of which not all are sent."""


class Message(Struct, frozen=True):
    """Something that left `source` for `target` at `sent_ns`; `number` counts per source without gaps.

    `answers` is the number of the message it replies to (0: none); `size_bytes` is what a link is charged for.
    """

    source: str
    number: int
    target: str
    sent_ns: int
    body: Any
    answers: int = 0
    size_bytes: int = 0


class Delivery(Struct, frozen=True):
    """A message at the instant of its arrival."""

    arrives_ns: int
    priority: int
    message: Message

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.arrives_ns, self.priority, self.message.source, self.message.number)


class TraceEntry(Struct, frozen=True):
    """One record of the trace: `what` is a tagged record of the package that made it."""

    at_ns: int
    priority: int
    source: str
    number: int
    what: Any

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.at_ns, self.priority, self.source, self.number)


class MachineReport(Struct, frozen=True):
    """What one machine did in a stretch of time; `idle`: nothing but the end of leases is on its agenda."""

    machine: str
    sent: list[Message]
    records: list[TraceEntry]
    next_due_ns: int | None
    idle: bool = False


class FleetPort(Protocol):
    """All machines, wherever they live. Implementations differ in processes, never in answers."""

    def machines(self) -> Sequence[str]:
        """Names of all machines, sorted."""
        ...

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        """Run the machines named in `only` up to (not including) `until_ns`, in parallel; reports sorted by machine.

        `inbox` holds deliveries for some of those machines, each with `arrives_ns` < `until_ns`.
        """
        ...


class LinkPort(Protocol):
    """Fate of messages. A draw depends only on (seed, source, target, number), never on call order."""

    def arrival_ns(self, message: Message) -> int | None:
        """Instant of arrival, always at least `latency_min_ns` after `sent_ns`; None when the message is lost."""
        ...

    def latency_min_ns(self, source: str, target: str) -> int:
        """Lower bound of the latency that neither jitter nor a rule undercuts; at least 1 microsecond."""
        ...


class Strike(Struct, frozen=True):
    """What happens to a machine without a message: a fault or its healing, at `at_ns` >= the present boundary."""

    machine: str
    at_ns: int
    body: Any


class ControlStep(Struct, frozen=True):
    """What the control plane wants after one look: sorted, numbered messages, deeds of chaos, sessions and records.

    Messages may carry `sent_ns` later than the boundary (a service replies at its own exact instant), never earlier.
    `couple` and `uncouple` name migration sessions as (session, machine, machine), in effect from this boundary on.
    `next_due_ns` is when the control plane wants to be called again even if nothing arrives; None: only on arrival.

    Machines that rest exchange heartbeats that nobody sends (`RestPort`): `rest` names those that may, each with the
    instant since which it must have done nothing else, `rouse` those that no longer do and the instant by which they
    must run; `implied` counts the messages that were not sent.
    """

    messages: list[Message]
    strikes: list[Strike]
    couple: list[tuple[str, str, str]]
    uncouple: list[str]
    records: list[TraceEntry]
    next_due_ns: int | None
    rest: Sequence[tuple[str, int]] = ()
    rouse: Sequence[tuple[str, int]] = ()
    implied: int = 0


class RestPort(Protocol):
    """Machines whose heartbeats follow in closed form, as long as nothing else happens to them."""

    def lie_down(self, machine: str) -> None:
        """The engine agrees: nothing is on its way to `machine`, and it has nothing to do."""
        ...

    def rests(self, machine: str) -> bool:
        """Whether `machine` rests at present."""
        ...

    def kept(self, machine: str) -> Message | None:
        """What `machine`, about to be run, must be told first of the heartbeats that nobody sent."""
        ...


class ControlPort(Protocol):
    """The control plane. A call with nothing arrived and nothing due changes nothing, so beats may be skipped."""

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        """Fold what arrived (in total order, all up to and including `now_ns`), then decide."""
        ...
