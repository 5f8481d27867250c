"""Real machines under the engine: the same bytes on every fleet, over every spread, and after every loss."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_host import DEAD, ToyHost
from toy_run import toy_topology

from attestation import firmware
from attestation.keys import derive_key
from cca_machine import commands as c
from cca_machine.costs import reference_timing
from node.protocol import DEFAULT_FACTORY
from orchestrator.engine.instant import MS, S
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import Links, LinkShape
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery, FleetPort, Message, Strike
from orchestrator.engine.streams import run_seed
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet
from orchestrator.fleet.ray import RayFleet
from orchestrator.fleet.seats import SeatedFleet

VENDOR = derive_key(b"a vendor's seed, 32 bytes of it..", "vendor")
END = 12 * S
NONCE = "bm9uY2UgZm9yIGEgdGVzdA=="
MACHINES = ("m0", "m1", "m2", "m3")


def image(component: str) -> bytes:
    manifest = firmware.FirmwareManifest(component=component, version="1.0.0", security_version=1, data_format=1)
    return firmware.build(manifest, component.encode() * 1024, VENDOR)


IMAGES = {component: image(component) for component in ("HES", "BL2", "BL31", "RMM")}
SPECS = [
    c.MachineSpec(
        name=name,
        rack="r1",
        profile="test",
        seed=hashlib.sha256(name.encode()).digest(),
        pes=8,
        memory_bytes=1 << 30,
        firmware=IMAGES,
        anchors={firmware.signer_id(VENDOR.public): VENDOR.public.cose_key()},
        implementation_id=bytes(range(32)),
        timing=reference_timing(),
    )
    for name in MACHINES
]


def realm(name: str) -> c.RealmSpec:
    workload = c.Workload(requests_per_s=1000)
    return c.RealmSpec(name, 1, "web", 2, 64 << 20, c.ImageSpec("web", 1, 256 << 10), "server", workload)


class Operator:
    """Launches Realms, renews leases, asks for evidence, stops one; chaos cuts the power of a machine."""

    def __init__(self) -> None:
        self._number = 0
        self._due = sorted([1 * S, 2 * S, *range(3 * S, END, 2 * S), 7 * S])

    def step(self, now_ns: int, arrived: Sequence[Delivery]) -> ControlStep:
        orders: list[tuple[str, c.Command]] = []
        strikes: list[Strike] = []
        while self._due and self._due[0] <= now_ns:
            orders += self._orders(self._due.pop(0), now_ns)
        if now_ns == 7 * S:
            strikes = [
                Strike("m1", 7 * S + 123_456, c.Inject(c.FaultKind.POWER_LOSS)),
                Strike("m1", 8 * S + 3, c.Heal(c.FaultKind.POWER_LOSS)),
            ]
        messages = [self._message(target, now_ns, body) for target, body in orders]
        return ControlStep(messages, strikes, [], [], [], self._due[0] if self._due else None)

    def _orders(self, due_ns: int, now_ns: int) -> list[tuple[str, c.Command]]:
        if due_ns == 1 * S:
            return [(name, c.Launch(realm(f"web-{name}"), NONCE, now_ns + 30 * S)) for name in MACHINES]
        if due_ns == 2 * S:
            return [(name, c.Attest(f"web-{name}", 1, NONCE)) for name in MACHINES]
        if due_ns == 7 * S:
            return [("m2", c.Stop("web-m2", 1)), ("m3", c.Attest("nobody", 1, NONCE))]
        leases = {name: ((f"web-{name}", 1),) for name in MACHINES}
        return [(name, c.RenewLeases(leases[name], now_ns + 30 * S)) for name in MACHINES]

    def _message(self, target: str, now_ns: int, body: c.Command) -> Message:
        self._number += 1
        return Message(c.CONTROL, self._number, target, now_ns, body)


def lines(fleet: FleetPort, *, skip: bool = True, until: Sequence[int] = (END,), moved_ns: int = 0) -> list[bytes]:
    """Trace of the scenario on `fleet`; `moved_ns` makes the link from the control plane to one machine longer."""
    engine, sink = begin(fleet, skip=skip, moved_ns=moved_ns)
    for until_ns in until:
        engine.run_until(until_ns)
    engine.finish()
    return [line.line for line in sink.lines]


def begin(fleet: FleetPort, *, skip: bool = True, moved_ns: int = 0) -> tuple[Engine, MemorySink]:
    topology = toy_topology(MACHINES, {(c.CONTROL, "m3"): LinkShape(300_000 + moved_ns)})
    sink = MemorySink()
    links = Links(run_seed(1), topology)
    return Engine(100 * MS, fleet, Operator(), links, Trace(sink), MemoryJournal(), skip=skip), sink


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return lines(LocalFleet(SPECS))


def test_the_scenario_is_worth_comparing(expected: list[bytes]) -> None:
    for kind in (
        "machine.booted",
        "realm.built",
        "realm.evidence",
        "realm.destroyed",
        "machine.lost",
        "command.refused",
    ):
        assert any(f'"kind":"{kind}"'.encode() in line for line in expected), kind


def test_the_spread_over_nodes_does_not_matter(expected: list[bytes]) -> None:
    assert lines(LocalFleet(list(reversed(SPECS)), 3)) == expected


def test_visiting_idle_beats_does_not_matter(expected: list[bytes]) -> None:
    assert lines(LocalFleet(SPECS), skip=False) == expected


def test_stopping_on_the_way_does_not_matter(expected: list[bytes]) -> None:
    assert lines(LocalFleet(SPECS), until=(1_150 * MS, 2 * S, 7_050 * MS, END)) == expected


def test_a_microsecond_on_one_link_shows(expected: list[bytes]) -> None:
    assert lines(LocalFleet(SPECS), moved_ns=1000) != expected


@pytest.mark.parametrize("snapshot_every", [1, 5, 1000])
def test_lost_nodes_come_back_from_snapshot_and_log(expected: list[bytes], snapshot_every: int) -> None:
    host = ToyHost({6: DEAD, 14: DEAD, 22: DEAD})
    fleet = SeatedFleet(SPECS, host, 2, DEFAULT_FACTORY, snapshot_every)
    assert lines(fleet) == expected
    assert fleet.actor_restarts == 3


@pytest.mark.ray
def test_ray_actors_and_the_loss_of_one_do_not_matter(expected: list[bytes], tmp_path: Path) -> None:
    with RayFleet(SPECS, 2, log_path=tmp_path / "ray.log", snapshot_every=3) as fleet:
        engine, sink = begin(fleet)
        engine.run_until(5 * S)
        os.kill(fleet.pids()[0], signal.SIGKILL)
        engine.run_until(END)
        engine.finish()
        assert [line.line for line in sink.lines] == expected
        assert fleet.actor_restarts >= 1
