"""What a rollout cost and when it had done its work, from the trace of a run alone: integers in virtual ns.

The numbers are those of the question "how do I get a fix onto the whole fleet": how long was anyone down for it, how
long until half, 95 % and all machines run it, how many Realm-hours were spent on vulnerable machines meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Life, Line, lives
from orchestrator.report.availability import Cause, service

UPDATING: Final = frozenset({Cause.ACTIVATION, Cause.MIGRATION, Cause.REBOOT, Cause.RESTART})
"""Causes of downtime that the update itself brings; lost machines and expired leases are the faults' doing."""

AWAY: Final = frozenset({"evacuating", "rebooting"})
"""Phases in which a machine serves no Realm, or soon will not: others must have room for its Realms."""

SHARES: Final = (50, 95, 100)
"""Percent of the machines whose update is timed."""


class RolloutOutcome(Struct, frozen=True):
    """One rollout in one run. Times to a share count from the rollout's beginning; None: never within the run.

    `spare_places` is the largest number of Realms that had to be held elsewhere at one time, `unavailable` the largest
    number of machines that were down for the update at one time.
    """

    state: str
    machines: int
    updated: int
    downtime_ns: int
    downtime_faults_ns: int
    time_to_ns: tuple[int | None, ...]
    exposure_ns: int
    migrations: int
    restarts: int
    unavailable: int
    spare_places: int

    @property
    def complete(self) -> bool:
        """Whether every machine runs the release."""
        return self.updated == self.machines


def outcome(lines: Sequence[Line], end_ns: int, rollout: str = "rollout-1") -> RolloutOutcome | None:
    """The outcome of `rollout` in a trace that ends at `end_ns`; None when it never began."""
    start = next((line for line in lines if line.kind == "rollout.started" and line.what["rollout"] == rollout), None)
    if start is None:
        return None
    begin_ns, all_lives = start.at_ns, lives(lines)
    since = [line for line in lines if line.at_ns >= begin_ns]
    updated = _updated(lines, start.what["component"], start.what["version"])
    gaps = [gap for gap in service(lines, end_ns).gaps if gap.cause is not Cause.BRING_UP and gap.until_ns > begin_ns]
    own = sum(gap.duration_ns for gap in gaps if gap.cause in UPDATING)
    unavailable, spare = _displaced(lines, rollout, all_lives)
    return RolloutOutcome(
        state=_state(lines, rollout),
        machines=start.what["machines"],
        updated=len(updated),
        downtime_ns=own,
        downtime_faults_ns=sum(gap.duration_ns for gap in gaps) - own,
        time_to_ns=tuple(_time_to(share, start, sorted(updated.values())) for share in SHARES),
        exposure_ns=sum(_exposed(life, begin_ns, updated.get(life.machine, end_ns), end_ns) for life in all_lives),
        migrations=sum(line.kind == "migration.finished" and line.what["outcome"] == "moved" for line in since),
        restarts=sum(line.kind == "realm.restart" for line in since),
        unavailable=unavailable,
        spare_places=spare,
    )


def _updated(lines: Iterable[Line], component: str, version: str) -> dict[str, int]:
    """When each machine first ran the version."""
    first: dict[str, int] = {}
    for line in lines:
        updates = line.kind in ("firmware.activated", "firmware.booted")
        if updates and (line.what["component"], line.what["version"]) == (component, version):
            first.setdefault(line.source, line.at_ns)
    return first


def _time_to(share: int, start: Line, instants: Sequence[int]) -> int | None:
    needed = -(-start.what["machines"] * share // 100)
    return instants[needed - 1] - start.at_ns if needed <= len(instants) else None


def _exposed(life: Life, begin_ns: int, safe_ns: int, end_ns: int) -> int:
    """How long a Realm executed on a machine before that was safe."""
    until_ns = end_ns if life.until_ns is None else life.until_ns
    return max(0, min(until_ns, safe_ns, end_ns) - max(life.from_ns, begin_ns))


def _displaced(lines: Iterable[Line], rollout: str, all_lives: Sequence[Life]) -> tuple[int, int]:
    """Most machines away at one time, and most Realms that were on such machines when they were taken."""
    away: dict[str, int] = {}
    machines = places = 0
    for line in lines:
        if line.kind == "rollout.machine" and line.what["rollout"] == rollout:
            machine, phase = line.what["machine"], line.what["phase"]
            if phase in AWAY:
                here = sum(life.machine == machine and life.lasts_at(line.at_ns) for life in all_lives)
                away[machine] = max(here, away.get(machine, 0))
            else:
                away.pop(machine, None)
            machines, places = max(machines, len(away)), max(places, sum(away.values()))
    return machines, places


def _state(lines: Iterable[Line], rollout: str) -> str:
    state = "running"
    for line in lines:
        if line.kind in ("rollout.held", "rollout.finished", "rollout.waiting") and line.what["rollout"] == rollout:
            state = line.kind.removeprefix("rollout.")
    return state
