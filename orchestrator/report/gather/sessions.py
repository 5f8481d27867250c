"""Migrations (modelled), session by session: rounds, bytes, dirty rate, downtime, verdicts, and why each ended so."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line

MOST: Final = 60
"""Sessions that are told in full; those that did not move their Realm come first, then the longest downtimes."""
MOST_ROUNDS: Final = 40


class Round(Struct, frozen=True):
    """A round of pre-copy, as the source tells it."""

    number: int
    at_ns: int
    sent_bytes: int
    lasts_ns: int
    dirty_bytes: int
    throttle_ppm: int


class Session(Struct):
    """One session; `downtime_ns` runs from the pause at the source to where the Realm runs again; None: never."""

    session: str
    realm: str
    incarnation: int
    source: str
    target: str
    why: str
    opened_ns: int
    ended_ns: int | None = None
    outcome: str = "open"
    abort: str = ""
    committed_ns: int | None = None
    sent_bytes: int = 0
    rounds: list[Round] = []
    round_count: int = 0
    dirty_bytes_per_s: int = 0
    rest_bytes: int = 0
    paused_for: str = ""
    still_ns: int | None = None
    downtime_ns: int | None = None
    states: dict[str, str] = {}
    """Last state by role."""
    verdicts: list[tuple[int, str, str]] = []
    """What was appraised for it: instant, by whom, and what came out."""

    @property
    def moved(self) -> bool:
        return self.outcome == "moved"


class Sessions:
    """Sessions by name while they are open; of finished ones those most worth telling, and counts of all."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.declined: Counter[tuple[str, str]] = Counter()
        self.sent_bytes = 0
        self.count = 0
        self._open: dict[str, Session] = {}
        self._moving: dict[tuple[str, int], Session] = {}
        self._told: list[Session] = []

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "migration.started":
                self._start(line)
            case "migration.declined":
                self.declined[what["rule"], what["why"]] += 1
            case "realm.still" | "realm.live":
                self._stands(line)
            case "realm.verdict":
                session = self._moving.get(line.incarnation)
                if session is not None and session.committed_ns is not None:
                    told = "passed" if what["passed"] else f"refused: {what['reason']}"
                    session.verdicts.append((line.at_ns, "verifier, after the move", told))
            case _:
                session = self._open.get(what["session"])
                if session is not None:
                    self._step(session, line)

    def _start(self, line: Line) -> None:
        what = line.what
        session = Session(
            what["session"],
            what["realm"],
            what["incarnation"],
            what["source"],
            what["target"],
            what["why"],
            line.at_ns,
            rounds=[],
            states={},
            verdicts=[],
        )
        self.count += 1
        self._open[session.session] = self._moving[line.incarnation] = session

    def _step(self, session: Session, line: Line) -> None:
        what = line.what
        match line.kind:
            case "migration.step":
                session.states[what["role"]] = what["state"]
                session.sent_bytes = max(session.sent_bytes, what["sent_bytes"])
            case "migration.round":
                session.round_count += 1
                if len(session.rounds) < MOST_ROUNDS:
                    session.rounds.append(
                        Round(
                            what["number"],
                            line.at_ns,
                            what["sent_bytes"],
                            what["lasts_ns"],
                            what["dirty_bytes"],
                            what["throttle_ppm"],
                        )
                    )
            case "migration.paused":
                session.dirty_bytes_per_s, session.rest_bytes = what["dirty_bytes_per_s"], what["rest_bytes"]
                session.paused_for = what["why"]
            case "migration.committed":
                session.committed_ns = line.at_ns
                session.verdicts.append((line.at_ns, "control plane", "committed: only the target may run it"))
            case "migration.aborted":
                session.abort = what["why"]
                session.verdicts.append((line.at_ns, "control plane", f"aborted: {what['why']}"))
            case "migration.finished":
                self._finish(session, line)

    def _finish(self, session: Session, line: Line) -> None:
        what = line.what
        session.ended_ns, session.outcome = line.at_ns, what["outcome"]
        session.sent_bytes = max(session.sent_bytes, what["sent_bytes"])
        self.sent_bytes += session.sent_bytes
        self.outcomes[session.outcome] += 1
        del self._open[session.session]
        if self._moving.get(line.incarnation) is session and session.moved is False:
            del self._moving[line.incarnation]
        self._told.append(session)
        if len(self._told) > 4 * MOST:
            self._told = sorted(self._told, key=_worth)[:MOST]

    def _stands(self, line: Line) -> None:
        """From the first instant at which the Realm stands still to the next at which it runs, wherever that is."""
        session = self._moving.get(line.incarnation)
        if session is None or session.downtime_ns is not None:
            if session is not None and line.kind == "realm.still":
                del self._moving[line.incarnation]  # what comes now is another story
            return
        if line.kind == "realm.still":
            session.still_ns = session.still_ns or line.at_ns
        elif session.still_ns is not None:
            session.downtime_ns = line.at_ns - session.still_ns

    def told(self) -> list[Session]:
        """The sessions to tell in full, by when they began; those still open among them."""
        every = sorted([*self._told, *self._open.values()], key=_worth)[:MOST]
        return sorted(every, key=lambda session: (session.opened_ns, session.session))


def _worth(session: Session) -> tuple[int, int, str]:
    rank = {"moved": 2, "open": 1}.get(session.outcome, 0)
    return (rank, -(session.downtime_ns or 0), session.session)


KINDS: Final = (
    "migration.started", "migration.declined", "migration.step", "migration.round", "migration.paused",
    "migration.committed", "migration.aborted", "migration.finished", "realm.still", "realm.live", "realm.verdict",
)  # fmt: skip
