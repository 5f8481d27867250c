"""Scores: which of the machines that passed the filters is best. Integers only; more is better.

A score is a sum of named parts, so that a decision can be read afterwards. One part is the same for all machines of a
rack; the others follow from the machine alone, which is what lets `orchestrator.scheduler.field` keep heaps by rack. A
score that a script brings along need not be so.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.cluster.schema import RealmKind
from orchestrator.records import Scored
from orchestrator.scheduler import footprint
from orchestrator.scheduler.filters import Wish
from orchestrator.store import MachineView, Store, rack_key

PPM = 1_000_000
SAME_MACHINE = 200_000
"""Taken off for each Realm of the same kind on the machine: a lost machine should hurt a service little."""
SAME_RACK = 20_000
"""Taken off for each Realm of the same kind in the rack, for the same reason."""


def score(store: Store, machine: MachineView, wish: Wish) -> Scored:
    """Score of placing the wish on `machine`, which has passed the filters."""
    kind = store.cluster.realms[wish.kind]
    if store.scoring is not None:
        return _told(machine, store.scoring(machine, kind, store))
    parts = {
        "memory": _memory(machine, kind),
        "cpu": _cpu(machine, kind),
        "spread-machine": -SAME_MACHINE * store.kinds_on.get((wish.kind, machine.name), 0),
        "spread-rack": -SAME_RACK * store.kinds_on.get((wish.kind, rack_key(machine.rack)), 0),
    }
    return Scored(machine.name, sum(parts.values()), parts)


def own_score(store: Store, machine: MachineView, wish: Wish) -> int:
    """The score without the part that the machines of a rack share."""
    kind = store.cluster.realms[wish.kind]
    there = store.kinds_on.get((wish.kind, machine.name), 0)
    return _memory(machine, kind) + _cpu(machine, kind) - SAME_MACHINE * there


def _told(machine: MachineView, parts: Mapping[str, int]) -> Scored:
    """What a script's own score says; raises TypeError for anything but whole numbers, which hosts add up alike."""
    for name, value in parts.items():
        if type(value) is not int:
            raise TypeError(f"part {name!r} of the score of {machine.name} is {value!r}, not a whole number")
    return Scored(machine.name, sum(parts.values()), dict(parts))


def _memory(machine: MachineView, kind: RealmKind) -> int:
    """Granules left free afterwards, in parts per million of the machine."""
    free = 0 if machine.capacity is None else machine.capacity.granules
    return max(free - footprint.granules(kind), 0) * PPM // max(machine.granules, 1)


def _cpu(machine: MachineView, kind: RealmKind) -> int:
    """PE time left free afterwards, in parts per million of the machine."""
    return max(machine.pes * PPM - machine.demand_ppm - footprint.demand_ppm(kind), 0) // machine.pes
