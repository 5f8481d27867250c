"""Selectors: whom a fault means, drawn from the seed where a number is asked for."""

from __future__ import annotations

import pytest

from orchestrator.chaos.select import Topology, resolve
from orchestrator.cluster.schema import Selector
from orchestrator.engine.streams import Stream

RACKS = {f"m{number}": f"r{number % 2}" for number in range(8)}
TOPOLOGY = Topology(RACKS, {"web-001": "m5"})


def stream(seed: int = 1) -> Stream:
    return Stream.named(bytes([seed]) * 32, "chaos")


@pytest.mark.parametrize(
    ("selector", "machines"),
    [
        (Selector(machine="m3"), ("m3",)),
        (Selector(machine="m9"), ()),
        (Selector(rack="r1"), ("m1", "m3", "m5", "m7")),
        (Selector(realm="web-001"), ("m5",)),
        (Selector(realm="web-002"), ()),
        (Selector(count=99), tuple(sorted(RACKS))),
    ],
)
def test_a_selector_means_these_machines(selector: Selector, machines: tuple[str, ...]) -> None:
    assert resolve(selector, TOPOLOGY, (), stream()) == machines


def test_a_number_is_drawn_among_machines_in_no_other_fault_and_a_name_is_meant_even_if_struck() -> None:
    busy = {"m6", "m7"}
    free = tuple(f"m{number}" for number in range(6))
    assert resolve(Selector(count=99), TOPOLOGY, busy, stream()) == free
    assert all(set(resolve(Selector(count=2), TOPOLOGY, busy, stream(seed))) <= set(free) for seed in range(50))
    assert resolve(Selector(machine="m7"), TOPOLOGY, busy, stream()) == ("m7",)


def test_the_same_stream_draws_the_same_and_every_machine_is_drawn_sometimes() -> None:
    drawn = [resolve(Selector(count=2), TOPOLOGY, (), stream(seed)) for seed in range(200)]
    assert drawn == [resolve(Selector(count=2), TOPOLOGY, (), stream(seed)) for seed in range(200)]
    assert all(len(set(pair)) == 2 and list(pair) == sorted(pair) for pair in drawn)
    assert {machine for pair in drawn for machine in pair} == set(RACKS)
