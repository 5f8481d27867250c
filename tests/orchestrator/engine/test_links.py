"""Links: latency by place, jitter by key, ports that send one message at a time, and rules with exact windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.instant import MS, US
from orchestrator.engine.links import (
    ANYONE,
    Delay,
    Drop,
    Links,
    LinkShape,
    Lose,
    Rule,
    Topology,
    partition,
)
from orchestrator.engine.ports import Message
from orchestrator.engine.streams import run_seed

SEED = run_seed(3)
RACKS = {"m0": "a", "m1": "a", "m2": "b"}
STILL = Topology(RACKS, LinkShape(50 * US), LinkShape(125 * US), LinkShape(250 * US))
SHAKY = Topology(RACKS, LinkShape(50 * US, 10 * US), LinkShape(125 * US, 50 * US), LinkShape(250 * US, 100 * US))


def message(source: str, target: str, number: int = 1, sent_ns: int = 0, size_bytes: int = 0) -> Message:
    return Message(source, number, target, sent_ns, None, size_bytes=size_bytes)


def rule(verdict: Drop | Delay | Lose, from_ns: int = 0, until_ns: int = 1000 * MS, name: str = "r") -> Rule:
    return Rule(name, ("m0",), ("m1",), from_ns, until_ns, verdict)


def arrival(links: Links, sent_ns: int, number: int = 1) -> int | None:
    return links.arrival_ns(message("m0", "m1", number, sent_ns))


@pytest.mark.parametrize(
    ("source", "target", "latency_ns"),
    [
        ("m0", "m1", 50 * US),
        ("m0", "m2", 125 * US),
        ("m2", "m0", 125 * US),
        ("m0", "control", 250 * US),
        ("control", "m2", 250 * US),
        ("control", "verifier", 250 * US),
    ],
)
def test_latency_follows_from_where_the_ends_stand(source: str, target: str, latency_ns: int) -> None:
    links = Links(SEED, STILL)
    assert links.latency_min_ns(source, target) == latency_ns
    assert links.arrival_ns(message(source, target, sent_ns=7)) == 7 + latency_ns


def test_one_direction_of_one_link_can_have_its_own_shape() -> None:
    single = Topology(RACKS, LinkShape(50), LinkShape(50), LinkShape(50), {("m0", "m1"): LinkShape(77 * US)})
    links = Links(SEED, single)
    assert links.latency_min_ns("m0", "m1") == 77 * US
    assert links.latency_min_ns("m1", "m0") == 1 * US


@given(number=st.integers(1, 10_000), sent_ns=st.integers(0, 10**12), target=st.sampled_from(["m1", "m2", "control"]))
def test_jitter_adds_within_its_bounds_and_nothing_undercuts_the_least_latency(
    number: int, sent_ns: int, target: str
) -> None:
    links, shape = Links(SEED, SHAKY), SHAKY.shape("m0", target)
    arrives_ns = links.arrival_ns(message("m0", target, number, sent_ns))
    assert arrives_ns is not None
    assert 0 <= arrives_ns - sent_ns - links.latency_min_ns("m0", target) <= shape.jitter_ns


def test_jitter_depends_on_the_number_and_not_on_who_asked_before() -> None:
    forward, backward = Links(SEED, SHAKY), Links(SEED, SHAKY)
    ends = [("m0", "m1", number) for number in range(1, 20)] + [("m2", "m1", number) for number in range(1, 20)]
    there = {end: forward.arrival_ns(message(*end)) for end in ends}
    back = {end: backward.arrival_ns(message(*end)) for end in reversed(ends)}
    assert there == back
    assert len(set(there.values())) > 15


def test_what_leaves_one_machine_leaves_it_one_after_another() -> None:
    topology = Topology(
        RACKS, LinkShape(50 * US, 0, 8_000_000_000), LinkShape(125 * US, 0, 8_000_000_000), LinkShape(0)
    )
    links = Links(SEED, topology)
    megabyte = 1_000_000  # one millisecond at 8 Gbit/s
    first = links.arrival_ns(message("m0", "m1", 1, 0, megabyte))
    second = links.arrival_ns(message("m0", "m2", 2, 0, megabyte))
    third = links.arrival_ns(message("m0", "m1", 3, 5 * MS, megabyte))
    assert (first, second, third) == (MS + 50 * US, 2 * MS + 125 * US, 6 * MS + 50 * US)
    other = links.arrival_ns(message("m1", "m0", 1, 0, megabyte))
    assert other == MS + 50 * US


def test_an_older_message_does_not_wait_for_one_that_leaves_later() -> None:
    topology = Topology(RACKS, LinkShape(50 * US, 0, 8_000_000_000), LinkShape(0), LinkShape(0))
    links = Links(SEED, topology)
    links.arrival_ns(message("m0", "m1", 1, 50 * MS, 1_000_000))
    assert links.arrival_ns(message("m0", "m1", 2, 0, 1_000_000)) == MS + 50 * US


def test_a_rule_holds_from_its_first_instant_to_before_its_last() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Drop(), 10 * MS, 20 * MS), 0)
    fates = [arrival(links, sent_ns) is None for sent_ns in (10 * MS - 1, 10 * MS, 20 * MS - 1, 20 * MS)]
    assert fates == [False, True, True, False]


def test_a_rule_speaks_about_one_direction_only() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Drop()), 0)
    assert links.arrival_ns(message("m0", "m1")) is None
    assert links.arrival_ns(message("m1", "m0")) is not None
    assert links.arrival_ns(message("m0", "m2")) is not None


def test_a_partition_cuts_a_link_that_was_slow_before() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Delay(3 * MS)), 0)
    links.impose(rule(Drop()), 0)
    assert arrival(links, 0) is None


def test_of_several_delays_the_longest_counts() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Delay(3 * MS)), 0)
    links.impose(rule(Delay(2 * MS)), 0)
    assert arrival(links, 0) == 3 * MS + 50 * US


def test_a_loss_that_spares_a_message_leaves_it_to_the_next_rule() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Lose(0)), 0)
    links.impose(rule(Delay(3 * MS)), 0)
    assert arrival(links, 0) == 3 * MS + 50 * US


def test_loss_takes_its_share_and_always_the_same_messages() -> None:
    def lost() -> list[int]:
        links = Links(SEED, STILL)
        links.impose(rule(Lose(300_000)), 0)
        return [number for number in range(1, 2001) if arrival(links, 0, number) is None]

    assert lost() == lost()
    assert 520 < len(lost()) < 680


def test_everyone_is_everyone() -> None:
    links = Links(SEED, STILL)
    links.impose(Rule("dark", ANYONE, ("control",), 0, MS, Drop()), 0)
    assert links.arrival_ns(message("m2", "control")) is None
    assert links.arrival_ns(message("m2", "m0")) is not None


def test_a_lifted_rule_ends_at_the_given_instant() -> None:
    links = Links(SEED, STILL)
    for half in partition("split", ("m0",), ("m1",), 0, 100 * MS):
        links.impose(half, 0)
    links.lift("split", 30 * MS)
    assert arrival(links, 30 * MS - 1) is None
    assert arrival(links, 30 * MS) is not None


def test_rules_that_are_over_are_forgotten_when_another_comes() -> None:
    links = Links(SEED, STILL)
    links.impose(rule(Drop(), 0, 10 * MS, "old"), 0)
    links.impose(rule(Drop(), 0, 20 * MS, "new"), 10 * MS)
    assert [each.name for each in links.rules] == ["new"]


def test_unsorted_names_and_negative_delays_are_refused() -> None:
    with pytest.raises(ValueError, match="sorted"):
        Rule("r", ("m1", "m0"), ANYONE, 0, 1, Drop())
    with pytest.raises(ValueError, match="faster"):
        Delay(-1)
