"""Every message of a session, every party, every fault: generated, over real machines and the real control plane.

A Realm moves there, back, and there again; the third session is struck, so that what the first sent can be replayed.
A cell is (step, fault). After each: nothing runs twice (P1) or from an older state (P2), no Realm is lost while the
machine that held it lived (P3), no private byte crosses in the clear (P4), both ends agree (P7), the session ends (P8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from cca_machine import commands as c
from cca_machine.host.states import HostedState
from cca_machine.layout import plan as layout
from cca_machine.migration import wire
from cca_machine.migration.tables import CLOSED
from orchestrator.cluster.schema import Cluster
from orchestrator.control import control_plane
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import Links, LinkShape, Topology
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery, MachineReport, Message, Strike
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.realms.reference import realm_spec
from orchestrator.store import RealmState

MS, S = 1_000_000, 1_000_000_000
SOURCE, TARGET = "r1-std-01", "r2-std-01"
STRUCK, OLDER = "move-0003", "move-0001"
ORDERS = ("open-lineage", "open-import", "open-export", "settle-session")
ANSWERS = ("lineage-offered", "export-ready", "lineage-decided", "imported", "session-closed")
PARCELS = (
    "handshake-hello-source", "handshake-hello-destination", *(f"freight-{number}" for number in range(9)),
    "ready", "challenge", "confirm", "decided",
)  # fmt: skip
STEPS = (*ORDERS, *PARCELS, *ANSWERS)
ON_ANY = (
    "lost", "duplicated", "reordered", "late", "source-crash", "target-crash", "control-unreachable",
    "witness-unreachable",
)  # fmt: skip
ON_PARCELS = ("corrupted", "replayed")
CELLS = [(step, fault) for step in STEPS for fault in ON_ANY] + [(s, f) for s in PARCELS for f in ON_PARCELS]
"""Every step of a session times every fault; at each step that is sent once."""


def step_of(message: Message) -> str:
    """Which step of its session a message is."""
    body = message.body
    if not isinstance(body, c.Parcel):
        return str(type(body).__struct_config__.tag)
    return wire.step_of(body.payload)


class Hostile:
    """Links, fleet and control plane, with one fault between them; `crossed` is every parcel's payload."""

    def __init__(self, file: dict[str, Any], step: str, fault: str) -> None:
        part = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
        components = dict.fromkeys(("HES", "BL2", "BL31", "RMM"), part)
        cluster = Cluster.model_validate({**file, "firmware": {"releases": {"base": {"components": components}}}})
        made = plan(cluster, 1)
        self.step_name, self.fault = step, fault
        self.hit_ns: int | None = None
        self.struck: tuple[str, int] | None = None
        self.older: dict[str, bytes] = {}
        self.crossed: list[bytes] = []
        self.heals: list[Strike] = []
        self.healed = False
        self.control = control_plane(made)
        shape = LinkShape(250_000, 0, 10_000_000_000)
        racks = {name: spec.rack for name, spec in made.machines.items()}
        self.links = Links(made.secret, Topology(racks, shape, shape, shape))
        self.fleet = LocalFleet(list(made.machines.values()))
        self.sink = MemorySink()
        self.trace = Trace(self.sink)
        self.witnessed = WitnessedFleet(self.fleet, witness_of(made.secret))
        self.engine = Engine(cluster.control.beat, self, self, self, self.trace, MemoryJournal())

    # -- links ---------------------------------------------------------------------------------------------------------

    def latency_min_ns(self, source: str, target: str) -> int:
        return self.links.latency_min_ns(source, target)

    def arrival_ns(self, message: Message) -> int | None:
        at_ns = self.links.arrival_ns(message)
        session = getattr(message.body, "session", "")
        if isinstance(message.body, c.Parcel):
            self.crossed.append(message.body.payload)
            if session == OLDER:
                self.older.setdefault(step_of(message), message.body.payload)
        cut = {"control-unreachable": c.CONTROL, "witness-unreachable": wire.WITNESS}.get(self.fault)
        if self.hit_ns is not None and cut in (message.source, message.target):
            return None if message.sent_ns < (self.hit_ns or 0) + 6 * S else at_ns
        if at_ns is None or self.hit_ns is not None or session != STRUCK or step_of(message) != self.step_name:
            return at_ns
        self.hit_ns, self.struck = message.sent_ns, (message.source, message.number)
        match self.fault:
            case "lost" | "control-unreachable" | "witness-unreachable":
                return None
            case "late":
                return at_ns + 90 * S
            case "reordered":
                return at_ns + (5 * MS if isinstance(message.body, c.Parcel) else 350 * MS)
        return at_ns

    # -- machines ------------------------------------------------------------------------------------------------------

    def machines(self) -> Sequence[str]:
        return self.witnessed.machines()

    def advance(
        self, until_ns: int, inbox: Mapping[str, Sequence[Delivery]], only: Sequence[str]
    ) -> list[MachineReport]:
        altered = {machine: [new for old in mail for new in self.deliver(old)] for machine, mail in inbox.items()}
        crash = {"source-crash": SOURCE, "target-crash": TARGET}.get(self.fault)
        if crash in only and self.hit_ns is not None and not self.heals:
            # right after the message was sent, as early as the machine's own clock allows
            at_ns = max(self.hit_ns + 1, self.engine.now_ns, self.fleet.machine(crash)._state.clock_ns)  # type: ignore[attr-defined]
            if at_ns < until_ns:
                self.heals = [Strike(crash, at_ns + 40 * S, c.Heal(c.FaultKind.POWER_LOSS))]
                loss = Message("chaos", 1, crash, at_ns, c.Inject(c.FaultKind.POWER_LOSS))
                altered[crash] = sorted([*altered.get(crash, []), Delivery(at_ns, 0, loss)], key=lambda d: d.key)
        return self.witnessed.advance(until_ns, altered, only)

    def deliver(self, delivery: Delivery) -> list[Delivery]:
        message = delivery.message
        if self.struck != (message.source, message.number):
            return [delivery]
        if self.fault == "duplicated":
            again = msgspec.structs.replace(message, number=message.number + 1_000_000)
            return [delivery, msgspec.structs.replace(delivery, message=again)]
        if self.fault in ON_PARCELS:
            payload = message.body.payload
            older = self.older.get(self.step_name, payload)
            changed = older if self.fault == "replayed" else payload[:-3] + b"!" + payload[-2:]
            body = msgspec.structs.replace(message.body, payload=changed)
            return [msgspec.structs.replace(delivery, message=msgspec.structs.replace(message, body=body))]
        return [delivery]

    # -- control plane -------------------------------------------------------------------------------------------------

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        step = self.control.step(now_ns, [new for old in arrived for new in self.deliver(old)])
        due = [strike for strike in self.heals if now_ns <= strike.at_ns < now_ns + 4 * S and not self.healed]
        self.healed = self.healed or bool(due)
        return msgspec.structs.replace(step, strikes=[*step.strikes, *due])

    def run(self, seconds: int) -> None:
        self.engine.run_until(seconds * S)
        self.engine.finish()

    def told(self, kind: str) -> list[Any]:
        return [line.entry.what for line in self.sink.lines if line.kind == kind]


