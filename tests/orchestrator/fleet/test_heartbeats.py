"""Counted heartbeats are held to sent ones: the same faults, and every record of the trace is the same."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from cca_machine.commands import Heartbeat, LeasesKept, RealmStatus, RenewLeases
from orchestrator.assembly import assemble
from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import ANYONE, Drop, Links, LinkShape, Rule, Topology
from orchestrator.engine.loop import Engine
from orchestrator.engine.streams import Stream
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.heartbeats import as_believed
from orchestrator.fleet.local import LocalFleet
from orchestrator.plan import opening_store, plan
from orchestrator.store import MachineState, RealmState

S = 1_000_000_000

FLEET = """\
version: 1
name: pulse
seed: 3
duration: 180s
control: {beat: 100ms, heartbeat: 2s, suspect_after: 7s, lease: 12s, lease_margin: 2s, leases: LEASES}
profiles: {std: {pes: 4, memory: 1GiB, firmware: base}}
racks: {r1: {machines: {std: 3}}, r2: {machines: {std: 2}}}
firmware:
  releases:
    base:
      components:
        BL2: {version: 1.0.0, signed_by: vendor, size: 4KiB}
        BL31: {version: 1.0.0, signed_by: vendor, size: 4KiB}
        RMM: {version: 1.0.0, signed_by: vendor, size: 4KiB}
    next: {components: {RMM: {version: 1.0.1, signed_by: vendor, size: 4KiB}}}
images: {web-v1: {version: 1, size: 16KiB}}
realms: {web: {count: 6, image: web-v1, vcpus: 1, memory: 8MiB, workload: {requests_per_s: 10}}}
timing: {override: {boot.post: 5s, boot.host-os: 5s}}
events:
  - {kind: rollout, at: 150s, release: next, waves: [{machines: 1}, {share: 100%}], bake: 5s, max_failures: 5}
