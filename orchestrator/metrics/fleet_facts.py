"""What the fold must know of a run besides its trace."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from orchestrator.cluster.names import machine_names, realm_names
from orchestrator.cluster.schema import Cluster
from orchestrator.plan import arrivals_of


class Place(NamedTuple):
    """Where a machine stands and what it is."""

    rack: str
    profile: str


class FleetFacts(Struct, frozen=True):
    """Identity of the run, its machines by name, and its Realms, those that arrive among them.

    `clock` is virtual, or wall for a paced run.
    """

    run_id: str
    cluster: str
    seed: int
    machines: dict[str, Place]
    realms: tuple[str, ...]
    clock: str = "virtual"


def fleet_facts(cluster: Cluster, seed: int, clock: str = "virtual") -> FleetFacts:
    """The facts of a run of this cluster under this seed."""
    return FleetFacts(
        run_id=f"{cluster.name}-{seed}",
        cluster=cluster.name,
        seed=seed,
        machines={place.name: Place(place.rack, place.profile) for place in sorted(machine_names(cluster))},
        realms=(*(name for name, _ in realm_names(cluster)), *(one.name for one in arrivals_of(cluster, seed))),
        clock=clock,
    )
