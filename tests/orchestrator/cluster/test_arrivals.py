"""Realms that come and go: rates, lifetimes and batches as the file says, the same list from the same seed."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.cluster.arrivals import DAY_NS, HOUR_NS, Arrival, draw_arrivals, rate_ppm, wave_ppm
from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.schema import Arrivals, Cluster
from orchestrator.engine.streams import Stream

S = 1_000_000_000


def process(**keys: Any) -> Arrivals:
    return Arrivals.model_validate({"kinds": {"web": 1}, "per_hour": 2000, **keys})


def arrivals(made: Arrivals, end_ns: int = DAY_NS, name: str = "p") -> list[Arrival]:
    return list(draw_arrivals(name, made, end_ns, Stream.named(b"s" * 32, "arrivals", name)))


def test_a_day_brings_as_many_realms_as_the_rate_says() -> None:
    count = len(arrivals(process()))
    assert abs(count - 48_000) < 4 * math.sqrt(48_000)


def test_batches_bring_the_same_number_in_fewer_instants() -> None:
    made = arrivals(process(batches=True))
    assert abs(len(made) / 48_000 - 1) < 0.08
    batches = Counter(arrival.start_ns for arrival in made)
    assert max(batches.values()) == 50
    alone = sum(1 for size in batches.values() if size == 1) / len(batches)
    assert abs(alone - 0.50) < 0.03


def test_the_wave_is_a_sine() -> None:
    for part in range(96):
        at_ns = DAY_NS * part // 96
        assert abs(wave_ppm(at_ns) / 1e6 - math.sin(2 * math.pi * part / 96)) < 0.0018


def test_mornings_are_busier_than_evenings_and_weekends_are_calmer() -> None:
    made = process(daily="50%", weekend="50%")
    assert rate_ppm(made, 6 * HOUR_NS) == 1_500_000
    assert rate_ppm(made, 18 * HOUR_NS) == 500_000
    assert rate_ppm(made, 5 * DAY_NS) == 500_000
    day = arrivals(made)
    before_noon = sum(1 for arrival in day if arrival.start_ns < DAY_NS // 2) / len(day)
    assert abs(before_noon - (0.5 + 0.5 / math.pi)) < 0.01


def test_lifetimes_follow_the_fit_to_azure_2019() -> None:
    lived = [arrival.stop_ns - arrival.start_ns for arrival in arrivals(process())]

    def within(hours: float) -> float:
        return sum(1 for each in lived if each <= hours * HOUR_NS) / len(lived)

    def fit(hours: float) -> float:
        parts = ((0.68, 0.3), (0.22, 8), (0.10, 2000))
        return sum(share * (1 - math.exp(-hours / mean)) for share, mean in parts)

    for hours in (1, 4, 12, 24):
        assert abs(within(hours) - fit(hours)) < 0.01
    assert min(lived) >= 30 * S


def test_names_count_up_and_instants_never_fall_back() -> None:
    made = arrivals(process(batches=True), HOUR_NS)
    assert [arrival.name for arrival in made] == [f"p-{number:06d}" for number in range(1, len(made) + 1)]
    assert all(one.start_ns <= other.start_ns for one, other in pairwise(made))


def test_a_process_keeps_to_its_own_span() -> None:
    made = arrivals(process(start_at="2h", until="3h"))
    assert made
    assert all(2 * HOUR_NS <= arrival.start_ns < 3 * HOUR_NS for arrival in made)


def test_kinds_come_in_proportion_to_their_weights() -> None:
    made = arrivals(process(kinds={"web": 3, "db": 1}))
    assert abs(sum(arrival.kind == "web" for arrival in made) / len(made) - 0.75) < 0.01


def test_a_longer_run_begins_with_the_same_realms() -> None:
    assert arrivals(process(), 2 * HOUR_NS)[: len(arrivals(process(), HOUR_NS))] == arrivals(process(), HOUR_NS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kinds": {"wbe": 1}}, "no kind is called 'wbe'"),
        ({"start_at": "20min"}, "not before the end"),
        ({"start_at": "5min", "until": "4min"}, "ends before it begins"),
        ({"lifetimes": [{"share": "0%", "mean": "1h"}]}, "no part has a share"),
        ({"per_hour": 1_000_000, "kinds": {"web": 1}}, ""),
    ],
)
def test_mistakes_are_named(sound: dict[str, Any], change: dict[str, Any], said: str) -> None:
    sound["arrivals"] = {"tenants": {"kinds": {"web": 1}, "per_hour": 10, **change}}
    found = [finding.message for finding in check_cluster(Cluster.model_validate(sound))]
    assert any(said in message for message in found) if said else found == []


def test_a_process_with_the_name_of_a_kind_is_refused(sound: dict[str, Any]) -> None:
    sound["arrivals"] = {"web": {"kinds": {"web": 1}, "per_hour": 10}}
    found = [finding.message for finding in check_cluster(Cluster.model_validate(sound))]
    assert any("a kind is called 'web' already" in message for message in found)
