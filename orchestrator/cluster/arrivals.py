"""Realms that come and go: an arrival process of the cluster file as a list of names, instants and lifetimes.

All is integer: waiting times come from the exponential quantile table of the draws, the daily wave from a rational
approximation, batch sizes from a table of weights; so two hosts make the same list from the same seed. The process is
thinned: candidates come at the greatest rate, and each is kept in proportion to the rate of its instant.

Sources. Lifetimes and daily wave: a fit to AzurePublicDataset V2 (Azure 2019), 68 % within 1 h, 85 % within 12 h,
89 % within 24 h. Batch sizes: the deployment sizes of the same data set, read from its notebook (about 1 point off).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from orchestrator.cluster.quantities import PPM
from orchestrator.cluster.schema import Arrivals, Cluster

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEKDAYS = 5
"""A run begins on a Monday at midnight; its days 6 and 7 are a weekend."""

LIFETIMES = [(680_000, 3 * HOUR_NS // 10), (220_000, 8 * HOUR_NS), (100_000, 2000 * HOUR_NS)]
"""Share and mean of the parts of the mixture, where the file gives none."""

BATCHES = ((50, 1, 1), (13, 2, 2), (8, 3, 3), (8, 4, 5), (9, 6, 10), (5, 11, 20), (4, 21, 50), (3, 50, 50))
"""Percent of deployments, and the least and the greatest size of each row (beyond 50: taken as 50)."""
BATCH_MEAN_PPM = sum(share * (low + high) * PPM // 200 for share, low, high in BATCHES)
"""Mean size of a batch, in millionths of a Realm."""


class Draws(Protocol):
    """Where the draws come from; `orchestrator.engine.streams.Stream` is one."""

    def below(self, bound: int) -> int: ...
    def between(self, low: int, high: int) -> int: ...
    def chance(self, ppm: int) -> bool: ...
    def weighted(self, weights: list[int]) -> int: ...
    def exponential(self, mean: int) -> int: ...


class Arrival(NamedTuple):
    """One Realm that arrives: wanted at `start_ns`, stopped for good at `stop_ns` (virtual ns)."""

    name: str
    kind: str
    start_ns: int
    stop_ns: int


def draw_arrivals(name: str, process: Arrivals, end_ns: int, draws: Draws) -> Iterator[Arrival]:
    """The Realms of one process up to `end_ns`, in the order in which they arrive; names are `<process>-<nnnnnn>`."""
    until_ns = min(end_ns, process.until) if process.until is not None else end_ns
    kinds, shares = list(process.kinds), list(process.kinds.values())
    lifetimes = [(part.share, part.mean) for part in process.lifetimes] or LIFETIMES
    peak_ppm = PPM + process.daily
    batch_ppm = BATCH_MEAN_PPM if process.batches else PPM
    gap_ns = HOUR_NS * batch_ppm // (process.per_hour * peak_ppm)
    at_ns, number = process.start_at + draws.exponential(gap_ns), 0
    while at_ns < until_ns:
        if draws.below(peak_ppm) < rate_ppm(process, at_ns):
            for _ in range(_batch(draws) if process.batches else 1):
                number += 1
                kind = kinds[draws.weighted(shares)]
                _, mean_ns = lifetimes[draws.weighted([share for share, _ in lifetimes])]
                stop_ns = at_ns + max(draws.exponential(mean_ns), process.shortest)
                yield Arrival(f"{name}-{number:06d}", kind, at_ns, stop_ns)
        at_ns += draws.exponential(gap_ns)


def rate_ppm(process: Arrivals, at_ns: int) -> int:
    """The rate at an instant, in millionths of `per_hour`: the daily wave, and the weekend's share of it."""
    rate = PPM + process.daily * wave_ppm(at_ns % DAY_NS) // PPM
    weekend = at_ns // DAY_NS % 7 >= WEEKDAYS
    return rate * process.weekend // PPM if weekend else rate


def wave_ppm(in_day_ns: int) -> int:
    """Sine of the time of day in millionths, by Bhaskara's rational formula (at most 0.0017 off); 0 at midnight."""
    half = DAY_NS // 2
    second, place = divmod(in_day_ns, half)
    degrees = place * 180_000 // half
    product = degrees * (180_000 - degrees)
    wave = 4 * product * PPM // (40_500_000_000 - product)
    return -wave if second else wave


def _batch(draws: Draws) -> int:
    _, low, high = BATCHES[draws.weighted([share for share, _, _ in BATCHES])]
    return draws.between(low, high)


def expected_count(cluster: Cluster) -> int:
    """About how many Realms all processes bring, for checks before a run; the daily wave is left out."""
    total = 0
    for process in cluster.arrivals.values():
        end_ns = min(cluster.duration, process.until) if process.until is not None else cluster.duration
        total += process.per_hour * max(end_ns - process.start_at, 0) // HOUR_NS
    return total
