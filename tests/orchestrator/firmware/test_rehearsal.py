"""Rehearsed rollouts on real machines: three ways to the same end, bad images on none, and advice that follows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cluster.schema import Cluster
from orchestrator.firmware.outcome import RolloutOutcome
from orchestrator.firmware.rehearsal import STRATEGIES, Forecast, Odds, advise, future, variant

GOOD = {"version": "1.0.1", "security_version": 2, "size": "4KiB", "signed_by": ["vendor", "auditor"]}
S = 1_000_000_000


def cluster(rmm: dict[str, Any] = GOOD, policy: dict[str, Any] | None = None, **event: Any) -> Cluster:
    part = {"version": "1.0.0", "size": "4KiB", "signed_by": ["vendor", "auditor"]}
    return Cluster.model_validate(
        {
            "version": 1,
            "name": "three-ways",
            "duration": "30min",
            "recover_within": "60s",
            "control": {"beat": "500ms", "heartbeat": "10s", "suspect_after": "35s", "lease": "60s"},
            "profiles": {"std": {"pes": 8, "memory": "4GiB", "firmware": "base"}},
            "racks": {"r1": {"machines": {"std": 3}}},
            "firmware": {
                "signers": ["vendor", "auditor"],
                "policy": policy or {"threshold": 2, "required": ["vendor"]},
                "releases": {
                    "base": {"components": {"BL2": part, "BL31": part, "RMM": part}},
                    "fix": {"components": {"RMM": rmm}},
                },
            },
            "images": {"web": {"size": "4KiB"}},
            "realms": {"web": {"image": "web", "count": 2, "memory": "32MiB", "vcpus": 1}},
            "events": [
                {"kind": "rollout", "at": "30s", "release": "fix", "bake": "5s",
                 "waves": [{"machines": 1}, {"share": "100%"}], **event},
            ],
        }
    )  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_brings_every_machine_to_the_release_and_loses_no_realm(strategy: str) -> None:
    found = future(variant(cluster(), strategy, 1, Odds()), 1)
    assert (found.state, found.updated) == ("finished", 3)
    moved, restarted = found.migrations > 0, found.restarts > 0
    assert (moved, restarted) == {"live": (False, False), "drain": (True, False), "reboot": (False, True)}[strategy]
    assert found.unavailable == (0 if strategy == "live" else 1)


@pytest.mark.parametrize("strategy", ["live", "reboot"])
@pytest.mark.parametrize(
    ("changes", "policy"),
    [
        ({"signed_by": None}, None),
        ({"signed_by": "vendor"}, None),
        ({"signed_by": ["auditor", "stranger"]}, None),
        ({}, {"threshold": 2, "revoked_versions": [{"component": "RMM", "version": "1.0.1"}]}),
        ({"security_version": 0}, None),
    ],
    ids=["unsigned", "under-endorsed", "required-signer-missing", "revoked", "rolled-back"],
)
def test_a_bad_image_is_refused_by_the_canary_and_costs_nobody_a_second(
    strategy: str, changes: dict[str, Any], policy: dict[str, Any] | None
) -> None:
    found = future(variant(cluster({**GOOD, **changes}, policy), strategy, 1, Odds()), 1)
    assert (found.state, found.updated, found.downtime_ns) == ("held", 0, 0)
    assert (found.restarts, found.migrations) == (0, 0)


def test_an_image_that_never_boots_healthy_stays_with_the_canary() -> None:
    found = future(variant(cluster({**GOOD, "defect": "panics-at-boot"}), "reboot", 1, Odds()), 1)
    assert (found.state, found.updated, found.unavailable) == ("held", 0, 1)


def test_the_same_seed_gives_the_same_future() -> None:
    chosen = variant(cluster(), "drain", 3, Odds())
    assert future(chosen, 3) == future(chosen, 3)


def test_the_advice_turns_when_activations_fail_and_reboots_are_quick() -> None:
    given = cluster()
    quick = given.timing.model_copy(update={"override": {"boot.post": S // 2, "boot.host-os": S // 2}})
    for changed, odds, live in (
        (given, Odds(), True),
        (given.model_copy(update={"timing": quick}), Odds(500_000), False),
    ):
        forecasts = [
            Forecast(name, tuple(future(variant(changed, name, seed, odds), seed) for seed in (1, 2)))
            for name in STRATEGIES
        ]
        assert (advise(forecasts).strategy == "live") is live


def forecast(strategy: str, *futures: tuple[int, int]) -> Forecast:
    """Futures as (machines updated of 10, downtime in ns)."""
    return Forecast(
        strategy, tuple(RolloutOutcome("", 10, done, cost, 0, (1, 2, 3), 0, 0, 0, 0, 0) for done, cost in futures)
    )


def test_the_least_downtime_wins_among_those_that_reach_everybody() -> None:
    assert (
        advise([forecast("live", (10, 5)), forecast("drain", (10, 4)), forecast("reboot", (9, 1))]).strategy == "drain"
    )


def test_when_nobody_is_dependable_the_most_complete_wins_and_the_advice_says_so() -> None:
    advice = advise([forecast("live", (9, 1), (9, 1)), forecast("drain", (10, 9), (9, 9))])
    assert (advice.strategy, "no strategy is dependable" in advice.why) == ("drain", True)


def test_a_spread_ranks_what_never_came_above_everything() -> None:
    given = forecast("live", (10, 3), (10, 1), (10, 2))
    assert given.spread(lambda found: found.downtime_ns) == (1, 2, 3)
    assert given.spread(lambda found: None if found.downtime_ns == 1 else found.downtime_ns) == (2, 3, None)
