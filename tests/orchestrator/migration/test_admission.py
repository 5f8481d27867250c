"""Whether a Realm may move: each rule declines by its own name, and the target chosen breaks none."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.migration.admission import Admitted, Declined, admit, patience_ns
from orchestrator.store import Capacity, MachineState, MigrationRequest, RealmState, SessionView


def ask(to: str = "", realm: str = "web-001") -> MigrationRequest:
    return MigrationRequest(realm, to, "test", 0)


def spoil(small: Any, how: str) -> MigrationRequest:
    """Break one rule for moving web-001 from r1-std-01 to r2-std-02."""
    store = small.store
    source, target = store.machines["r1-std-01"], store.machines["r2-std-02"]
    match how:
        case "realm":
            store.realms["web-001"].state = RealmState.VERIFYING
        case "source":
            source.state = MachineState.SUSPECT
        case "trust":
            target.rak = b""
        case "activity":
            store.occupy("r1-std-01", "prime")
        case "sessions":
            for name in ("x", "y"):
                view = SessionView(name, "web-002", 1, "r2-std-01", "r2-std-02", "", 0, 1, 1, 1)
                store.sessions[name] = view
        case "target":
            return ask("r9-std-99")
        case "firmware":
            source.versions = {"RMM": "1.10.0"}
            target.versions = {"RMM": "1.9.0"}
        case "granules":
            target.capacity = Capacity(100, 100)
        case "state":
            target.state = MachineState.DOWN
        case "cordon":
            store.cordon("r2-std-02", "drain")
    return ask("r2-std-02")


@pytest.mark.parametrize(
    "how", ["realm", "source", "trust", "activity", "sessions", "target", "firmware", "granules", "state", "cordon"]
)
def test_a_move_that_breaks_one_rule_is_declined_by_its_name(world: Any, how: str) -> None:
    small = world().run(3)
    assert isinstance(admit(small.store, ask("r2-std-02")), Admitted)
    verdict = admit(small.store, spoil(small, how))
    assert isinstance(verdict, Declined)
    assert verdict.rule == how
    assert verdict.why


def test_the_scheduler_chooses_among_machines_that_break_no_rule(world: Any) -> None:
    small = world().run(3)
    small.store.machines["r2-std-02"].rak = b""
    small.store.machines["r2-std-01"].activity = "activate"
    assert admit(small.store, ask()) == Admitted("r1-std-02")


def test_nowhere_to_go_is_declined_with_counts_by_rule(world: Any) -> None:
    small = world().run(3)
    small.store.machines["r2-std-02"].rak = b""
    small.store.machines["r2-std-01"].activity = "activate"
    small.store.cordon("r1-std-02", "drain")
    verdict = admit(small.store, ask())
    assert isinstance(verdict, Declined)
    assert verdict.why == "no machine can take it: activity 1, cordon 1, target 1, trust 1"


def test_a_realm_does_not_stand_in_its_own_way(world: Any) -> None:
    small = world(realms={"web": {"image": "web", "memory": "16MiB", "spread": "rack"}}).run(3)
    assert small.store.realms["web-001"].machine == "r1-std-01"
    assert admit(small.store, ask("r1-std-02")) == Admitted("r1-std-02")
    assert small.store.realms["web-001"].machine == "r1-std-01"


def test_a_smaller_profile_does_not_take_realms_of_a_larger_one(world: Any) -> None:
    small = world(
        profiles={
            "std": {"pes": 4, "memory": "256MiB", "firmware": "base"},
            "old": {"pes": 4, "memory": "256MiB", "firmware": "base", "ipa_bits": 42},
        },
        racks={"r1": {"machines": {"std": 1}}, "r2": {"machines": {"old": 1}}},
    ).run(3)
    realm = next(r for r in small.store.realms.values() if r.machine == "r1-std-01")
    verdict = admit(small.store, ask("r2-old-01", realm.name))
    assert isinstance(verdict, Declined)
    assert verdict.rule == "features"


@pytest.mark.parametrize(
    ("there", "rule", "says"),
    [({"edition": "2.0"}, "edition", "RMM 1.0"), ({"edition": "1.0"}, "", "")],
    ids=["another edition", "the same"],
)
def test_nothing_moves_between_editions(world: Any, there: dict[str, Any], rule: str, says: str) -> None:
    base = {"pes": 4, "memory": "256MiB", "firmware": "base"}
    small = world(
        profiles={"std": base, "other": {**base, **there}},
        racks={"r1": {"machines": {"std": 1}}, "r2": {"machines": {"other": 1}}},
    ).run(3)
    realm = next(r for r in small.store.realms.values() if r.machine == "r1-std-01")
    verdict = admit(small.store, ask("r2-other-01", realm.name))
    assert (verdict.rule if isinstance(verdict, Declined) else "") == rule
    assert says in (verdict.why if isinstance(verdict, Declined) else "")


def test_larger_realms_get_more_time(world: Any) -> None:
    big = {"image": "web", "memory": "128MiB"}
    cluster = world(realms={"web": {"image": "web", "memory": "16MiB"}, "big": big}).cluster
    assert cluster.control.order_timeout < patience_ns(cluster, "web") < patience_ns(cluster, "big")
