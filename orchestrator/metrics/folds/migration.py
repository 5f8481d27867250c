"""Migration sessions (modelled): how they end, how long they take, how long the Realm stood still."""

from __future__ import annotations

from orchestrator.chaos.history import Line
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.tally import Tally


class Migrations:
    """Open sessions by phase, and the blackout of the Realm that each holds."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._phases: dict[str, str] = {}
        self._moving: dict[tuple[str, int], int | None] = {}

    def handlers(self) -> Handlers:
        return {
            "migration.declined": self._declined,
            "migration.started": self._started,
            "migration.committed": self._committed,
            "migration.aborted": self._aborted,
            "migration.finished": self._finished,
            "realm.still": self._still,
            "realm.live": self._live,
            "machine.lost": self._machine_lost,
        }

    def _declined(self, line: Line) -> None:
        self._tally.add("migration_refusals_total", 1, line.what["rule"])

    def _started(self, line: Line) -> None:
        self._move(line, "open")
        self._moving[line.incarnation] = None

    def _committed(self, line: Line) -> None:
        self._move(line, "committed")

    def _aborted(self, line: Line) -> None:
        self._move(line, "aborting")

    def _finished(self, line: Line) -> None:
        self._move(line, "")
        self._moving.pop(line.incarnation, None)
        self._tally.add("migrations_total", 1, line.what["outcome"])
        self._tally.add("migration_sent_bytes_total", line.what["sent_bytes"])
        self._tally.observe("migration_duration_seconds", line.at_ns - line.what["opened_ns"])

    def _move(self, line: Line, phase: str) -> None:
        session = line.what["session"]
        was = self._phases.pop(session, None)
        if was is not None:
            self._tally.add("migrations_in_progress", -1, was)
        if phase:
            self._tally.add("migrations_in_progress", 1, phase)
            self._phases[session] = phase

    # -- blackout: from the Realm's last instant on the source to its first on either side ---------------------------

    def _still(self, line: Line) -> None:
        if line.incarnation in self._moving:
            self._moving[line.incarnation] = line.at_ns

    def _live(self, line: Line) -> None:
        still_ns = self._moving.get(line.incarnation)
        if still_ns is not None:
            self._tally.observe("migration_downtime_seconds", line.at_ns - still_ns)
            self._moving[line.incarnation] = None

    def _machine_lost(self, line: Line) -> None:
        """What died with its machine does not come back as this incarnation: its blackout is not a migration's."""
        for realm, incarnation in line.what["realms"]:
            self._moving.pop((realm, incarnation), None)
