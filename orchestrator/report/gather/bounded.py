"""Containers that stay small: a step function, a histogram of durations, the first few of many."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

MS = 1_000_000

MOST_STEPS: Final = 1500
"""Points of a step function; beyond it, points that share a grain of time are drawn as the last of them."""

_DECADE: Final = (1000, 1333, 1778, 2371, 3162, 4217, 5623, 7499)
EDGES_NS: Final = tuple(10**power * step for power in range(1, 13) for step in _DECADE)
"""Lower edges of the histogram's bins: eight a decade, from 10 us to some months."""

T = TypeVar("T")


class Steps:
    """A number over virtual time: (instant in ns, value from there on), coarser the longer it grows."""

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []
        self.grain_ns = MS
        """Changes closer than this may have been drawn as one."""
        self.thinned = False

    @property
    def value(self) -> int:
        """The value from the last point on; 0 before there is one."""
        return self._points[-1][1] if self._points else 0

    def set(self, at_ns: int, value: int) -> None:
        """From `at_ns` on it is `value`; instants never fall."""
        if self._points and self._points[-1][0] == at_ns:
            self._points[-1] = (at_ns, value)
            return
        if value != self.value or not self._points:
            self._points.append((at_ns, value))
        if len(self._points) > MOST_STEPS:
            self._thin()

    def add(self, at_ns: int, by: int) -> None:
        """From `at_ns` on it is `by` more."""
        self.set(at_ns, self.value + by)

    def points(self) -> list[tuple[int, int]]:
        """All points, by instant."""
        return list(self._points)

    def at(self, at_ns: int) -> int:
        """The value at an instant; 0 before the first point."""
        place = bisect_right(self._points, (at_ns, 1 << 62))
        return self._points[place - 1][1] if place else 0

    def _thin(self) -> None:
        self.thinned = True
        while len(self._points) > MOST_STEPS // 2:
            self.grain_ns *= 2
            last = {at_ns // self.grain_ns: (at_ns, value) for at_ns, value in self._points}
            self._points = [last[grain] for grain in sorted(last)]


class Histogram:
    """How many durations fell into each bin of `EDGES_NS`; what is shorter than the first edge is in the first bin."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.events = 0
        self.total_ns = 0
        self.longest_ns = 0

    def add(self, duration_ns: int) -> None:
        """One more event of that duration."""
        place = max(bisect_right(EDGES_NS, duration_ns) - 1, 0)
        self.counts[place] = self.counts.get(place, 0) + 1
        self.events += 1
        self.total_ns += duration_ns
        self.longest_ns = max(self.longest_ns, duration_ns)

    def bins(self) -> Iterator[tuple[int, int, int]]:
        """(lower edge, upper edge, count) of each bin that is not empty, by edge."""
        for place in sorted(self.counts):
            upper = EDGES_NS[min(place + 1, len(EDGES_NS) - 1)]
            yield EDGES_NS[place], upper, self.counts[place]


class Some(Generic[T]):
    """The first `most` of many things, and how many there were."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: list[T] = []
        self.count = 0

    @property
    def left_out(self) -> int:
        """How many there were besides."""
        return self.count - len(self.kept)

    def add(self, thing: T) -> bool:
        """One more; says whether it was kept."""
        self.count += 1
        if len(self.kept) < self.most:
            self.kept.append(thing)
            return True
        return False
