"""A node: machines by name, inputs in order, states in and out."""

from __future__ import annotations

import pytest
from toy_machine import FACTORY, ToyMachine, toy_fleet, toy_spec

from cca_machine.commands import Parcel
from node.errors import NodeBroken
from node.protocol import Arrival
from node.shelf import Node, load_factory

MS = 1_000_000


def test_the_default_class_of_machines_can_be_named() -> None:
    assert load_factory(FACTORY) is ToyMachine


@pytest.mark.parametrize("name", ["toy_machine:Missing", "no_such_module:Machine", "toy_machine", ":"])
def test_a_class_that_cannot_be_had_is_named_in_the_error(name: str) -> None:
    with pytest.raises(NodeBroken, match="no machines to be had from"):
        load_factory(name)


def test_two_machines_of_one_name_are_refused() -> None:
    with pytest.raises(NodeBroken, match="two machines are called m0"):
        Node(ToyMachine, [toy_spec("m0", [], 0), toy_spec("m0", [], 0)])


def test_a_machine_that_is_elsewhere_is_named_in_the_error() -> None:
    node = Node(ToyMachine, toy_fleet(2, 10 * MS))
    with pytest.raises(NodeBroken, match="m7 is not on this node"):
        node.advance(MS, {}, ["m7"])


def test_arrivals_reach_the_machine_in_total_order() -> None:
    arrivals = [
        Arrival(5, 1, "m2", 1, Parcel("s", b"\x00", 1)),
        Arrival(5, 1, "m1", 2, Parcel("s", b"\x00", 1)),
        Arrival(5, 1, "m1", 1, Parcel("s", b"\x00", 1)),
        Arrival(4, 2, "m9", 9, Parcel("s", b"\x00", 1)),
    ]
    [(name, advance)] = Node(ToyMachine, [toy_spec("m0", [], 0)]).advance(MS, {"m0": arrivals}, ["m0"])
    assert name == "m0"
    seen = [(record.at_ns, record.what.realm, record.what.incarnation) for record in advance.records]  # type: ignore[union-attr]
    assert seen == [(4, "m9", 9), (5, "m1", 1), (5, "m1", 2), (5, "m2", 1)]


def test_a_state_taken_here_goes_on_there() -> None:
    specs = toy_fleet(3, 10 * MS)
    here, there = Node(ToyMachine, specs), Node(ToyMachine, specs)
    here.advance(500 * MS, {}, here.machines())
    there.restore(here.snapshots(["m0", "m1", "m2"]))
    assert there.advance(900 * MS, {}, there.machines()) == here.advance(900 * MS, {}, here.machines())
