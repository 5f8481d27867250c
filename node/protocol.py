"""What head and node say to each other, and what a node asks of the machines it holds.

A request is one of `Open`, `NodeInput`, `Recall`, `TakeSnapshots`; its answer is `Done`, `NodeReport`, `Recalled` or
`Snapshots`. Each crosses the wire as bytes (`node.codec`) under a running sequence number, so that a request which is
sent again because its answer was lost does not run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from msgspec import Raw, Struct

from cca_machine.commands import Advance, Input, MachineSpec


class SimulatedMachine(Protocol):
    """One server, pure and deterministic: what is due before `until_ns` happens, the rest waits."""

    def submit(self, item: Input, at_ns: int, priority: int, source: str, number: int) -> None:
        """Put `item` on the machine's agenda at the instant of its arrival."""
        ...

    def run_until(self, until_ns: int) -> Advance:
        """Run over [present, until_ns); `run_until(a)` then `run_until(b)` is the same as `run_until(b)`."""
        ...

    def snapshot(self) -> bytes:
        """The whole state as bytes."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Take over a state that a machine of the same specification gave."""
        ...

    def record_door(self, recorder: Callable[[dict[str, Any]], None]) -> None:
        """Hand every RMI call on to `recorder`, one record each; no part of the state."""
        ...


MachineFactory: TypeAlias = Callable[[MachineSpec], SimulatedMachine]

DEFAULT_FACTORY = "cca_machine.machine:Machine"
"""Where nodes find the class of their machines, as `module:name`."""


class Arrival(Struct, frozen=True, array_like=True):
    """One input of a machine at the instant of its arrival, with the rest of its place in the total order."""

    arrives_ns: int
    priority: int
    source: str
    number: int
    item: Input

    @property
    def key(self) -> tuple[int, int, str, int]:
        """Place in the total order."""
        return (self.arrives_ns, self.priority, self.source, self.number)


class MachineInput(Struct, frozen=True, array_like=True):
    """What one machine is to do: take the arrivals, run; `snapshot` asks for its state afterwards."""

    machine: str
    arrivals: list[Arrival]
    snapshot: bool = False


class MachineAdvance(Struct, frozen=True, array_like=True):
    """What one machine did: an encoded `Advance`, kept as bytes so that a repeat can be compared with it."""

    machine: str
    advance: Raw
    snapshot: bytes | None = None


class Step(Struct, frozen=True, array_like=True):
    """One past advance of a machine: its arrivals and how far it ran."""

    until_ns: int
    arrivals: list[Arrival]


class History(Struct, frozen=True, array_like=True):
    """All that is needed to bring a machine back: its last snapshot (None: as built) and what happened since."""

    machine: str
    snapshot: bytes | None
    steps: list[Step]


class Open(Struct, frozen=True, tag="open"):
    """Build these machines. Firmware images are listed once in `images`; the specifications hold their numbers."""

    factory: str
    specs: list[bytes]
    images: list[bytes]


class NodeInput(Struct, frozen=True, tag="advance"):
    """Run these machines up to `until_ns`."""

    until_ns: int
    machines: list[MachineInput]


class Recall(Struct, frozen=True, tag="recall"):
    """Bring machines back to where another node, now lost, had them."""

    histories: list[History]


class TakeSnapshots(Struct, frozen=True, tag="snapshots"):
    """Ask for the state of these machines."""

    machines: list[str]


Request: TypeAlias = Open | NodeInput | Recall | TakeSnapshots


class Done(Struct, frozen=True, tag="done"):
    """The machines are built."""


class NodeReport(Struct, frozen=True, tag="report"):
    """What the machines did, in the order in which they were named."""

    machines: list[MachineAdvance]


class Recalled(Struct, frozen=True, tag="recalled"):
    """For each history, the digests of its steps (`node.codec.digest_of`), to be compared with the first time."""

    digests: list[list[bytes]]


class Snapshots(Struct, frozen=True, tag="states"):
    """States by machine."""

    states: dict[str, bytes]


Reply: TypeAlias = Done | NodeReport | Recalled | Snapshots


class NodeLink(Protocol):
    """A line to one node. One request at a time is under way."""

    def begin(self, request: bytes) -> None:
        """Send a request and return at once."""
        ...

    def finish(self) -> bytes:
        """Wait for the answer to the last request; raises `NodeLost` or `NodeBroken`."""
        ...

    def abandon(self) -> None:
        """End the node, if it still lives; it will not be asked again."""
        ...

    def place(self) -> tuple[int, str]:
        """Process that holds the node, and the host it is on, as the layer below names hosts."""
        ...


class NodeHost(Protocol):
    """Where nodes can be had."""

    def cores(self) -> int:
        """Cores that nodes can use together."""
        ...

    def spawn(self, seats: int) -> NodeLink:
        """A new, empty node; `seats` is how many there will be, so that each takes its share of the cores."""
        ...

    def stop(self) -> None:
        """End what was started here, and nothing else."""
        ...
