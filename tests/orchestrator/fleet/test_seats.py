"""Seats: packing, one call per node and beat, and what happens when nodes are lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_host import DEAD, DEAF, MUTE, ToyHost
from toy_machine import FACTORY, toy_fleet
from toy_run import Deed, ToyRun

from node.codec import pack_specs, unpack_specs
from node.errors import NodeBroken
from orchestrator.engine.errors import NondeterminismFound
from orchestrator.engine.instant import MS, S
from orchestrator.fleet.local import LocalFleet
from orchestrator.fleet.seats import SeatedFleet, deal, seat_count

END = 1500 * MS
PLAN = [Deed(200 * MS, "couple", "m0", "m1"), Deed(300 * MS, "ask", "m2"), Deed(900 * MS, "uncouple", "m0", "m1")]
SPECS = toy_fleet(5, 40 * MS)


def local_digest() -> str:
    return ToyRun(LocalFleet(SPECS, 1, FACTORY), PLAN).run(END).digest


@pytest.mark.parametrize(
    ("machines", "actors", "cores", "seats"),
    [
        (8, "auto", 2, 8),  # one per machine, up to four per core
        (9, "auto", 2, 2),  # beyond that one per core
        (1000, "auto", 16, 16),
        (3, 8, 2, 3),  # never more nodes than machines
        (100, 4, 2, 4),
        (0, "auto", 2, 1),
    ],
)
def test_auto_is_one_node_per_machine_up_to_four_per_core(
    machines: int, actors: int | str, cores: int, seats: int
) -> None:
    assert seat_count(machines, actors, cores) == seats


def test_machines_are_dealt_evenly_whatever_their_order() -> None:
    hands = deal(list(reversed(SPECS)), 2)
    assert [[spec.name for spec in hand] for hand in hands] == [["m0", "m2", "m4"], ["m1", "m3"]]


@pytest.mark.parametrize("actors", [1, 2, 5])
def test_wired_nodes_give_the_digest_of_the_local_fleet(actors: int) -> None:
    fleet = SeatedFleet(SPECS, ToyHost(), actors, FACTORY)
    assert ToyRun(fleet, PLAN).run(END).digest == local_digest()
    assert (fleet.actors, fleet.actor_restarts) == (actors, 0)


def test_a_call_goes_only_to_nodes_with_work() -> None:
    host = ToyHost()
    fleet = SeatedFleet(SPECS, host, 5, FACTORY)
    opened = host.requests
    fleet.advance(100 * MS, {}, ["m1", "m3"])
    assert host.requests - opened == 2


@settings(max_examples=30, deadline=None)
@given(
    troubles=st.dictionaries(st.integers(1, 60), st.sampled_from([DEAD, DEAF, MUTE]), max_size=5),
    snapshot_every=st.sampled_from([1, 3, 1000]),
    actors=st.sampled_from([1, 3]),
)
def test_lost_nodes_change_nothing_that_is_reported(troubles: dict[int, str], snapshot_every: int, actors: int) -> None:
    # at most four nodes may be lost over one request; troubles are kept apart so that this stays a test of survival
    apart = {number: trouble for place, (number, trouble) in enumerate(sorted(troubles.items())) if place < 3}
    host = ToyHost(apart)
    fleet = SeatedFleet(SPECS, host, actors, FACTORY, snapshot_every)
    assert ToyRun(fleet, PLAN).run(END).digest == local_digest()
    assert fleet.actor_restarts == host.spawned - actors


def test_a_dead_node_is_replaced_and_counted() -> None:
    fleet = SeatedFleet(SPECS, ToyHost({12: DEAD, 20: DEAD}), 2, FACTORY)
    assert ToyRun(fleet, PLAN).run(END).digest == local_digest()
    assert fleet.actor_restarts == 2


@pytest.mark.parametrize("trouble", [DEAF, MUTE])
def test_a_silent_node_is_asked_again_and_runs_the_request_once(trouble: str) -> None:
    fleet = SeatedFleet(SPECS, ToyHost({12: trouble}), 2, FACTORY)
    assert ToyRun(fleet, PLAN).run(END).digest == local_digest()
    assert fleet.actor_restarts == 0


def test_a_machine_that_is_not_the_same_after_its_snapshot_stops_the_run() -> None:
    fleet = SeatedFleet(SPECS, ToyHost({14: DEAD}), 1, "toy_machine:ForgetfulToy", 2)
    with pytest.raises(NodeBroken, match="m0 is not the same after its own snapshot"):
        ToyRun(fleet, PLAN).run(END)


def test_a_machine_that_answers_differently_when_replayed_stops_the_run() -> None:
    fleet = SeatedFleet(SPECS, ToyHost({10: DEAD}), 1, "toy_machine:MoodyToy")
    with pytest.raises(NondeterminismFound, match="m0 did not repeat itself"):
        ToyRun(fleet, PLAN).run(END)


def test_a_fleet_whose_nodes_all_die_gives_up() -> None:
    host = ToyHost(always=lambda request: DEAD if request > 10 else "")
    fleet = SeatedFleet(SPECS, host, 1, FACTORY)
    with pytest.raises(NodeBroken, match="gives up"):
        ToyRun(fleet, PLAN).run(END)


def test_a_fault_in_a_machine_is_not_taken_for_a_lost_node() -> None:
    with pytest.raises(NodeBroken, match="no machines to be had"):
        SeatedFleet(SPECS, ToyHost(), 1, "toy_machine:NoSuchToy")


def test_an_image_crosses_the_wire_once_and_is_shared_by_all_machines() -> None:
    opening = pack_specs(FACTORY, SPECS)
    assert opening.images == [b"one image for all"]
    specs = unpack_specs(opening)
    assert specs == SPECS
    assert len({id(spec.firmware["RMM"]) for spec in specs}) == 1


def test_states_are_the_same_on_every_fleet() -> None:
    local, seated = LocalFleet(SPECS, 2, FACTORY), SeatedFleet(SPECS, ToyHost(), 3, FACTORY)
    ToyRun(local, PLAN).run(S)
    ToyRun(seated, PLAN).run(S)
    assert local.snapshots() == seated.snapshots()
    assert list(local.snapshots()) == ["m0", "m1", "m2", "m3", "m4"]


def test_closing_the_fleet_stops_its_host() -> None:
    host = ToyHost()
    SeatedFleet(SPECS, host, 1, FACTORY).close()
    assert host.stopped
