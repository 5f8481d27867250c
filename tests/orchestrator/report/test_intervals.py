"""Means with Student's intervals, and pairs compared seed by seed."""

from __future__ import annotations

import math

import pytest

from orchestrator.report.intervals import estimate, paired, quantile


def test_a_textbook_sample_has_the_textbook_interval() -> None:
    """Values 1..5: mean 3, standard deviation sqrt(2.5), t(4) = 2.776."""
    found = estimate([1, 2, 3, 4, 5])
    reach = 2.776 * math.sqrt(2.5) / math.sqrt(5)
    assert found.mean == 3
    assert found.low == pytest.approx(3 - reach)
    assert found.high == pytest.approx(3 + reach)


def test_one_value_has_a_mean_and_no_interval() -> None:
    found = estimate([7])
    assert (found.mean, found.low, found.high, found.apart_from_zero) == (7, None, None, False)


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="nothing"):
        estimate([])


def test_between_the_rows_the_wider_quantile_is_taken() -> None:
    assert quantile(1) == 12.706
    assert quantile(35) == quantile(30) == 2.042
    assert quantile(10_000) == 1.980


def test_pairing_by_seed_sees_what_the_noise_between_seeds_hides() -> None:
    before = {seed: 100.0 * seed for seed in range(1, 9)}
    after = {seed: value + 1 + (seed % 2) * 0.2 for seed, value in before.items()}
    together = paired(before, after)
    assert together.apart_from_zero
    assert together.mean == pytest.approx(1.1)
    apart = estimate(list(after.values()))
    assert apart.low is not None
    assert apart.low < estimate(list(before.values())).mean < after[8]


def test_only_seeds_of_both_are_paired() -> None:
    assert paired({1: 1.0, 2: 5.0}, {2: 6.0, 3: 100.0}).mean == 1.0
