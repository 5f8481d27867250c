"""Every series over the virtual time of a run, kept as changes: what does not move costs nothing.

Sampling looks at the series touched since the last sample only, so a run costs what happens in it, not instants times
series. A counter or histogram that is born during the run is given a zero one sample earlier, or the increase from
nothing to its first value would be lost on every query.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.metrics.catalogue import BY_NAME
from orchestrator.metrics.metric import Kind
from orchestrator.metrics.tally import Key, Tally, Value, zero


class Samples:
    """Instants of sampling (virtual ns, increasing) and the changes of each series by index of the instant."""

    def __init__(self) -> None:
        self.instants_ns: list[int] = []
        self.changes: dict[Key, list[tuple[int, Value]]] = {}

    def take(self, at_ns: int, tally: Tally) -> None:
        """Sample a tally at `at_ns`, later than every sample before."""
        index = len(self.instants_ns)
        self.instants_ns.append(at_ns)
        for key, value in tally.take_touched():
            known = self.changes.get(key)
            if known is None:
                self.changes[key] = known = _birth(key, index)
            if not known or known[-1][1] != value:
                known.append((index, value))

    def points(self, key: Key) -> Iterator[tuple[int, Value]]:
        """(instant in virtual ns, value) of a series at each sample from its birth on."""
        changes = self.changes[key]
        for place, (index, value) in enumerate(changes):
            until = changes[place + 1][0] if place + 1 < len(changes) else len(self.instants_ns)
            for at_ns in self.instants_ns[index:until]:
                yield at_ns, value

    def keys(self) -> list[Key]:
        """Every series, sorted by family and labels."""
        return sorted(self.changes)


def _birth(key: Key, index: int) -> list[tuple[int, Value]]:
    metric = BY_NAME[key.name]
    if index == 0 or metric.kind is Kind.GAUGE:
        return []
    return [(index - 1, zero(metric))]
