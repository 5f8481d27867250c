"""A whole toy run: a control plane that follows a plan, links, an engine, and the lines and digest that come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from cca_machine.commands import Attest, FaultKind, Inject
from orchestrator.engine.instant import MS, US
from orchestrator.engine.journal import ExternalInput, MemoryJournal
from orchestrator.engine.links import Links, LinkShape, Rule, Topology
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery, FleetPort, Message, Priority, Strike, TraceEntry
from orchestrator.engine.streams import run_seed
from orchestrator.engine.trace import MemorySink, Trace

BEAT = 100 * MS


class Seen(Struct, frozen=True, tag="toy.seen"):
    """The toy control plane saw this message at its boundary."""

    source: str
    message: int
    answers: int
    arrived_ns: int


@dataclass(frozen=True)
class Deed:
    """One line of the plan: from `at_ns` on, do `what` with these machines."""

    at_ns: int
    what: str
    one: str
    other: str = ""


class ToyControl:
    """Follows a plan and records what it sees; asks back every fifth message, and itself through a slow service."""

    def __init__(self, plan: Iterable[Deed]) -> None:
        self._plan = sorted(plan, key=lambda deed: (deed.at_ns, deed.what, deed.one, deed.other))
        self._seen = 0
        self._numbers = {"control": 0, "verifier": 0}

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        step = ControlStep([], [], [], [], [], None)
        for delivery in arrived:
            self._see(step, now_ns, delivery)
        while self._plan and self._plan[0].at_ns <= now_ns:
            self._do(step, now_ns, self._plan.pop(0))
        next_due_ns = self._plan[0].at_ns if self._plan else None
        return ControlStep(step.messages, step.strikes, step.couple, step.uncouple, step.records, next_due_ns)

    def _see(self, step: ControlStep, now_ns: int, delivery: Delivery) -> None:
        message = delivery.message
        self._seen += 1
        what = Seen(message.source, message.number, message.answers, delivery.arrives_ns)
        step.records.append(TraceEntry(now_ns, Priority.CONTROL, "control", self._seen, what))
        if self._seen % 5 == 0 and message.source.startswith("m"):
            self._say(step, "control", message.source, now_ns)
            self._say(step, "verifier", "control", now_ns + 12_345_678)

    def _do(self, step: ControlStep, now_ns: int, deed: Deed) -> None:
        if deed.what == "ask":
            self._say(step, "control", deed.one, now_ns)
        elif deed.what == "strike":
            step.strikes.append(Strike(deed.one, now_ns + 250 * MS + 7, Inject(FaultKind.FREEZE)))
        elif deed.what == "couple" and deed.one != deed.other:
            step.couple.append((f"{deed.one}+{deed.other}", deed.one, deed.other))
        elif deed.what == "uncouple":
            step.uncouple.append(f"{deed.one}+{deed.other}")

    def _say(self, step: ControlStep, source: str, target: str, sent_ns: int) -> None:
        self._numbers[source] += 1
        body = Attest("toy", 1, "nonce")
        step.messages.append(Message(source, self._numbers[source], target, sent_ns, body, size_bytes=200))


@dataclass
class ToyRun:
    """Everything of one run; build it, `run`, then look at `lines` and `digest`."""

    fleet: FleetPort
    plan: Sequence[Deed] = ()
    rules: Sequence[Rule] = ()
    topology: Topology | None = None
    skip: bool = True
    beat_ns: int = BEAT
    seed: int = 1
    recorded: Sequence[ExternalInput] = ()
    sink: MemorySink = field(default_factory=MemorySink)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    digest: str = ""

    def __post_init__(self) -> None:
        self.links = Links(run_seed(self.seed), self.topology or toy_topology(self.fleet.machines()))
        for rule in self.rules:
            self.links.impose(rule, 0)
        self.control = ToyControl(self.plan)
        self.engine = Engine(
            self.beat_ns,
            self.fleet,
            self.control,
            self.links,
            Trace(self.sink),
            self.journal,
            skip=self.skip,
            recorded=self.recorded,
        )

    def run(self, *until_ns: int) -> ToyRun:
        for stop_ns in until_ns:
            self.engine.run_until(stop_ns)
        self.digest = self.engine.finish()
        return self

    @property
    def lines(self) -> list[bytes]:
        return [line.line for line in self.sink.lines]


def toy_topology(
    machines: Iterable[str], single: dict[tuple[str, str], LinkShape] | None = None, latency_ns: int = 50 * US
) -> Topology:
    """Two racks, even and odd, and a control plane beyond them."""
    return Topology(
        racks={machine: f"r{int(machine[1:]) % 2}" for machine in machines},
        same_rack=LinkShape(latency_ns, 10 * US, 10_000_000_000),
        between_racks=LinkShape(2 * latency_ns + 25 * US, 50 * US, 1_000_000_000),
        to_control=LinkShape(5 * latency_ns, 100 * US),
        single=single or {},
    )
