"""Whom a fault strikes: selectors resolved against the fleet as it stands when the fault begins. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct

from orchestrator.cluster.schema import Selector
from orchestrator.engine.streams import Stream


class Topology(Struct, frozen=True):
    """What a selector may ask: the rack of every machine and the machine of every hosted Realm."""

    racks: Mapping[str, str]
    hosts: Mapping[str, str]


def resolve(selector: Selector, topology: Topology, busy: Collection[str], stream: Stream) -> tuple[str, ...]:
    """Machines that the selector means, sorted by name; empty when none fits.

    `machine`, `rack` and `realm` narrow all machines down, in combination if several are given. `count` then draws
    that many among those which are in no other fault (`busy`), fewer if fewer are free; without it all are struck.
    """
    chosen = [name for name in sorted(topology.racks) if _fits(name, selector, topology)]
    if selector.count is None:
        return tuple(chosen)
    free = [name for name in chosen if name not in busy]
    return tuple(sorted(stream.sample(free, selector.count)))


def _fits(machine: str, selector: Selector, topology: Topology) -> bool:
    if selector.machine is not None and machine != selector.machine:
        return False
    if selector.rack is not None and topology.racks[machine] != selector.rack:
        return False
    return selector.realm is None or topology.hosts.get(selector.realm) == machine
