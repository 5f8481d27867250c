"""Who goes when: machines in rollout order, and how many a wave takes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.cluster.schema import BlastRadius, RolloutEvent, Wave
from orchestrator.store import Store

PPM = 1_000_000


def rollout_order(racks: Mapping[str, str]) -> list[str]:
    """All machines, rack by rack and by name: a wave then stands in as few racks as it can.

    Realms that are spread over racks are so never paused all at once by one wave. `racks` maps machine to rack.
    """
    return sorted(racks, key=lambda machine: (racks[machine], machine))


EVERYBODY = Wave.model_validate({"share": "100%"})


def selected(wave: Wave, machine: str, store: Store) -> bool:
    """Whether the wave is for this machine, as it stands now."""
    view = store.machines[machine]
    if wave.rack is not None and view.rack != wave.rack:
        return False
    if wave.power is not None and store.cluster.racks[view.rack].power != wave.power:
        return False
    return wave.kind is None or any(realm.kind == wave.kind for realm in store.realms_on(machine))


class Radius:
    """How much more may be under way in one place, when `under_way` machines already are."""

    def __init__(self, limits: BlastRadius, store: Store, under_way: Sequence[str]) -> None:
        self._limits, self._store = limits, store
        self._racks: Counter[str] = Counter()
        self._powers: Counter[str] = Counter()
        self._realms: Counter[str] = Counter()
        for machine in under_way:
            self.take(machine)

    def _kinds(self, machine: str) -> Counter[str]:
        return Counter(realm.kind for realm in self._store.realms_on(machine))

    def take(self, machine: str) -> None:
        """One more machine is under way."""
        view = self._store.machines[machine]
        self._racks[view.rack] += 1
        self._powers[self._store.cluster.racks[view.rack].power] += 1
        if self._limits.realms is not None:
            self._realms += self._kinds(machine)

    def holds(self, machine: str) -> bool:
        """Whether this one may be under way besides; a machine alone always may, or nothing would ever move."""
        limits, view = self._limits, self._store.machines[machine]
        power = self._store.cluster.racks[view.rack].power
        if limits.rack is not None and self._racks[view.rack] >= limits.rack:
            return False
        if limits.power is not None and self._powers[power] >= limits.power:
            return False
        if limits.realms is None or not self._racks:
            return True
        return all(self._share(kind, number) <= limits.realms for kind, number in self._kinds(machine).items())

    def _share(self, kind: str, more: int) -> int:
        of_kind = sum(realm.kind == kind for realm in self._store.realms.values())
        return (self._realms[kind] + more) * PPM // of_kind


def wave_size(wave: Wave, remaining: int) -> int:
    """How many of `remaining` machines the wave takes: a number, or a share rounded up."""
    if wave.machines is not None:
        return min(wave.machines, remaining)
    return -(-remaining * (wave.share or 0) // PPM)


def at_once(event: RolloutEvent, machines: int) -> int:
    """How many machines may be under way at once; one at a time where they go down, unless the event says otherwise."""
    if event.max_unavailable is not None:
        return event.max_unavailable
    return machines if event.strategy == "live" else 1


def next_opening(event: RolloutEvent, now_ns: int) -> int | None:
    """When machines may be taken next: `now_ns` itself inside a window and outside every freeze; None: never again."""
    candidates = [now_ns, *(window.begin for window in event.windows), *(freeze.end for freeze in event.freezes)]
    for at_ns in sorted(set(candidates)):
        open_then = not event.windows or any(window.begin <= at_ns < window.end for window in event.windows)
        frozen = any(freeze.begin <= at_ns < freeze.end for freeze in event.freezes)
        if at_ns >= now_ns and open_then and not frozen:
            return at_ns
    return None
