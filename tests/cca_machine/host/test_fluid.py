"""Served requests as a fluid: exact, fair, and the same however often one counts."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cca_machine.commands import ImageSpec, RealmSpec, Workload
from cca_machine.host.donor import GranulePool
from cca_machine.host.fluid import accrue, capacity_ppm, share_ppm
from cca_machine.host.footprint import Footprint
from cca_machine.host.hosted import HostedRealm, HostState
from cca_machine.host.states import HostedState

S = 1_000_000_000


def host(*loads: tuple[int, int, int]) -> HostState:
    """A host with one serving Realm per (vCPUs, demand in ppm, requests per second)."""
    state = HostState(pool=GranulePool([]))
    for number, (vcpus, demand, rate) in enumerate(loads):
        workload = Workload(requests_per_s=rate, demand_ppm=demand)
        spec = RealmSpec(f"r{number}", 1, "k", vcpus, 1 << 20, ImageSpec("i", 1, 1), "server", workload)
        realm = HostedRealm(spec=spec, footprint=Footprint.empty(), lease_until_ns=0, state=HostedState.SERVING)
        realm.running = True
        state.realms[spec.realm] = realm
    return state


LOADS = st.lists(st.tuples(st.integers(1, 64), st.integers(0, 1_000_000), st.integers(0, 10**6)), max_size=5)


@given(LOADS, st.lists(st.integers(1, 900 * S), max_size=8), st.integers(1, 900 * S))
def test_counting_more_often_changes_nothing(loads: Any, looks: list[int], end: int) -> None:
    once, often = host(*loads), host(*loads)
    for at in sorted(look for look in looks if look < end):
        accrue(often, at, 8)
    accrue(often, end, 8)
    accrue(once, end, 8)
    assert often == once


@given(LOADS, st.integers(1, 900 * S))
def test_requests_are_rate_times_time_times_share_to_the_last_one(loads: Any, end: int) -> None:
    state = host(*loads)
    share = Fraction(share_ppm(state, 8), 10**6)
    accrue(state, end, 8)
    for (_, _, rate), realm in zip(loads, state.realms.values(), strict=True):
        assert realm.served == int(rate * Fraction(end, S) * share)


def test_realms_that_ask_for_too_much_share_what_there_is() -> None:
    state = host((12, 1_000_000, 100), (12, 500_000, 100))
    assert capacity_ppm(8) == 6_000_000
    assert share_ppm(state, 8) == 6_000_000 * 1_000_000 // 18_000_000
    assert share_ppm(host((12, 500_000, 100)), 8) == 1_000_000


def test_a_realm_that_stands_still_serves_nothing_and_takes_nothing() -> None:
    state = host((6, 1_000_000, 1000), (6, 1_000_000, 1000))
    state.realms["r1"].running = False
    accrue(state, S, 8)
    assert [realm.served for realm in state.realms.values()] == [1000, 0]


def test_a_small_machine_shares_all_its_pes() -> None:
    assert [capacity_ppm(pes) for pes in (1, 2, 3)] == [1_000_000, 2_000_000, 1_000_000]
