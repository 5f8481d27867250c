"""Scores and checkers that a script brings along."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator import Case, Fleet, Outcome, Spec, UserMistake, Verdict
from orchestrator.cluster.schema import RealmKind
from orchestrator.replay import replay_run
from orchestrator.store import MachineView, Store


def packed(machine: MachineView, kind: RealmKind, store: Store) -> dict[str, int]:
    """Fill machines up: the more there is on it, the better."""
    return {"residents": len(machine.residents)}


def lab() -> Spec:
    return Spec("lab", memory="2GiB", duration="1min").rack("r1", 4).realms("web", count=6, memory="16MiB")


def test_a_score_that_rises_with_every_realm_packs_them_all_onto_one_machine(opened: Callable[..., Fleet]) -> None:
    fleet = opened(lab(), score=packed)
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 6}, within="30s")
    assert sorted(machine.facts()["realms"] for machine in fleet.machines) == [0, 0, 0, 6]
    placed = [event.what for event in fleet.explain("web-004") if event.kind == "realm.placed"]
    assert placed[0]["best"][0] == {"machine": "r1-std-01", "score": 3, "parts": {"residents": 3}}


def gathered(machine: MachineView, kind: RealmKind, store: Store) -> dict[str, int]:
    """One Realm a machine, in the rack that has some already; the very first goes to r2-std-02."""
    rack = sum(len(other.residents) for other in store.machines.values() if other.rack == machine.rack)
    return {"rack": rack, "alone": -10 * len(machine.residents), "first": int(machine.name == "r2-std-02")}


def test_a_placement_may_raise_the_score_of_another_machine(opened: Callable[..., Fleet]) -> None:
    spec = Spec("lab", memory="2GiB", duration="1min").rack("r1", 1).rack("r2", 2).realms("web", count=2)
    fleet = opened(spec.set("realms.web.memory", "16MiB"), score=gathered)
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 2}, within="30s")
    assert sorted(realm.machine for realm in fleet.realms) == ["r2-std-01", "r2-std-02"]


def test_without_it_they_are_spread(opened: Callable[..., Fleet]) -> None:
    fleet = opened(lab())
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 6}, within="30s")
    assert sorted(machine.facts()["realms"] for machine in fleet.machines) == [1, 1, 2, 2]


def test_a_run_with_a_score_of_its_own_says_so_and_is_not_replayed_without_it(opened: Callable[..., Fleet]) -> None:
    fleet = opened(lab(), score=packed)
    fleet.advance("5s").finish()
    assert json.loads((fleet.run.path / "manifest.json").read_text())["extensions"] == [
        "score packed of test_extensions.py"
    ]
    with pytest.raises(UserMistake, match=r"code of its own: score packed of test_extensions\.py"):
        replay_run(fleet.run.path)


def test_a_score_with_a_fraction_in_it_is_refused(opened: Callable[..., Fleet]) -> None:
    fleet = opened(lab(), score=lambda machine, kind, store: {"luck": 0.5})
    with pytest.raises(TypeError, match=r"part 'luck' of the score of r1-std-01 is 0\.5, not a whole number"):
        fleet.advance("5s")


def nobody_restarts(case: Case) -> Verdict:
    """No Realm is restarted."""
    restarts = case.of("realm.restart")
    outcome = Outcome.FAIL if restarts else Outcome.PASS
    return Verdict("nobody-restarts", outcome, f"{len(restarts)} restarts", tuple(restarts[:1]))


def test_a_checker_of_ones_own_stands_beside_the_built_in_ones(opened: Callable[..., Fleet]) -> None:
    fleet = opened(lab(), checkers=[nobody_restarts])
    fleet.advance("10s")
    with fleet.fault("machine.power-loss", realm="web-001"):
        fleet.advance("5s")
    results = fleet.finish(after="2min")
    assert results.verdicts["nobody-restarts"].outcome is Outcome.FAIL
    assert [name for name, verdict in results.verdicts.items() if verdict.outcome is Outcome.FAIL] == [
        "nobody-restarts"
    ]
    assert not results.passed
    assert replay_run(results.path).same
