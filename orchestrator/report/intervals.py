"""Means with confidence intervals over the runs of a sweep, and two variants compared seed by seed.

Intervals are Student's, two-sided, 95 %. A comparison is paired: the same seed under both variants meets the same
draws, so the difference of each pair is what is averaged, and most of the noise between seeds falls out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

from msgspec import Struct

T_975: tuple[tuple[int, float], ...] = (
    (1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306), (9, 2.262),
    (10, 2.228), (11, 2.201), (12, 2.179), (13, 2.160), (14, 2.145), (15, 2.131), (16, 2.120), (17, 2.110),
    (18, 2.101), (19, 2.093), (20, 2.086), (21, 2.080), (22, 2.074), (23, 2.069), (24, 2.064), (25, 2.060),
    (26, 2.056), (27, 2.052), (28, 2.048), (29, 2.045), (30, 2.042), (40, 2.021), (60, 2.000), (120, 1.980),
)  # fmt: skip
"""Quantile 0.975 of Student's distribution by degrees of freedom; between rows the smaller, wider one is taken."""


class Estimate(Struct, frozen=True):
    """A mean and its 95 % interval; `low` and `high` are None for fewer than two values."""

    count: int
    mean: float
    low: float | None
    high: float | None

    @property
    def apart_from_zero(self) -> bool:
        """Whether the interval leaves zero out; never for fewer than two values."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of independent values; raises `ValueError` when there is none."""
    count = len(values)
    if not count:
        raise ValueError("nothing has no mean")
    mean = sum(values) / count
    if count < 2:
        return Estimate(count, mean, None, None)
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    reach = quantile(count - 1) * deviation / sqrt(count)
    return Estimate(count, mean, mean - reach, mean + reach)


def quantile(freedom: int) -> float:
    """Student's 0.975 quantile for `freedom` degrees of freedom, never smaller than the exact one."""
    return next(value for row, value in reversed(T_975) if row <= freedom)


def paired(before: Mapping[int, float], after: Mapping[int, float]) -> Estimate:
    """The mean difference `after - before` over the seeds that both have; raises `ValueError` when they share none."""
    return estimate([after[seed] - before[seed] for seed in sorted(before.keys() & after.keys())])
