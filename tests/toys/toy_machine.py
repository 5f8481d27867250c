"""A toy server for tests of engine and node: chatters, answers and remembers, with everything drawn from its seed.

It speaks the real records of `cca_machine.commands`, so it crosses the real wire, but means nothing by them. Its
`mixed` is a running hash of all it went through: two toys that differ in one input or its instant differ in all later
records.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from cca_machine.commands import (
    Advance,
    Attest,
    Heartbeat,
    Inject,
    Input,
    MachineSpec,
    Parcel,
    Refused,
    Sent,
    SessionStep,
    Traced,
)

FACTORY = "toy_machine:ToyMachine"


class Event(msgspec.Struct):
    """Something on a toy's agenda; `item` None is its own timer."""

    at_ns: int
    priority: int
    source: str
    number: int
    item: Input | None

    @property
    def key(self) -> tuple[int, int, str, int]:
        return (self.at_ns, self.priority, self.source, self.number)


class ToyState(msgspec.Struct):
    """The whole state of a toy."""

    now_ns: int = 0
    sent: int = 0
    traced: int = 0
    timers: int = 0
    mixed: int = 0
    agenda: list[Event] = []


class ToyMachine:
    """Chatters with the peers that its specification's `timing` names, every `period_ns` or so."""

    def __init__(self, spec: MachineSpec) -> None:
        self._spec = spec
        self._peers = sorted(spec.timing.keys() - {"period_ns"})
        self._state = ToyState()
        self._plan(0)

    def submit(self, item: Input, at_ns: int, priority: int, source: str, number: int) -> None:
        if at_ns < self._state.now_ns:
            raise ValueError(f"{self._spec.name} was given something for {at_ns} at {self._state.now_ns}")
        self._state.agenda.append(Event(at_ns, priority, source, number, item))

    def run_until(self, until_ns: int) -> Advance:
        state, done = self._state, Advance([], [], None)
        while due := [event for event in state.agenda if event.at_ns < until_ns]:
            event = min(due, key=lambda event: event.key)
            state.agenda.remove(event)
            self._happen(event, done)
        state.now_ns = until_ns
        next_due_ns = min((event.at_ns for event in state.agenda), default=None)
        return Advance(done.sent, done.records, next_due_ns)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, snapshot: bytes) -> None:
        self._state = msgspec.msgpack.decode(snapshot, type=ToyState)

    def _happen(self, event: Event, done: Advance) -> None:
        state, at_ns = self._state, event.at_ns
        state.mixed = self._draw("mix", state.mixed, *event.key, type(event.item).__name__)
        if event.item is None:
            if self._peers and self._draw("whom", state.timers) % 3:
                peer = self._peers[self._draw("peer", state.timers) % len(self._peers)]
                size = self._draw("size", state.timers) % 5_000
                self._send(done, at_ns, peer, Parcel("toy", bytes([3]), size))
            else:
                self._send(done, at_ns, "control", Heartbeat(0, state.mixed % 1000, 0, True, {}, ()))
            self._plan(at_ns)
        elif isinstance(event.item, Parcel):
            hops = event.item.payload[0]
            if hops:
                self._send(done, at_ns, event.source, Parcel("toy", bytes([hops - 1]), 100))
        elif isinstance(event.item, Attest):
            self._send(done, at_ns, "control", Refused("attest", "toy", "busy", "a toy has no Realms"), event.number)
        elif isinstance(event.item, Inject):
            state.agenda = [other for other in state.agenda if other.item is None]
        state.traced += 1
        what = SessionStep(type(event.item).__name__, event.source, event.number, "toy", f"{state.mixed:x}")
        done.records.append(Traced(at_ns, state.traced, what))

    def _send(self, done: Advance, at_ns: int, target: str, body: object, answers: int = 0) -> None:
        self._state.sent += 1
        done.sent.append(Sent(at_ns, self._state.sent, target, body, answers))  # type: ignore[arg-type]

    def _plan(self, now_ns: int) -> None:
        """Set the next timer, unless the toy is one that only answers."""
        period_ns = self._spec.timing.get("period_ns", 0)
        if period_ns:
            self._state.timers += 1
            at_ns = now_ns + 1 + self._draw("wait", self._state.timers) % (2 * period_ns)
            self._state.agenda.append(Event(at_ns, 3, self._spec.name, self._state.timers, None))

    def _draw(self, *name: object) -> int:
        digest = blake2b(repr((self._spec.name, *name)).encode(), key=self._spec.seed, digest_size=8)
        return int.from_bytes(digest.digest(), "big")


class ForgetfulToy(ToyMachine):
    """A toy that does not keep all its state in its snapshot, to show that this is noticed."""

    def restore(self, snapshot: bytes) -> None:
        super().restore(snapshot)
        self._state.mixed ^= 1


class MoodyToy(ToyMachine):
    """A toy that depends on how many of it this process has made, to show that this is noticed."""

    made = 0

    def __init__(self, spec: MachineSpec) -> None:
        super().__init__(spec)
        type(self).made += 1
        self._state.mixed = type(self).made


def toy_spec(name: str, peers: list[str], period_ns: int, seed: int = 1) -> MachineSpec:
    """Specification of a toy that chatters with `peers`."""
    return MachineSpec(
        name=name,
        rack="r1",
        profile="toy",
        seed=seed.to_bytes(32, "big"),
        pes=1,
        memory_bytes=1 << 30,
        firmware={"RMM": b"one image for all"},
        anchors={},
        implementation_id=bytes(32),
        timing=dict.fromkeys(peers, 1) | {"period_ns": period_ns},
    )


def toy_fleet(count: int, period_ns: int, seed: int = 1) -> list[MachineSpec]:
    """`count` toys that all know each other."""
    names = [f"m{number}" for number in range(count)]
    return [toy_spec(name, [peer for peer in names if peer != name], period_ns, seed) for name in names]
