"""What the checks know about a cluster besides its records: the machines and Realms that it will generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.cluster.arrivals import expected_count
from orchestrator.cluster.diagnostics import Finding, Path, suggestion
from orchestrator.cluster.names import MachinePlace, machine_names, realm_names
from orchestrator.cluster.schema import Cluster, Profile

MOST_MACHINES = 1_000_000
MOST_REALMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """A cluster with its generated names; `racks` holds machine names by rack, `profiles` what some rack uses."""

    cluster: Cluster
    machines: dict[str, MachinePlace]
    realms: dict[str, str]
    racks: dict[str, frozenset[str]]
    profiles: dict[str, Profile]

    @property
    def end_ns(self) -> int:
        return self.cluster.duration


def gather(cluster: Cluster) -> Facts:
    """Generate every name; call `too_large` first."""
    machines = {place.name: place for place in machine_names(cluster)}
    racks: dict[str, list[str]] = {name: [] for name in cluster.racks}
    for place in machines.values():
        racks[place.rack].append(place.name)
    used = dict.fromkeys(profile for rack in cluster.racks.values() for profile in rack.machines)
    profiles = {name: cluster.profiles[name] for name in used if name in cluster.profiles}
    by_rack = {name: frozenset(members) for name, members in racks.items()}
    return Facts(cluster, machines, dict(realm_names(cluster)), by_rack, profiles)


def too_large(cluster: Cluster) -> Iterator[Finding]:
    """More machines or Realms than this program is meant for."""
    machines = sum(count for rack in cluster.racks.values() for count in rack.machines.values())
    if machines > MOST_MACHINES:
        yield Finding(
            ("racks",), f"{machines} machines are more than {MOST_MACHINES}", "make the fleet smaller", at="key"
        )
    realms = sum(kind.count for kind in cluster.realms.values()) + expected_count(cluster)
    if realms > MOST_REALMS:
        yield Finding(("realms",), f"{realms} Realms are more than {MOST_REALMS}", "lower the counts", at="key")


def unknown_name(path: Path, what: str, wanted: str, known: Sequence[str], at_key: bool = False) -> Finding:
    """A reference to something that the file does not define."""
    hint = suggestion(wanted, known, f"{what}s")
    return Finding(path, f"no {what} is called '{wanted}'", hint, at="key" if at_key else "value")