@pytest.fixture
def hostile(cluster_file: Any) -> Any:
    def build(step: str, fault: str) -> Hostile:
        moves = [
            {"kind": "migrate", "at": f"{at}s", "realm": "web-001", "to": to}
            for at, to in ((4, TARGET), (8, SOURCE), (12, TARGET))
        ]
        file = cluster_file(
            racks={"r1": {"machines": {"std": 1}}, "r2": {"machines": {"std": 1}}},
            realms={"web": {"image": "web", "memory": "16MiB", "workload": {"dirty": "4MiB", "working_set": "4MiB"}}},
            migration={"mode": "pre-copy", "downtime": "1ms"},
            events=moves,
            control={"lease": "10s", "suspect_after": "5s"},
        )
        return Hostile(file, step, fault)

    return build


def judge(world: Hostile) -> None:
    store = world.control.store
    live = [line for line in world.sink.lines if line.kind in ("realm.live", "realm.still", "machine.lost")]
    running: dict[str, int] = {}
    last: tuple[int, str] = (0, SOURCE)
    for line in live:
        machine, what = line.entry.source, line.entry.what
        if isinstance(what, c.RealmLive):
            running[machine] = what.incarnation
            assert len(running) == 1, f"P1: runs on {sorted(running)}"
            assert what.incarnation >= last[0], "P2: an older incarnation runs again"
            last = (what.incarnation, machine)
        else:
            running.pop(machine, None)
    assert store.sessions == {}, "P8: the session never ended"
    realm = store.realms["web-001"]
    assert realm.state is RealmState.SERVING
    assert running == {realm.machine: realm.incarnation}, "P7: the trace and the control plane disagree"
    crashed = world.fault.endswith("-crash")
    assert crashed or realm.incarnation == 1, "P3: lost although both machines lived"
    for name in (SOURCE, TARGET):
        host = world.fleet.machine(name)._state.running  # type: ignore[attr-defined]
        if host is None:
            continue  # still on its way up after the crash
        assert {session.state for session in host.sessions.sessions.values()} <= CLOSED, "P7: an end is still open"
        held = {hosted.state for hosted in host.host.realms.values()}
        assert held == ({HostedState.SERVING} if name == realm.machine else set())


@pytest.mark.parametrize(("step", "fault"), CELLS, ids=lambda word: word)
def test_a_session_that_is_struck_anywhere_neither_forks_nor_loses_its_realm(
    hostile: Any, step: str, fault: str
) -> None:
    world = hostile(step, fault)
    world.run(150)
    assert world.hit_ns is not None, f"the session has no step {step}"
    judge(world)


def test_the_matrix_covers_every_message_of_a_session(hostile: Any) -> None:
    world = hostile("none", "none")
    seen: list[str] = []
    arrival = world.arrival_ns

    def noting(message: Message) -> int | None:
        if getattr(message.body, "session", "") == STRUCK:
            seen.append(step_of(message))
        at_ns: int | None = arrival(message)
        return at_ns

    world.arrival_ns = noting
    world.run(60)
    judge(world)
    assert set(seen) == set(STEPS)


def test_no_private_page_crosses_in_the_clear_nor_reaches_the_trace(hostile: Any) -> None:
    world = hostile("none", "none")
    world.run(60)
    spec = realm_spec(world.control.store.cluster, "web", "web-001", 1)
    pages = [page for _, pages in layout(spec).loads() for page in pages]
    markers = [page[at : at + 32] for page in pages for at in range(0, 4096, 512) if page[at : at + 32].strip(b"\0")]
    assert len(markers) > 8
    crossed = b"".join(world.crossed)
    traced = b"".join(line.line for line in world.sink.lines)
    assert len(crossed) > 3 * len(pages) * 4096 // 2
    for marker in markers:
        assert marker not in crossed
        assert marker not in traced
        assert marker.hex().encode() not in traced
