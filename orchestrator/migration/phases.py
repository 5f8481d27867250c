"""Phases of a migration session as the control plane decides them: one table (modelled; there is no public Arm ABI).

The control plane takes one decision per session, commit or abort, and never takes it back. The target can run the
Realm only by `CommitImport`: as long as none was ordered the source may resume; once it was, the source never may,
whatever becomes of the target. That is single run (P1) and no needless loss (P3); the control plane is the witness.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.store import SessionPhase, SessionView

P = SessionPhase


class Event(StrEnum):
    """What happened in a session, as far as the control plane knows."""

    EXPORT_READY = "export-ready"
    IMPORT_READY = "import-ready"
    IMPORTED = "imported"
    FAILED = "failed"
    """An end refused an order or closed the session by itself."""
    SOURCE_LOST = "source-lost"
    """The source rebooted, or was silent past its last lease."""
    TARGET_LOST = "target-lost"
    DEADLINE = "deadline"
    CLOSED = "closed"
    """Both ends are through with the session, or gone."""


class Effect(StrEnum):
    """What follows."""

    NONE = "none"
    COMMIT = "commit"
    """Order the target to run the Realm: the one decision."""
    ABORT = "abort"
    """Order target to forget and source to resume: the one decision, the other way."""
    HAND_OVER = "hand-over"
    """The Realm is the target's; the source discards its copy."""
    GIVE_UP = "give-up"
    """The Realm went down with its new holder; the source discards its copy all the same."""
    FINISH = "finish"


TABLE: dict[tuple[SessionPhase, Event], tuple[SessionPhase, Effect]] = {
    (P.OPEN, Event.EXPORT_READY): (P.EXPORTED, Effect.NONE),
    (P.OPEN, Event.IMPORT_READY): (P.COMMITTED, Effect.COMMIT),
    (P.OPEN, Event.FAILED): (P.ABORTING, Effect.ABORT),
    (P.OPEN, Event.SOURCE_LOST): (P.ABORTING, Effect.ABORT),
    (P.OPEN, Event.TARGET_LOST): (P.ABORTING, Effect.ABORT),
    (P.OPEN, Event.DEADLINE): (P.ABORTING, Effect.ABORT),
    # everything was sent: the target may still be ready although the source is gone, so only the deadline ends this
    (P.EXPORTED, Event.IMPORT_READY): (P.COMMITTED, Effect.COMMIT),
    (P.EXPORTED, Event.FAILED): (P.ABORTING, Effect.ABORT),
    (P.EXPORTED, Event.TARGET_LOST): (P.ABORTING, Effect.ABORT),
    (P.EXPORTED, Event.DEADLINE): (P.ABORTING, Effect.ABORT),
    (P.COMMITTED, Event.IMPORTED): (P.DISCARDING, Effect.HAND_OVER),
    (P.COMMITTED, Event.FAILED): (P.DISCARDING, Effect.GIVE_UP),
    (P.COMMITTED, Event.TARGET_LOST): (P.DISCARDING, Effect.GIVE_UP),
    (P.DISCARDING, Event.CLOSED): (P.DONE, Effect.FINISH),
    (P.ABORTING, Event.CLOSED): (P.DONE, Effect.FINISH),
}
"""(phase, event) -> (next phase, effect). A pair that is absent moves nothing and is listed in `IGNORED`."""

IGNORED: frozenset[tuple[SessionPhase, Event]] = frozenset(
    (phase, event) for phase in SessionPhase for event in Event if (phase, event) not in TABLE
)

TERMINAL: frozenset[SessionPhase] = frozenset({P.DONE})

UNDECIDED: frozenset[SessionPhase] = frozenset({P.OPEN, P.EXPORTED})
"""Phases before the one decision; only here the deadline counts."""


class PhaseOrder(StrEnum):
    """Orders that a phase repeats until their end has answered or is lost."""

    COMMIT = "commit-import"
    ABORT = "abort-import"
    RESUME = "resume-export"
    DISCARD = "discard-export"


ORDERS: dict[SessionPhase, tuple[PhaseOrder, ...]] = {
    P.COMMITTED: (PhaseOrder.COMMIT,),
    P.DISCARDING: (PhaseOrder.DISCARD,),
    P.ABORTING: (PhaseOrder.ABORT, PhaseOrder.RESUME),
}
"""What each phase repeats; the controller sends by it, and the explorer walks by it."""


def through(phase: SessionPhase, source_over: bool, target_over: bool) -> bool:
    """Whether nothing is left to order: each end that this phase orders has answered or is lost."""
    return source_over and (target_over or phase is P.DISCARDING)


def move(session: SessionView, event: Event) -> Effect | None:
    """Move the session along the table; None when the event means nothing in its phase."""
    entry = TABLE.get((session.phase, event))
    if entry is None:
        return None
    session.phase, effect = entry
    return effect
