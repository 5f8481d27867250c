"""From wanting a Realm to its service: stages of each bring-up, beliefs about Realms, builds and their RMI calls."""

from __future__ import annotations

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.metrics.fleet_facts import FleetFacts
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally
from orchestrator.store import RealmState

_RESTARTS = (
    ("migration", "migration"),
    ("rebooted", "rebooted"),
    ("rmm-dead", "rmm-dead"),
    ("silent", "silent"),
    ("no longer", "vanished"),
)
"""Words in the `why` of a restart, the first that fits counts."""


class _Attempt(Struct):
    """One incarnation on its way into service: instants in virtual ns."""

    wanted_ns: int
    since_ns: int


class BringUp:
    """Stages: placed until built, built until its verdict, verdict until it serves, and all from being wanted."""

    def __init__(self, tally: Tally, facts: FleetFacts) -> None:
        self._tally = tally
        self._states = dict.fromkeys(facts.realms, RealmState.AWAITED)
        self._attempts: dict[tuple[str, int], _Attempt] = {}
        tally.add("realms", len(self._states), RealmState.AWAITED)

    def handlers(self) -> Handlers:
        return {
            "realm.state": self._changed,
            "realm.wanted": self._wanted,
            "realm.placed": self._placed,
            "realm.built": self._built,
            "rmi.calls": self._called,
            "realm.verdict": self._judged,
            "realm.live": self._live,
            "realm.restart": self._restart,
            "realm.stray": self._stray,
            "command.refused": self._refused,
        }

    def _changed(self, line: Line) -> None:
        realm, state = line.what["realm"], RealmState(line.what["state"])
        was = self._states.get(realm)
        if was is not None:
            self._tally.add("realms", -1, was)
        self._tally.add("realms", 1, state)
        self._states[realm] = state

    def _wanted(self, line: Line) -> None:
        realm, incarnation = line.incarnation
        self._attempts.pop((realm, incarnation - 1), None)
        self._attempts[line.incarnation] = _Attempt(line.at_ns, line.at_ns)

    def _placed(self, line: Line) -> None:
        attempt = self._attempts.get(line.incarnation)
        if attempt is not None:
            attempt.since_ns = line.at_ns

    def _built(self, line: Line) -> None:
        self._tally.add("realm_builds_total")
        self._stage(line, "build", line.at_ns)

    def _called(self, line: Line) -> None:
        for command, count in line.what["calls"].items():
            self._tally.add("rmi_calls_total", count, command)

    def _judged(self, line: Line) -> None:
        if line.what["passed"]:
            self._stage(line, "attest", line.what["replied_ns"])

    def _live(self, line: Line) -> None:
        if not line.what["serving"]:
            return
        self._stage(line, "release", line.at_ns)
        attempt = self._attempts.pop(line.incarnation, None)
        if attempt is not None:
            self._tally.observe("realm_bring_up_seconds", line.at_ns - attempt.wanted_ns, "total")

    def _stage(self, line: Line, stage: str, at_ns: int) -> None:
        attempt = self._attempts.get(line.incarnation)
        if attempt is not None:
            self._tally.observe("realm_bring_up_seconds", max(at_ns - attempt.since_ns, 0), stage)
            attempt.since_ns = at_ns

    def _restart(self, line: Line) -> None:
        why = line.what["why"]
        reason = next((reason for word, reason in _RESTARTS if word in why), why)
        self._tally.add("realm_restarts_total", 1, reason)

    def _stray(self, line: Line) -> None:
        self._tally.add("stray_copies_total")

    def _refused(self, line: Line) -> None:
        self._tally.add("commands_refused_total", 1, line.what["command"])
        call, colon, status = line.what["code"].partition(": ")
        if colon and call.startswith("RMI_"):
            self._tally.add("rmi_refusals_total", 1, call, status.partition("(")[0])
