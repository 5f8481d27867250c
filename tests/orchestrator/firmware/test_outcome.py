"""The numbers of a rollout, from a trace written by hand."""

from __future__ import annotations

from typing import Any

from orchestrator.chaos.history import Line
from orchestrator.firmware.outcome import outcome

S = 1_000_000_000


class Story:
    """Lines at instants in seconds."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def tell(self, at_s: float, source: str, kind: str, **what: Any) -> Story:
        self.lines.append(Line(int(at_s * S), kind, len(self.lines), 3, source, what))
        return self

    def live(self, at_s: float, machine: str, realm: str, incarnation: int = 1, why: str = "secret") -> Story:
        return self.tell(at_s, machine, "realm.live", realm=realm, incarnation=incarnation, serving=True, why=why)

    def still(self, at_s: float, machine: str, realm: str, why: str, incarnation: int = 1) -> Story:
        return self.tell(at_s, machine, "realm.still", realm=realm, incarnation=incarnation, served=0, why=why)

    def moved(self, at_s: float, machine: str, phase: str) -> Story:
        fields = {"rollout": "rollout-1", "machine": machine, "phase": phase}
        return self.tell(at_s, "control", "rollout.machine", **fields)


def two_machines() -> Story:
    """a and b serve one Realm each from 0 s; the rollout begins at 100 s."""
    story = Story()
    for machine, realm in (("a", "x"), ("b", "y")):
        story.tell(0, "control", "realm.wanted", realm=realm)
        story.live(0, machine, realm)
    fields = {"rollout": "rollout-1", "component": "RMM", "version": "2.0.0", "machines": 2}
    return story.tell(100, "control", "rollout.started", **fields)


def activated(story: Story, at_s: float, machine: str, kind: str = "firmware.activated") -> Story:
    return story.tell(at_s, machine, kind, component="RMM", version="2.0.0", pause_ns=0)


def test_shares_are_timed_from_the_beginning_and_none_is_what_never_came() -> None:
    story = activated(two_machines(), 130, "a")
    found = outcome(story.lines, 1000 * S)
    assert found is not None
    assert (found.time_to_ns, found.updated, found.complete) == ((30 * S, None, None), 1, False)
    found = outcome(activated(story, 160, "b", "firmware.booted").lines, 1000 * S)
    assert found is not None
    assert (found.time_to_ns, found.complete) == ((30 * S, 60 * S, 60 * S), True)


def test_exposure_is_realm_time_on_machines_that_do_not_run_the_fix_yet() -> None:
    story = activated(activated(two_machines(), 130, "a"), 160, "b")
    found = outcome(story.lines, 1000 * S)
    assert found is not None
    assert found.exposure_ns == (30 + 60) * S


def test_a_realm_that_moves_to_a_fixed_machine_is_no_longer_exposed() -> None:
    story = activated(two_machines(), 110, "a")
    story.still(120, "b", "y", "migration").live(121, "a", "y", why="migration")
    found = outcome(story.lines, 200 * S)
    assert found is not None
    assert found.exposure_ns == (10 + 20) * S
    assert (found.downtime_ns, found.downtime_faults_ns) == (1 * S, 0)


def test_downtime_of_the_update_and_of_faults_are_kept_apart() -> None:
    story = two_machines().still(110, "a", "x", "reboot")
    story.live(113, "b", "x", incarnation=2)
    story.still(120, "b", "y", "lease-ended").live(140, "b", "y", why="lease-renewed")
    found = outcome(story.lines, 200 * S)
    assert found is not None
    assert (found.downtime_ns, found.downtime_faults_ns) == (3 * S, 20 * S)


def test_machines_and_realm_places_are_counted_where_they_are_away_together() -> None:
    story = two_machines()
    story.moved(110, "a", "draining").moved(111, "a", "rebooting").moved(112, "b", "rebooting")
    story.moved(150, "a", "appraising").moved(160, "b", "appraising")
    found = outcome(story.lines, 200 * S)
    assert found is not None
    assert (found.unavailable, found.spare_places) == (2, 2)


def test_a_rollout_that_never_began_has_no_outcome() -> None:
    assert outcome(Story().lines, S) is None
