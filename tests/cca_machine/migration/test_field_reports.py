"""What users of other orchestrators reported about machines (migration reference, section 9)."""

from __future__ import annotations

from typing import Any

from cca_machine import commands as c
from cca_machine.abi.guest import SystemRegister
from cca_machine.migration import wire
from cca_machine.migration.precopy import Terms, course

S, MB = 1_000_000_000, 1_000_000


def rec_of(pair: Any, machine: str) -> Any:
    return next(iter(pair.machines[machine]._state.running.rmm.recs.values()))


def test_10_a_guest_that_dirties_faster_than_the_link_converges_once_it_is_slowed() -> None:
    fast = {"memory_bytes": 1 << 30, "rate": 400 * MB, "working_set": 512 << 20}
    terms = Terms(bytes_per_s=200 * MB, downtime_ns=300_000_000)
    assert course(**fast, terms=terms).why == "rounds"
    slowed = course(**fast, terms=Terms(bytes_per_s=200 * MB, downtime_ns=300_000_000, auto_converge=True))
    assert slowed.why == "target"


def test_11_a_stall_is_seen_after_three_rounds_not_at_a_deadline() -> None:
    terms = Terms(bytes_per_s=200 * MB, downtime_ns=300_000_000, on_stall="give-up", most_rounds=1000)
    stalled = course(1 << 30, 400 * MB, 512 << 20, terms)
    assert stalled.why == "stalled"
    assert len(stalled.rounds) <= 5


def test_18_both_ends_agree_on_a_failed_session(pair: Any, kit: Any) -> None:
    pair.serve("a")

    def cut_short(name: str, sent: c.Sent) -> list[c.Parcel]:
        parcel: Any = sent.body
        message = wire.decode(parcel.payload)
        if isinstance(message, wire.Freight) and message.sequence == 3:
            payload = wire.encode(wire.Freight(3, message.bundle[:40]))
            return [c.Parcel(parcel.session, payload, parcel.modelled_bytes)]
        return [parcel]

    pair.carry = cut_short
    pair.open_session()
    pair.run(10 * S)
    assert {closed.how for closed in pair.bodies(c.SessionClosed)} == {"active", "failed"}
    assert [one.decision for one in pair.bodies(c.LineageDecided)] == ["abort"]


def test_19_timers_of_the_guest_are_as_it_set_them(pair: Any, kit: Any) -> None:
    pair.serve("a")
    timer = {SystemRegister.CNTV_CTL: 1, SystemRegister.CNTV_CVAL: 123_456_789}
    rec_of(pair, "a").system.update(timer)
    pair.open_session()
    pair.run(5 * S)
    arrived = rec_of(pair, "b").system
    assert {register: arrived[register] for register in timer} == timer


def test_20_an_import_sets_the_initial_measurement_and_never_extends_it(pair: Any, kit: Any) -> None:
    pair.serve("a")
    before = list(next(iter(pair.machines["a"]._state.running.rmm.realms.values())).measurements)
    pair.open_session()
    pair.run(5 * S)
    assert list(next(iter(pair.machines["b"]._state.running.rmm.realms.values())).measurements) == before
