"""The control plane over real machines: RMI calls, real tokens, a migration, a power loss."""

from __future__ import annotations

from typing import Any

from cca_machine.commands import Heartbeat, Launched
from orchestrator.cluster.schema import Cluster
from orchestrator.control import ControlPlane, control_plane
from orchestrator.engine.journal import MemoryJournal
from orchestrator.engine.links import Links, LinkShape, Topology
from orchestrator.engine.loop import Engine
from orchestrator.engine.ports import ControlStep, Delivery
from orchestrator.engine.trace import MemorySink, Trace
from orchestrator.fleet.local import LocalFleet
from orchestrator.migration.ledger import WitnessedFleet, witness_of
from orchestrator.plan import plan
from orchestrator.realms.reference import expected_rim, realm_spec
from orchestrator.scheduler.footprint import granules
from orchestrator.store import RealmState

S = 1_000_000_000


class Heard:
    """The control plane, keeping what it heard."""

    def __init__(self, control: ControlPlane) -> None:
        self.control = control
        self.outcomes: list[tuple[str, Any]] = []

    def step(self, now_ns: int, arrived: list[Delivery]) -> ControlStep:
        self.outcomes += [(delivery.message.source, delivery.message.body) for delivery in arrived]
        return self.control.step(now_ns, arrived)


def run(document: dict[str, Any], seconds: int) -> tuple[Heard, MemorySink]:
    part = {"version": "1.0.0", "signed_by": "vendor", "size": "4KiB"}
    components = dict.fromkeys(("HES", "BL2", "BL31", "RMM"), part)
    cluster = Cluster.model_validate({**document, "firmware": {"releases": {"base": {"components": components}}}})
    made = plan(cluster, 1)
    heard, sink = Heard(control_plane(made)), MemorySink()
    racks = {name: spec.rack for name, spec in made.machines.items()}
    shape = LinkShape(250_000, 100_000, 10_000_000_000)
    links = Links(made.secret, Topology(racks, shape, shape, shape))
    fleet = LocalFleet(list(made.machines.values()))
    witnessed = WitnessedFleet(fleet, witness_of(made.secret))
    engine = Engine(cluster.control.beat, witnessed, heard, links, Trace(sink), MemoryJournal())
    engine.run_until(seconds * S)
    engine.finish()
    return heard, sink


def test_realms_are_built_by_rmi_with_the_rim_that_was_computed_without_a_machine(cluster_file: Any) -> None:
    heard, _ = run(cluster_file(), 5)
    store = heard.control.store
    launched = [body for _, body in heard.outcomes if isinstance(body, Launched)]
    assert sorted(body.realm for body in launched) == ["web-001", "web-002", "web-003"]
    for body in launched:
        assert body.rim == expected_rim(realm_spec(store.cluster, "web", body.realm, 1))
    assert {realm.state for realm in store.realms.values()} == {RealmState.SERVING}


def test_a_real_host_takes_no_more_granules_than_the_scheduler_expected(cluster_file: Any) -> None:
    kind = {"image": "web", "memory": "33MiB", "vcpus": 3}
    document = cluster_file(realms={"web": kind}, racks={"r1": {"machines": {"std": 1}}})
    heard, _ = run(document, 9)
    free = [body.free_granules for _, body in heard.outcomes if isinstance(body, Heartbeat)]
    taken = free[0] - free[-1]
    estimate = granules(heard.control.store.cluster.realms["web"])
    assert taken > 33 * 256
    assert taken <= estimate <= taken + 64


def test_a_realm_moves_between_real_machines_and_is_attested_over_there(cluster_file: Any) -> None:
    heard, sink = run(cluster_file(events=[{"kind": "migrate", "at": "5s", "realm": "web-001"}]), 12)
    finished = [line.entry.what for line in sink.lines if line.kind == "migration.finished"]
    assert [(record.outcome, record.realm) for record in finished] == [("moved", "web-001")]
    verdicts = [
        line.entry.what for line in sink.lines if line.kind == "realm.verdict" and line.entry.what.why == "migration"
    ]
    assert [(record.machine, record.passed) for record in verdicts] == [(finished[0].target, True)]
    assert heard.control.store.realms["web-001"].machine == finished[0].target
