"""Binding: the best machine that passed every filter, and the record of why.

One `Round` serves one step of the control plane. The first wish of each sort looks at every machine; later ones pop
from a heap whose entries are rescored when they come up. Within a round nothing becomes free, so scores only fall and
what was refused stays refused: the lazy heap finds exactly what a full look would find. Ties go to the smaller name.
A script's own score may rise as well, so with one every wish takes a full look.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from msgspec import Struct

from orchestrator.records import Scored
from orchestrator.scheduler import footprint
from orchestrator.scheduler.filters import Wish, refusal
from orchestrator.scheduler.scores import score
from orchestrator.store import MachineView, RealmView, Store

BEST = 3
SAMPLES = 4


class Explanation(Struct, frozen=True):
    """How a decision came about: machines looked at, refusals by filter, a few of them in words, the best three."""

    considered: int
    refused: dict[str, int]
    samples: dict[str, str]
    best: tuple[Scored, ...]


class Choice(NamedTuple):
    """The machine chosen, empty when none passed, and why."""

    machine: str
    why: Explanation


class _Field:
    """The machines still in play for one wish, best first, and the refusals so far."""

    def __init__(self, store: Store, wish: Wish) -> None:
        self.considered = len(store.machines)
        self.refused: dict[str, int] = {}
        self.samples: dict[str, str] = {}
        self.heap: list[tuple[int, str]] = []
        for machine in store.machines.values():
            if self.passes(store, machine, wish):
                self.heap.append((-score(store, machine, wish).score, machine.name))
        heapq.heapify(self.heap)

    def passes(self, store: Store, machine: MachineView, wish: Wish) -> bool:
        refused = refusal(store, machine, wish)
        if refused is None:
            return True
        self.refused[refused.filter] = self.refused.get(refused.filter, 0) + 1
        if len(self.samples) < SAMPLES:
            self.samples[machine.name] = f"{refused.filter}: {refused.why}"
        return False

    def best(self, store: Store, wish: Wish) -> list[Scored]:
        """The best three, freshly scored; the heap keeps them all."""
        found: list[Scored] = []
        while self.heap and len(found) < BEST:
            key, name = self.heap[0]
            machine = store.machines[name]
            if not self.passes(store, machine, wish):
                heapq.heappop(self.heap)
                continue
            scored = score(store, machine, wish)
            if -scored.score != key:
                heapq.heapreplace(self.heap, (-scored.score, name))
                continue
            found.append(scored)
            heapq.heappop(self.heap)
        for scored in found:
            heapq.heappush(self.heap, (-scored.score, scored.machine))
        return found


class Round:
    """Placement decisions of one step over one belief."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fields: dict[Wish, _Field] = {}

    def choose(self, wish: Wish) -> Choice:
        """The best machine for the wish under the present belief; changes nothing."""
        field = self._fields.get(wish)
        if field is None or self._store.scoring is not None:
            field = self._fields[wish] = _Field(self._store, wish)
        best = field.best(self._store, wish)
        why = Explanation(field.considered, dict(sorted(field.refused.items())), dict(field.samples), tuple(best))
        return Choice(best[0].machine if best else "", why)

    def place(self, realm: RealmView, wish: Wish) -> Choice:
        """Choose, and bind the Realm: its granules, VMID and demand are taken at once."""
        choice = self.choose(wish)
        if choice.machine:
            take(self._store, choice.machine, realm)
            self._store.bind(realm, choice.machine)
        return choice


def take(store: Store, machine: str, realm: RealmView) -> None:
    """Take the Realm's granules, VMID and MECID off what is believed free; the next heartbeat counts anew."""
    capacity = store.machines[machine].capacity
    if capacity is not None:
        capacity.granules -= footprint.granules_of(store, realm)
        capacity.vmids -= 1
        capacity.mecids -= store.cluster.realms[realm.kind].mec == "private"
