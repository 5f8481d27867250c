"""Binding: the best machine that passed every filter, and the record of why.

Decisions come from fields (`orchestrator.scheduler.field`), one per kind of Realm, which are kept with the store and
look again only at machines that changed. The answer is that of a full look at every machine: the same choice, the same
counts, the same samples. Ties go to the smaller name. A script's own score may depend on anything, so with one every
wish takes the full look.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import NamedTuple

from msgspec import Struct

from orchestrator.records import Scored
from orchestrator.scheduler import footprint
from orchestrator.scheduler.field import Field
from orchestrator.scheduler.filters import Wish, refusal
from orchestrator.scheduler.scores import score
from orchestrator.store import RealmView, Store

BEST = 3
SAMPLES = 4
EXCLUDED = "excluded"
BEFORE_EXCLUDED = frozenset({"state", "cordon", "activity"})
"""Filters that come before the one that is about a single Realm (`orchestrator.scheduler.filters.FILTERS`)."""


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


class Fields:
    """The fields of a store, made when a kind is first wished for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._racks: dict[str, list[str]] = {}
        for machine in store.machines.values():
            self._racks.setdefault(machine.rack, []).append(machine.name)
        self._fields: dict[str, Field] = {}

    def of(self, kind: str) -> Field:
        """The field of a kind, as of now."""
        touched, self._store.touched = self._store.touched, {}
        if touched:
            for field in self._fields.values():
                field.pending.update(touched)
        if kind not in self._fields:
            self._fields[kind] = Field(self._store, kind, self._racks)
        self._fields[kind].refresh()
        return self._fields[kind]


class Round:
    """Placement decisions over the present belief."""

    def __init__(self, store: Store) -> None:
        self._store = store
        if store.fields is None:
            store.touched, store.fields = {}, Fields(store)
        self._fields: Fields = store.fields

    def choose(self, wish: Wish) -> Choice:
        """The best machine for the wish under the present belief; changes nothing."""
        if self._store.scoring is not None:
            return _full_look(self._store, wish)
        store, field = self._store, self._fields.of(wish.kind)
        refused, samples = dict(field.refused), field.first_refused(SAMPLES)
        for name in wish.excluded:
            reason = field.reason(name)
            if reason not in BEFORE_EXCLUDED:
                if reason:
                    refused[reason] -= 1
                refused[EXCLUDED] = refused.get(EXCLUDED, 0) + 1
        samples = sorted({*samples, *wish.excluded})[:SAMPLES]
        best = [score(store, store.machines[name], wish) for name in field.best(BEST, wish.excluded)]
        counts = {filter: count for filter, count in sorted(refused.items()) if count}
        why = Explanation(len(store.machines), counts, _told(store, samples, wish), tuple(best))
        return Choice(best[0].machine if best else "", why)

    def place(self, realm: RealmView, wish: Wish) -> Choice:
        """Choose, and bind the Realm: its granules, VMID and demand are taken at once."""
        choice = self.choose(wish)
        if choice.machine:
            take(self._store, choice.machine, realm)
            self._store.bind(realm, choice.machine)
        return choice


def _full_look(store: Store, wish: Wish) -> Choice:
    """The choice by asking every machine."""
    counts: dict[str, int] = {}
    refused: list[str] = []
    scored: list[Scored] = []
    for machine in store.machines.values():
        why = refusal(store, machine, wish)
        if why is None:
            scored.append(score(store, machine, wish))
        else:
            counts[why.filter] = counts.get(why.filter, 0) + 1
            refused.append(machine.name)
    best = tuple(nsmallest(BEST, scored, key=lambda each: (-each.score, each.machine)))
    told = _told(store, refused[:SAMPLES], wish)
    explained = Explanation(len(store.machines), dict(sorted(counts.items())), told, best)
    return Choice(best[0].machine if best else "", explained)


def _told(store: Store, machines: list[str], wish: Wish) -> dict[str, str]:
    """Why these machines are refused, in words."""
    told = {}
    for name in machines:
        refused = refusal(store, store.machines[name], wish)
        assert refused is not None
        told[name] = f"{refused.filter}: {refused.why}"
    return told


def take(store: Store, machine: str, realm: RealmView) -> None:
    """Take the Realm's granules, VMID and MECID off what is believed free; the next heartbeat counts anew."""
    capacity = store.machines[machine].capacity
    store.touch(machine)
    if capacity is not None:
        capacity.granules -= footprint.granules_of(store, realm)
        capacity.vmids -= 1
        capacity.mecids -= store.cluster.realms[realm.kind].mec == "private"
