"""Seats: places for nodes in other processes, each with all that is needed to fill it again.

The head keeps, for each machine, its last snapshot and the log of what it was given since. When a node is lost, a new
one is built from these and must give the same bytes again; what the lost node had already reported is not reported
twice. Nothing here knows how nodes are reached: a `NodeHost` gives links that carry bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from cca_machine.commands import Advance, MachineSpec
from node.codec import decode_advance, decode_reply, digest_of, encode_frame, pack_specs
from node.errors import NodeBroken, NodeLost
from node.protocol import (
    Done,
    History,
    MachineInput,
    NodeHost,
    NodeInput,
    NodeLink,
    NodeReport,
    Open,
    Recall,
    Recalled,
    Reply,
    Request,
    Snapshots,
    Step,
    TakeSnapshots,
)
from orchestrator.engine.errors import NondeterminismFound
from orchestrator.engine.ports import Delivery, MachineReport
from orchestrator.fleet.exchange import arrival, machine_report

ACTORS_PER_CORE = 4
"""Up to this many single-machine actors per core; a fleet with more machines is packed, one actor per core."""

SNAPSHOT_EVERY = 256
"""Advances of a machine after which its log is replaced by a snapshot."""

RESTARTS_MAX = 3
"""Nodes that one request may cost before the fleet gives up."""


def seat_count(machines: int, actors: int | str, cores: int) -> int:
    """How many nodes hold `machines`; `actors` is a number, or "auto" as the design has it."""
    if actors != "auto":
        return max(1, min(int(actors), machines))
    return max(1, machines if machines <= ACTORS_PER_CORE * cores else cores)


def deal(specs: Sequence[MachineSpec], seats: int) -> list[list[MachineSpec]]:
    """Machines to seats in turn, by name, so that racks and profiles spread evenly."""
    ordered = sorted(specs, key=lambda spec: spec.name)
    return [ordered[seat::seats] for seat in range(seats)]


class Ledger(Struct):
    """What brings one machine back: its last snapshot, the steps since, and what each of them answered."""

    snapshot: bytes | None
    steps: list[Step]
    digests: list[bytes]


class Seat:
    """One place for a node: knows its machines, and refills itself when its node is lost."""

    def __init__(self, host: NodeHost, opening: Open, machines: Sequence[str], seats: int, snapshot_every: int) -> None:
        self.restarts = 0
        """Nodes lost and replaced so far."""
        self._host = host
        self._opening = opening
        self._seats = seats
        self._snapshot_every = snapshot_every
        self._ledgers = {machine: Ledger(None, [], []) for machine in machines}
        self._sequence = 0
        self._frame = b""
        self._request = NodeInput(0, [])
        self._link: NodeLink = host.spawn(seats)
        self._begin(opening)

    def place(self) -> tuple[int, str]:
        """Process that holds the node, and its host; raises `NodeLost`."""
        return self._link.place()

    def opened(self) -> None:
        """Wait until the machines are built."""
        reply = self._answer(self._opening)
        if not isinstance(reply, Done):
            raise NodeBroken("a node did not open")

    def begin_advance(self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]) -> None:
        """Send the node its part of a beat."""
        self._request = NodeInput(
            until_ns,
            [
                MachineInput(
                    machine,
                    [arrival(delivery) for delivery in inbox.get(machine, ())],
                    len(self._ledgers[machine].steps) + 1 >= self._snapshot_every,
                )
                for machine in only
            ],
        )
        self._begin(self._request)

    def finish_advance(self) -> list[tuple[str, Advance]]:
        """Wait for what the machines did, and write it into their ledgers."""
        request = self._request
        reply = self._answer(request)
        if not isinstance(reply, NodeReport) or len(reply.machines) != len(request.machines):
            raise NodeBroken("a node answered something else than it was asked")
        done = []
        for asked, did in zip(request.machines, reply.machines, strict=True):
            ledger = self._ledgers[asked.machine]
            if did.snapshot is not None:
                ledger.snapshot, ledger.steps, ledger.digests = did.snapshot, [], []
            else:
                ledger.steps.append(Step(request.until_ns, asked.arrivals))
                ledger.digests.append(digest_of(did.advance))
            done.append((did.machine, decode_advance(did.advance)))
        return done

    def snapshots(self) -> dict[str, bytes]:
        """States of all machines of the seat."""
        request = TakeSnapshots(sorted(self._ledgers))
        self._begin(request)
        reply = self._answer(request)
        if not isinstance(reply, Snapshots):
            raise NodeBroken("a node answered something else than it was asked")
        return reply.states

    def _begin(self, request: Request) -> None:
        """Send a request under the next number."""
        self._sequence += 1
        self._frame = encode_frame(self._sequence, request)
        self._link.begin(self._frame)

    def _answer(self, request: Request) -> Reply:
        """The reply to the request under way; fills the seat again, and asks again, as often as is reasonable."""
        last: NodeLost | None = None
        for attempt in range(RESTARTS_MAX + 1):
            try:
                if attempt:
                    self._refill()
                    if request is self._opening:
                        return Done()
                    self._begin(request)
                return self._reply()
            except NodeLost as lost:
                last = lost
        raise NodeBroken(f"{RESTARTS_MAX + 1} nodes were lost over one request; the fleet gives up") from last

    def _reply(self) -> Reply:
        """The reply to the last frame. A silent node is asked once more, under the same number: it runs only once."""
        try:
            frame = self._link.finish()
        except NodeLost as lost:
            if lost.gone:
                raise
            self._link.begin(self._frame)
            frame = self._link.finish()
        sequence, reply = decode_reply(frame)
        if sequence != self._sequence:
            raise NodeBroken(f"a node answered request {sequence} instead of {self._sequence}")
        return reply

    def _refill(self) -> None:
        """A new node with the same machines in the same states; raises `NodeLost` if it is lost as well."""
        self.restarts += 1
        self._link.abandon()
        self._link = self._host.spawn(self._seats)
        self._begin(self._opening)
        self._reply()
        names = sorted(self._ledgers)
        self._begin(Recall([History(name, self._ledgers[name].snapshot, self._ledgers[name].steps) for name in names]))
        reply = self._reply()
        if not isinstance(reply, Recalled):
            raise NodeBroken("a node answered something else than it was asked")
        for name, digests in zip(names, reply.digests, strict=True):
            self._compare(name, digests)

    def _compare(self, machine: str, digests: Sequence[bytes]) -> None:
        """A machine brought back must have said, byte for byte, what it said the first time."""
        ledger = self._ledgers[machine]
        for step, before, now in zip(ledger.steps, ledger.digests, digests, strict=True):
            if before != now:
                what = (
                    f"the advance to {step.until_ns} ns gave {before.hex()} before its node was lost, {now.hex()} after"
                )
                raise NondeterminismFound(machine, what, step.until_ns)


class SeatedFleet:
    """All machines on nodes of a `NodeHost`: a `FleetPort` that survives the loss of nodes."""

    def __init__(
        self,
        specs: Sequence[MachineSpec],
        host: NodeHost,
        actors: int | str,
        factory: str,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self._host = host
        self._names = sorted(spec.name for spec in specs)
        dealt = deal(specs, seat_count(len(specs), actors, host.cores()))
        self._seat_of = {spec.name: number for number, hand in enumerate(dealt) for spec in hand}
        self._seats = [
            Seat(host, pack_specs(factory, hand), [spec.name for spec in hand], len(dealt), snapshot_every)
            for hand in dealt
        ]
        for seat in self._seats:
            seat.opened()

    @property
    def actors(self) -> int:
        """Nodes in use."""
        return len(self._seats)

    @property
    def actor_restarts(self) -> int:
        """Nodes lost and replaced so far."""
        return sum(seat.restarts for seat in self._seats)

    def pids(self) -> list[int]:
        """Processes of the nodes, in the order of their seats."""
        return [seat.place()[0] for seat in self._seats]

    def hosts(self) -> list[str]:
        """Hosts of the nodes, in the order of their seats."""
        return [seat.place()[1] for seat in self._seats]

    def machines(self) -> Sequence[str]:
        """Names of all machines, sorted."""
        return self._names

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        """One call per node that has work, all under way at once; reports sorted by machine."""
        hands: dict[int, list[str]] = {}
        for machine in only:
            hands.setdefault(self._seat_of[machine], []).append(machine)
        for number in sorted(hands):
            self._seats[number].begin_advance(until_ns, inbox, hands[number])
        done = [pair for number in sorted(hands) for pair in self._seats[number].finish_advance()]
        return [machine_report(machine, advance) for machine, advance in sorted(done, key=lambda pair: pair[0])]

    def snapshots(self) -> dict[str, bytes]:
        """States of all machines."""
        states: dict[str, bytes] = {}
        for seat in self._seats:
            states.update(seat.snapshots())
        return {name: states[name] for name in self._names}

    def close(self) -> None:
        """End the nodes."""
        self._host.stop()
