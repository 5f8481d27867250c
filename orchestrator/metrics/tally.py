"""The present value of every series of a run, as integers in held units.

A series exists from the moment it is first touched; series of closed labels that the catalogue wants from the start are
made at once. Values are immutable, so that whoever shows them needs only a shallow copy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple, TypeAlias

from orchestrator.metrics.catalogue import BY_NAME, PREFIX
from orchestrator.metrics.metric import PER_MACHINE_BELOW, Kind, Metric


class Key(NamedTuple):
    """One series: a name of the catalogue and values of its labels, in the catalogue's order."""

    name: str
    labels: tuple[str, ...]


class Distribution(NamedTuple):
    """A histogram: observations in each bucket (not cumulative; the last is +Inf) and their sum in held units."""

    buckets: tuple[int, ...]
    total: int

    @property
    def observations(self) -> int:
        """How many values were observed."""
        return sum(self.buckets)


Value: TypeAlias = int | Distribution


class Tally:
    """Counters, gauges and histograms by name without prefix; label values are given in the catalogue's order.

    `machines` is the size of the fleet: from `PER_MACHINE_BELOW` on, series per machine are not kept.
    """

    def __init__(self, machines: int, catalogue: Mapping[str, Metric] = BY_NAME) -> None:
        self.values: dict[Key, Value] = {}
        self.touched: dict[Key, None] = {}
        """Series changed since `take_touched`, in order."""
        self._catalogue = catalogue
        self._known: dict[tuple[str, tuple[str, ...]], Key | None] = {}
        self._per_machine = machines < PER_MACHINE_BELOW
        for metric in catalogue.values():
            if metric.zeros and all(label.values for label in metric.labels):
                for labels in product(*(label.values for label in metric.labels)):
                    self._put(Key(metric.name, labels), zero(metric))

    def add(self, name: str, by: int = 1, *labels: str) -> None:
        """Add to a counter or gauge."""
        key = self._key(name, labels)
        if key is not None:
            value = self.values.get(key, 0)
            assert isinstance(value, int)
            self._put(key, value + by)

    def set(self, name: str, value: int, *labels: str) -> None:
        """Set a gauge, or a counter that is counted elsewhere."""
        key = self._key(name, labels)
        if key is not None and self.values.get(key) != value:
            self._put(key, value)

    def observe(self, name: str, value: int, *labels: str) -> None:
        """Put one observation into a histogram; a value at a bound belongs to the bucket below it."""
        key = self._key(name, labels)
        if key is not None:
            metric = self._catalogue[key.name]
            before = self.values.get(key, zero(metric))
            assert isinstance(before, Distribution)
            buckets = list(before.buckets)
            buckets[bisect_left(metric.bounds, value)] += 1
            self._put(key, Distribution(tuple(buckets), before.total + value))

    def number(self, name: str, *labels: str) -> int:
        """Present value of a counter or gauge; 0 when it does not exist."""
        value = self.values.get(Key(PREFIX + name, labels), 0)
        assert isinstance(value, int)
        return value

    def take_touched(self) -> Iterator[tuple[Key, Value]]:
        """Series changed since the last call, with their values."""
        touched, self.touched = self.touched, {}
        for key in touched:
            yield key, self.values[key]

    def _key(self, name: str, labels: tuple[str, ...]) -> Key | None:
        """The series, its label values admitted; None when such series are not kept in a fleet of this size."""
        try:
            return self._known[name, labels]
        except KeyError:
            return self._known.setdefault((name, labels), self._new_key(name, labels))

    def _new_key(self, name: str, labels: tuple[str, ...]) -> Key | None:
        metric = self._catalogue[PREFIX + name]
        if metric.per_machine and not self._per_machine:
            return None
        admitted = (label.admit(value) for label, value in zip(metric.labels, labels, strict=True))
        return Key(metric.name, tuple(admitted))

    def _put(self, key: Key, value: Value) -> None:
        self.values[key] = value
        self.touched[key] = None


def zero(metric: Metric) -> Value:
    """The value of a series in which nothing has happened."""
    if metric.kind is Kind.HISTOGRAM:
        return Distribution((0,) * (len(metric.bounds) + 1), 0)
    return 0
