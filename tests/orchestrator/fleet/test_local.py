"""The in-process fleet: reports in order, and states that can be carried to another fleet."""

from __future__ import annotations

from toy_machine import FACTORY, toy_fleet
from toy_run import ToyRun

from cca_machine.commands import Parcel
from orchestrator.engine.instant import MS, S
from orchestrator.engine.ports import Delivery, Message, Priority
from orchestrator.fleet.local import LocalFleet

SPECS = toy_fleet(5, 40 * MS)


def test_reports_are_sorted_by_machine_over_all_nodes() -> None:
    fleet = LocalFleet(list(reversed(SPECS)), 3, FACTORY)
    assert fleet.machines() == ["m0", "m1", "m2", "m3", "m4"]
    assert [report.machine for report in fleet.advance(100 * MS, {}, ["m4", "m1", "m0"])] == ["m0", "m1", "m4"]


def test_only_parcels_weigh_on_links() -> None:
    fleet = LocalFleet(SPECS, 1, FACTORY)
    parcel = Delivery(50 * MS, Priority.PARCEL, Message("m1", 1, "m0", 0, Parcel("s", bytes([1]), 100)))
    [report] = fleet.advance(400 * MS, {"m0": [parcel]}, ["m0"])
    for message in report.sent:
        assert message.size_bytes == (message.body.modelled_bytes if isinstance(message.body, Parcel) else 0)
    assert {isinstance(message.body, Parcel) for message in report.sent} == {True, False}


def test_arrivals_are_taken_in_total_order_whatever_their_order_in_the_inbox() -> None:
    mail = [
        Delivery(50 * MS, Priority.PARCEL, Message(source, number, "m0", 0, Parcel("s", bytes([1]), 100)))
        for source in ("m1", "m2")
        for number in (1, 2)
    ]
    reports = [
        LocalFleet(SPECS, 1, FACTORY).advance(100 * MS, {"m0": order}, ["m0"]) for order in (mail, list(reversed(mail)))
    ]
    assert reports[0] == reports[1]


def test_a_fleet_goes_on_from_the_states_of_another() -> None:
    straight, first, second = (LocalFleet(SPECS, nodes, FACTORY) for nodes in (1, 2, 3))
    names = straight.machines()
    straight.advance(S, {}, names)
    first.advance(S, {}, names)
    second.restore(first.snapshots())
    assert second.advance(2 * S, {}, names) == straight.advance(2 * S, {}, names)


def test_a_local_fleet_has_no_actors_to_lose() -> None:
    fleet = LocalFleet(SPECS, 2, FACTORY)
    ToyRun(fleet).run(200 * MS)
    assert (fleet.actors, fleet.actor_restarts, fleet.pids()) == (0, 0, [])
    fleet.close()
