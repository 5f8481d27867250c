"""Changed cluster files: what a fleet takes over while it runs, and what it refuses, by name and all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ActRefused, Fleet, Spec, open_fleet
from orchestrator.reconcile import reconcile, sentences
from orchestrator.replay import replay_run


def lab() -> Spec:
    spec = Spec("lab", memory="2GiB", seed=3, duration="5min").rack("r1", 2).rack("r2", 1, power="b")
    return spec.realms("web", count=2, memory="16MiB")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with open_fleet(lab(), out=tmp_path / "run") as made:
        made.until(lambda fleet: fleet.realms.states == {"serving": 2}, within="30s")
        yield made


def test_a_new_kind_with_a_new_image_is_attested_and_gets_its_secret(fleet: Fleet) -> None:
    changed = lab().set("images.api-v1", {"version": 7, "size": "128KiB"})
    changed.realms("api", count=2, image="api-v1", memory="32MiB", secret="api-key")
    fleet.apply(changed)
    fleet.until(lambda fleet: fleet.realms.where(kind="api").states == {"serving": 2}, within="1min")
    results = fleet.finish(after="1min")
    assert results.passed, results.verdicts
    released = [line.what["resource"] for line in results.lines if line.kind == "secret.released"]
    assert released.count("realmfleet/secret/api-key") == 2
    again = replay_run(results.path)
    assert again.same, again.difference


def test_a_new_release_can_be_rolled_out_and_what_it_changes_is_trusted(fleet: Fleet) -> None:
    with pytest.raises(ActRefused, match=r"no release rmm-1\.0\.1"):
        fleet.rollout("rmm-1.0.1")
    fleet.apply(lab().release("rmm-1.0.1", rmm="1.0.1"))
    fleet.rollout("rmm-1.0.1", waves=["100%"]).wait("5min")
    assert fleet.machines.where(rmm="1.0.1").states == {"admitted": 3}
    fleet.realms["web-001"].migrate()
    results = fleet.finish(after="2min")
    assert results.passed, results.verdicts
    assert results.attestations["passed"].all()
    assert replay_run(results.path).same


def test_counts_and_kinds_come_and_go(fleet: Fleet) -> None:
    fleet.apply(lab().set("realms.web.count", 4))
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 4}, within="1min")
    changed = lab().realms("db", memory="16MiB")
    del changed.data["realms"]["web"]
    fleet.apply(changed)
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 1, "stopped": 4}, within="1min")
    assert fleet.realms.where(state="serving").names == ["db-001"]


def test_the_release_policy_may_be_raised_and_holds_for_the_next_evidence(fleet: Fleet) -> None:
    fleet.apply(lab().set("attestation", {"required_security_version": 2, "retries": 0}))
    fleet.launch("web", 1)
    fleet.until(lambda fleet: fleet.realms["web-003"].state == "failed", within="2min")
    assert fleet.realms.where(kind="web").states == {"failed": 1, "serving": 2}


def test_a_kinds_placement_rule_holds_for_realms_placed_from_then_on(fleet: Fleet) -> None:
    fleet.apply(lab().set("realms.web.spread", "rack"))
    fleet.launch("web", 1)
    fleet.advance("20s")
    assert fleet.realms["web-003"].state == "wanted"
    fleet.apply(lab().set("realms.web.count", 3))
    fleet.until(lambda fleet: fleet.realms.states == {"serving": 3}, within="1min")


def test_applying_the_same_file_again_changes_nothing(fleet: Fleet) -> None:
    before = fleet.cluster
    fleet.apply(lab())
    assert fleet.cluster is before
    assert fleet.finish().lines[-1].what.get("what") in (None, "nothing to change")


REFUSED: dict[str, tuple[Callable[[Spec], Any], str]] = {
    "racks": (lambda spec: spec.rack("r3", 1), "racks.r3: only a new run"),
    "machines": (lambda spec: spec.set("profiles.std.memory", "4GiB"), "profiles.std.memory: only a new run"),
    "control": (lambda spec: spec.set("control.lease", "12s"), "control.lease: only a new run"),
    "a kind's memory": (lambda spec: spec.set("realms.web.memory", "32MiB"), "realms.web.memory: Realms of this kind"),
    "a used image": (lambda spec: spec.set("images.image-v1.version", 2), "images.image-v1.version: Realms of web are"),
    "a signed release": (
        lambda spec: spec.set("firmware.releases.fw-1.components.RMM.version", "1.0.5"),
        "firmware.releases.fw-1.components.RMM.version: it is signed",
    ),
    "signers": (lambda spec: spec.set("firmware.signers", ["vendor", "me"]), "firmware.signers: machines were made"),
    "the verifier's workers": (lambda spec: spec.set("attestation.servers", 3), "attestation.servers: only a new run"),
    "faults": (
        lambda spec: spec.set("faults", [{"fault": "rmm.panic", "at": "4min", "for": "1s", "select": {"rack": "r1"}}]),
        "faults: a fault is injected now: `realmfleet fault inject`",
    ),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_cannot_change_live_is_refused_by_name(fleet: Fleet, what: str) -> None:
    change, words = REFUSED[what]
    before = fleet.cluster
    with pytest.raises(ActRefused) as refused:
        fleet.apply(change(lab().realms("more", memory="16MiB")))
    assert words in refused.value.message
    assert refused.value.rule == "conflict"
    assert fleet.cluster is before
    assert fleet.realms.names == ["web-001", "web-002"]


def test_everything_that_is_refused_is_said_at_once() -> None:
    changed = lab().rack("r3", 1).set("control.lease", "12s").set("realms.web.count", 5)
    asked = reconcile(lab().cluster(), changed.cluster(), {"web": 2})
    assert [line.partition(":")[0] for line in asked.refused] == ["control.lease", "racks.r3"]
    assert list(sentences(asked.changes))[-1] == "realms.web.count: 2 to 5"


def test_a_file_is_compared_with_what_runs_not_with_what_was_written() -> None:
    """An operator scaled to four; the file still says two."""
    asked = reconcile(lab().cluster(), lab().cluster(), {"web": 4})
    assert list(sentences(asked.changes)) == ["realms.web.count: 4 to 2"]
    assert asked.counts == {"web": 2}


def test_a_file_that_is_wrong_is_refused_whole(fleet: Fleet) -> None:
    from orchestrator import inputs as i

    with pytest.raises(ActRefused, match="did you mean 'count'") as refused:
        fleet.ask(i.ApplyFile(lab().text.replace('"count"', '"cuont"')))
    assert refused.value.rule == "invalid"
