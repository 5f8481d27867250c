"""The machines in play for one kind of Realm, best first, kept from decision to decision.

A field knows of every machine either its score or the filter that refused it. What changed since the last decision is
looked at again (`Store.touched`), nothing else; so a decision costs what changed, not what the fleet is. Machines of a
rack share one part of the score, so each rack has a heap of its own, and a heap over the racks says which is best. Old
entries stay in the heaps until they come up; an entry counts when it says what is known.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from orchestrator.scheduler.filters import Wish, refusal
from orchestrator.scheduler.scores import SAME_RACK, own_score
from orchestrator.store import Store, rack_key

_SLACK = 32
"""Entries that a heap may hold besides four per machine before it is made anew."""


class Field:
    """All machines of a store, for one kind of Realm; `refused` counts them by the first filter that refused them."""

    def __init__(self, store: Store, kind: str, racks: dict[str, list[str]]) -> None:
        self._store = store
        self._wish = Wish(kind)
        self._by_rack = store.cluster.realms[kind].spread == "rack"
        self._racks = racks
        self._same: dict[str, int] = {}
        self._scores: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._out: list[str] = []
        self._heaps: dict[str, list[tuple[int, str]]] = {}
        self._top: dict[str, tuple[int, str, str] | None] = {}
        self._tops: list[tuple[int, str, str]] = []
        self.refused: dict[str, int] = {}
        for rack, names in racks.items():
            self._same[rack] = store.kinds_on.get((kind, rack_key(rack)), 0)
            self._heaps[rack] = []
            self._top[rack] = None
            for name in names:
                self._look(name, rack)
        for rack in racks:
            heapify(self._heaps[rack])
            self._lift(rack)
        self.pending: dict[str, None] = {}
        """Machines that changed since the last `refresh`."""

    def refresh(self) -> None:
        """Look again at the machines that changed."""
        if not self.pending:
            return
        racks: dict[str, None] = {}
        for name in list(self.pending):
            rack = self._store.machines[name].rack
            racks[rack] = None
            same = self._store.kinds_on.get((self._wish.kind, rack_key(rack)), 0)
            if self._by_rack and bool(same) != bool(self._same[rack]):
                self.pending.update(dict.fromkeys(self._racks[rack]))
            self._same[rack] = same
        for name in self.pending:
            self._look(name, self._store.machines[name].rack)
        self.pending = {}
        for rack in racks:
            self._lift(rack)

    def reason(self, machine: str) -> str:
        """The filter that refuses the machine; empty when none does."""
        return self._reasons.get(machine, "")

    def first_refused(self, count: int) -> list[str]:
        """The first refused machines by name."""
        return self._out[:count]

    def best(self, count: int, without: Sequence[str] = ()) -> list[str]:
        """The best machines but some: highest score, then smaller name."""
        count_all = count + len(without)
        found: list[tuple[int, str]] = []
        for rack in self._best_racks(count_all):
            extra = SAME_RACK * self._same[rack]
            found += [(key + extra, name) for key, name in self._best_of(rack, count_all)]
        found.sort()
        return [name for _, name in found if name not in without][:count]

    # -- looking -------------------------------------------------------------------------------------------------------

    def _look(self, name: str, rack: str) -> None:
        """Learn anew what holds of one machine."""
        store, machine = self._store, self._store.machines[name]
        refused = refusal(store, machine, self._wish)
        was = self._reasons.get(name)
        now = None if refused is None else refused.filter
        if was != now:
            self._count(name, was, now)
        if now is not None:
            self._scores.pop(name, None)
            return
        score = own_score(store, machine, self._wish)
        if self._scores.get(name) != score:
            self._scores[name] = score
            heappush(self._heaps[rack], (-score, name))

    def _count(self, name: str, was: str | None, now: str | None) -> None:
        if was is None:
            insort(self._out, name)
        else:
            self.refused[was] -= 1
            if not self.refused[was]:
                del self.refused[was]
        if now is None:
            del self._reasons[name]
            del self._out[bisect_left(self._out, name)]
        else:
            self._reasons[name] = now
            self.refused[now] = self.refused.get(now, 0) + 1

    # -- heaps ---------------------------------------------------------------------------------------------------------

    def _lift(self, rack: str) -> None:
        """Find the best machine of a rack again, and tell the heap of racks if it is another, or scored otherwise."""
        heap, scores = self._heaps[rack], self._scores
        if len(heap) > 4 * len(self._racks[rack]) + _SLACK:
            heap[:] = [(-scores[name], name) for name in self._racks[rack] if name in scores]
            heapify(heap)
        while heap and scores.get(heap[0][1]) != -heap[0][0]:
            heappop(heap)
        top = (heap[0][0] + SAME_RACK * self._same[rack], heap[0][1], rack) if heap else None
        if top == self._top[rack]:
            return
        self._top[rack] = top
        if top is not None:
            heappush(self._tops, top)
        if len(self._tops) > 4 * len(self._racks) + _SLACK:
            self._tops = [each for each in self._top.values() if each is not None]
            heapify(self._tops)

    def _best_racks(self, count: int) -> list[str]:
        """The racks with the best machines on top."""
        tops: list[tuple[int, str, str]] = self._tops
        taken: dict[str, tuple[int, str, str]] = {}
        while tops and len(taken) < count:
            top = heappop(tops)
            if self._top[top[2]] == top:
                taken[top[2]] = top
        for top in taken.values():
            heappush(tops, top)
        return list(taken)

    def _best_of(self, rack: str, count: int) -> Iterable[tuple[int, str]]:
        """The best entries of a rack, as they stand in its heap."""
        heap: list[tuple[int, str]] = self._heaps[rack]
        taken: dict[str, int] = {}
        while heap and len(taken) < count:
            key, name = heappop(heap)
            if self._scores.get(name) == -key:
                taken[name] = key
        for name, key in taken.items():
            heappush(heap, (key, name))
        return [(key, name) for name, key in taken.items()]