"""
MACHINE_FAULTS = ("machine.power-loss", "machine.freeze", "rmm.panic")
LINK_FAULTS = ("network.partition", "network.loss", "network.delay")


def fleet(faults: str = "", leases: str = "true") -> Cluster:
    loaded = load_text(
        (FLEET.replace("LEASES", leases) + (f"faults:\n{faults}" if faults else "")).encode(), "pulse.yaml"
    )
    assert loaded.value is not None, loaded.render()
    return loaded.value


def storm(seed: int) -> str:
    """A few faults at instants of no beat, of lengths between less than a heartbeat and more than a lease."""
    draws = Stream.named(bytes(32), "faults", str(seed))
    lines, kinds = [], [*MACHINE_FAULTS, *LINK_FAULTS]
    for _ in range(4):
        at_ms, lasts_ms = draws.between(8_000, 120_000), draws.between(300, 25_000)
        rack = f"r{draws.between(1, 2)}"
        fault = kinds.pop(draws.below(len(kinds)))
        if fault in MACHINE_FAULTS:
            lines.append(f"  - {{fault: {fault}, at: {at_ms}ms, for: {lasts_ms}ms, select: {{rack: {rack}}}}}")
            continue
        extra = {"network.loss": ", loss: 40%", "network.delay": f", delay: {draws.between(10, 9_000)}ms"}.get(
            fault, ""
        )
        way = ", one_way: true" if draws.chance(300_000) else ""
        between = f"[control, {{rack: {rack}}}]"
        lines.append(f"  - {{fault: {fault}, at: {at_ms}ms, for: {lasts_ms}ms, between: {between}{extra}{way}}}")
    return "\n".join(lines) + "\n"


def run(cluster: Cluster, *, every: bool, skip: bool = True) -> tuple[list[bytes], Any, Engine]:
    made, sink = plan(cluster, cluster.seed), MemorySink()
    parts = assemble(made, lambda *token: None, every_heartbeat=every)
    with contextlib.closing(LocalFleet(list(made.machines.values()))) as machines:
        engine = Engine(
            cluster.control.beat, machines, parts.control, parts.links, Trace(sink), MemoryJournal(),
            skip=skip, rest=parts.heartbeats,
        )  # fmt: skip
        engine.run_until(cluster.duration)
        engine.finish()
    return [line.line for line in sink.lines], parts, engine


@pytest.mark.parametrize("seed", range(6))
def test_counted_heartbeats_leave_the_trace_of_sent_ones_under_any_fault(seed: int) -> None:
    cluster = fleet(storm(seed))
    counted, parts, engine = run(cluster, every=False)
    sent, _, other = run(cluster, every=True)
    assert counted == sent
    assert engine.delivered == other.delivered
    assert len(parts.heartbeats.restless) < 5


def test_counted_heartbeats_leave_the_trace_of_sent_ones_when_every_beat_is_visited() -> None:
    cluster = fleet(storm(9))
    assert run(cluster, every=False)[0] == run(cluster, every=False, skip=False)[0]


def test_without_leases_too_counted_heartbeats_leave_the_trace_of_sent_ones() -> None:
    cluster = fleet(storm(5), leases="false")
    assert run(cluster, every=False)[0] == run(cluster, every=True)[0]


def test_an_undisturbed_fleet_comes_to_rest_and_then_nothing_is_sent() -> None:
    cluster = fleet()
    made = plan(cluster, 1)
    parts = assemble(made, lambda *token: None)
    engine = Engine(
        cluster.control.beat, LocalFleet(list(made.machines.values())), parts.control, parts.links,
        Trace(MemorySink()), MemoryJournal(), rest=parts.heartbeats,
    )  # fmt: skip
    engine.run_until(20 * S)
    assert parts.heartbeats.restless == []
    calls, delivered = engine.calls, engine.delivered
    engine.run_until(120 * S)
    assert engine.calls == calls
    assert engine.delivered == delivered + 2 * 5 * 50


def test_a_fleet_whose_answers_may_take_longer_than_a_beat_never_rests() -> None:
    cluster = fleet()
    slow = cluster.network.to_control.model_copy(update={"latency": 60_000_000})
    network = cluster.network.model_copy(update={"to_control": slow})
    _, parts, _ = run(cluster.model_copy(update={"network": network, "duration": 30 * S}), every=False)
    assert len(parts.heartbeats.restless) == 5


@pytest.mark.parametrize(
    ("spoils", "rests"),
    [("nothing", True), ("order", False), ("stray", False), ("missing", False), ("state", False), ("dead", False),
     ("boot", False), ("silent", False)],
)  # fmt: skip
def test_only_a_machine_that_says_what_is_believed_may_rest(spoils: str, rests: bool) -> None:
    from orchestrator.store import Asked

    store = opening_store(plan(fleet(), 1))
    view, realm = store.machines["r1-std-01"], store.realms["web-001"]
    view.state, view.boot, view.versions = MachineState.ADMITTED, 1, {"RMM": "1.0.0"}
    store.bind(realm, view.name)
    realm.state, realm.incarnation = RealmState.SERVING, 1
    listed = [RealmStatus("web-001", 1, "serving")]
    if spoils == "order":
        realm.asked = Asked("attest", 0, 1)
    elif spoils == "stray":
        listed.append(RealmStatus("web-002", 1, "serving"))
    elif spoils == "missing":
        listed.clear()
    elif spoils == "state":
        listed[0] = RealmStatus("web-001", 1, "serving-lapsed")
    elif spoils == "silent":
        view.state = MachineState.SUSPECT
    body = Heartbeat(2 if spoils == "boot" else 1, 9, 9, spoils != "dead", {"RMM": "1.0.0"}, tuple(listed))
    assert as_believed(store, view, body) is rests


def test_rules_name_the_machines_whose_heartbeats_they_judge() -> None:
    shape = LinkShape(1000)
    links = Links(bytes(32), Topology({"m1": "r1"}, shape, shape, shape))
    links.impose(Rule("one", ("control",), ("m1", "m2"), 10, 20, Drop()), 0)
    links.impose(Rule("two", ("m3",), ("control",), 15, 30, Drop()), 0)
    links.impose(Rule("three", ("m4",), ("m5",), 0, 99, Drop()), 0)
    assert links.spoken_about("control", 0, 10) == frozenset()
    assert links.spoken_about("control", 19, 20) == {"m1", "m2", "m3"}
    assert links.spoken_about("control", 20, 25) == {"m3"}
    links.impose(Rule("all", ("m6",), ANYONE, 40, 50, Drop()), 0)
    assert links.spoken_about("control", 40, 41) == {"m6"}
    links.impose(Rule("everyone", ANYONE, ANYONE, 60, 70, Drop()), 0)
    assert links.spoken_about("control", 60, 61) is None


def test_a_machine_told_of_counted_heartbeats_does_not_answer() -> None:
    made = plan(fleet(), 1)
    machines = LocalFleet(list(made.machines.values()))
    machine = machines.machine("r1-std-01")
    machine.run_until(60 * S)
    machine.submit(LeasesKept((), 70 * S), 60 * S, 0, "calm", 1 << 40)
    assert machine.run_until(61 * S).sent == []
    machine.submit(RenewLeases((), 70 * S), 61 * S, 2, "control", (1 << 40) + 7)
    answers = machine.run_until(62 * S).sent
    assert [(sent.number, sent.answers) for sent in answers] == [((1 << 40) + 7, (1 << 40) + 7)]
