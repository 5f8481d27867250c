"""Wires a plan into what the engine runs: links from the network of the cluster file, control plane, chaos."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct

from orchestrator.chaos.storm import Storm
from orchestrator.cluster import schema
from orchestrator.control import ControlPlane, control_plane
from orchestrator.engine.links import Links, LinkShape, Topology
from orchestrator.firmware.rollouts import Rollouts
from orchestrator.fleet.heartbeats import Heartbeats
from orchestrator.operator_desk import OperatorDesk
from orchestrator.plan import Plan, opening_store
from orchestrator.realms.attestation import TokenSink
from orchestrator.store import RealmState


class Assembly(Struct, frozen=True):
    """The control plane of a run and the links it talks over."""

    control: ControlPlane
    links: Links
    desk: OperatorDesk
    rollouts: Rollouts
    storm: Storm
    heartbeats: Heartbeats

    def status(self) -> str:
        """One line: where the fleet stands as the control plane believes it."""
        store = self.control.store
        states = Counter(realm.state for realm in store.realms.values())
        machines = Counter(machine.state for machine in store.machines.values())
        serving = states.pop(RealmState.SERVING, 0)
        rest = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        known = ", ".join(f"{count} {state}" for state, count in sorted(machines.items()))
        return f"{serving}/{len(store.realms)} Realms serving{f' ({rest})' if rest else ''}; machines: {known}"


def assemble(made: Plan, sink: TokenSink, *, every_heartbeat: bool = False) -> Assembly:
    """The engine's parts for a plan; `sink` gets every token that reaches the verifier.

    With `every_heartbeat`, those are sent too whose answers are known; the trace is the same.
    """
    cluster = made.cluster
    links = Links(made.secret, topology(made))
    rollouts = [event for event in cluster.events if isinstance(event, schema.RolloutEvent)]
    steering = [event for event in cluster.events if isinstance(event, schema.SteerEvent)]
    firmware = Rollouts(rollouts, opening_store(made), made.firmware.image, steering)
    storm = Storm(cluster.faults, made.seed, links)
    desk = OperatorDesk(firmware, storm)
    heartbeats = Heartbeats(cluster, made.machines, links, every=every_heartbeat)
    control = control_plane(made, [desk, firmware], [storm], sink, heartbeats)
    return Assembly(control, links, desk, firmware, storm, heartbeats)


def topology(made: Plan) -> Topology:
    """Where machines stand, and the shape of each kind of link of the cluster file."""
    network = made.cluster.network
    return Topology(
        racks={spec.name: spec.rack for spec in made.machines.values()},
        same_rack=_shape(network.same_rack),
        between_racks=_shape(network.between_racks),
        to_control=_shape(network.to_control),
    )


def _shape(shape: schema.LinkShape) -> LinkShape:
    return LinkShape(shape.latency, shape.jitter, shape.bandwidth)
