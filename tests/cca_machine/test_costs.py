"""The table of assumed durations."""

from __future__ import annotations

import pytest

from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rsi import Rsi
from cca_machine.costs import CALL_COSTS, COST_BY_NAME, COSTS, Confidence, Meter, reference_timing
from cca_machine.errors import UnknownCost


def test_every_row_says_what_it_is_worth_and_where_it_comes_from() -> None:
    assert len(COST_BY_NAME) == len(COSTS)
    for cost in COSTS:
        assert cost.ns > 0
        assert cost.per
        assert cost.source
        assert cost.confidence in Confidence


def test_every_call_of_the_interfaces_has_a_cost() -> None:
    assert set(CALL_COSTS) == {*map(int, Rmi), *map(int, Rsi), *map(int, Psci)}
    assert set(CALL_COSTS.values()) <= set(COST_BY_NAME)


def test_scaling_multiplies_and_an_override_stands_as_it_is() -> None:
    timing = reference_timing(3_000_000, {"rmi.null": 7})
    assert timing["rmi.null"] == 7
    assert timing["rmi.granule-delegate"] == 3 * COST_BY_NAME["rmi.granule-delegate"].ns
    assert set(timing) == set(COST_BY_NAME)


def test_an_override_of_nothing_is_refused_with_a_hint() -> None:
    with pytest.raises(UnknownCost, match=r"did you mean .*rmi\.granule-delegate"):
        reference_timing(overrides={"rmi.granule-delegte": 1})


def test_delegating_a_gibibyte_takes_as_long_as_the_reference_says() -> None:
    meter = Meter(reference_timing())
    meter.call(Rmi.GRANULE_DELEGATE, 262_144)
    assert meter.cost_ns == pytest.approx(0.76e9, rel=0.01)
    assert meter.calls == {"RMI_GRANULE_DELEGATE": 262_144}
