"""Names of generated things: machines are `<rack>-<profile>-<nn>`, Realms `<kind>-<nnn>`.

Numbers start at 1 and have at least two digits (machines, per rack and profile) or three (Realms). Order is the file's.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.cluster.schema import Cluster


class MachinePlace(NamedTuple):
    """One machine: its name, rack, profile and power domain."""

    name: str
    rack: str
    profile: str
    power: str


def machine_names(cluster: Cluster) -> list[MachinePlace]:
    """Every machine of the fleet, rack by rack and profile by profile as the file lists them."""
    return [
        MachinePlace(f"{rack_name}-{profile}-{number:02d}", rack_name, profile, rack.power)
        for rack_name, rack in cluster.racks.items()
        for profile, count in rack.machines.items()
        for number in range(1, count + 1)
    ]


def realm_names(cluster: Cluster) -> list[tuple[str, str]]:
    """Every Realm as (name, kind), kind by kind as the file lists them."""
    return [
        (f"{kind_name}-{number:03d}", kind_name)
        for kind_name, kind in cluster.realms.items()
        for number in range(1, kind.count + 1)
    ]
