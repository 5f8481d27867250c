"""Phases of a migration session as the control plane sees them: one table (modelled; there is no public Arm ABI).

The control plane chooses the pair, sets the deadline and may ask the lineage witness for an end; it decides nothing.
What was decided it learns from the witness alone, never from the life or death of either machine: so a session whose
control plane died, or raced with another, ends the same way (properties P1, P3 and P7 of the migration reference).
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.store import SessionPhase, SessionView

P = SessionPhase


class Event(StrEnum):
    """What happened in a session, as far as the control plane knows."""

    OFFERED = "offered"
    """The witness lets the session begin."""
    HELD = "held"
    """The witness does not: another session is on, or somebody else holds the Realm."""
    EXPORT_READY = "export-ready"
    GRANTED = "granted"
    ABORTED = "aborted"
    IMPORTED = "imported"
    FAILED = "failed"
    """An end refused an order or closed the session by itself."""
    SOURCE_LOST = "source-lost"
    """The source rebooted, or was silent past its last lease."""
    TARGET_LOST = "target-lost"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    """An operator wants the move ended."""
    CLOSED = "closed"
    """Both ends are through with the session, or gone."""


class Effect(StrEnum):
    """What follows."""

    NONE = "none"
    OPEN_ENDS = "open-ends"
    ASK_END = "ask-end"
    """Ask the witness to end the session."""
    COMMIT = "commit"
    """The Realm is bound to the target."""
    ABORT = "abort"
    """The Realm stays the source's."""
    HAND_OVER = "hand-over"
    """The target runs the Realm."""
    GIVE_UP = "give-up"
    """The Realm went down with its new holder."""
    FINISH = "finish"


TABLE: dict[tuple[SessionPhase, Event], tuple[SessionPhase, Effect]] = {
    (P.OPENING, Event.OFFERED): (P.OPEN, Effect.OPEN_ENDS),
    (P.OPENING, Event.HELD): (P.ABORTED, Effect.ABORT),
    (P.OPEN, Event.EXPORT_READY): (P.EXPORTED, Effect.NONE),
    **{
        (phase, event): (P.WITHDRAWING, Effect.ASK_END)
        for phase in (P.OPENING, P.OPEN)
        for event in (Event.FAILED, Event.SOURCE_LOST, Event.TARGET_LOST, Event.DEADLINE, Event.CANCELLED)
    },
    # everything was sent: the target may be ready although the source is gone, so that is no reason to end it
    **{
        (P.EXPORTED, event): (P.WITHDRAWING, Effect.ASK_END)
        for event in (Event.FAILED, Event.TARGET_LOST, Event.DEADLINE, Event.CANCELLED)
    },
    # the target's end is news to the witness even if it was asked before: after it, it need not wait any longer
    (P.WITHDRAWING, Event.TARGET_LOST): (P.WITHDRAWING, Effect.ASK_END),
    **{(phase, Event.GRANTED): (P.GRANTED, Effect.COMMIT) for phase in (P.OPENING, P.OPEN, P.EXPORTED, P.WITHDRAWING)},
    **{(phase, Event.ABORTED): (P.ABORTED, Effect.ABORT) for phase in (P.OPENING, P.OPEN, P.EXPORTED, P.WITHDRAWING)},
    (P.GRANTED, Event.IMPORTED): (P.HANDING_OVER, Effect.HAND_OVER),
    (P.GRANTED, Event.FAILED): (P.HANDING_OVER, Effect.GIVE_UP),
    (P.GRANTED, Event.TARGET_LOST): (P.HANDING_OVER, Effect.GIVE_UP),
    (P.HANDING_OVER, Event.CLOSED): (P.DONE, Effect.FINISH),
    (P.ABORTED, Event.CLOSED): (P.DONE, Effect.FINISH),
}
"""(phase, event) -> (next phase, effect). A pair that is absent moves nothing and is listed in `IGNORED`."""

IGNORED: frozenset[tuple[SessionPhase, Event]] = frozenset(
    (phase, event) for phase in SessionPhase for event in Event if (phase, event) not in TABLE
)

TERMINAL: frozenset[SessionPhase] = frozenset({P.DONE})

UNDECIDED: frozenset[SessionPhase] = frozenset({P.OPENING, P.OPEN, P.EXPORTED, P.WITHDRAWING})
"""Phases in which the witness may still decide either way."""

TIMED: frozenset[SessionPhase] = frozenset({P.OPENING, P.OPEN, P.EXPORTED})
"""Phases in which the deadline counts."""


class PhaseOrder(StrEnum):
    """Orders that a phase repeats until they are answered or their end is lost."""

    OPEN_LINEAGE = "open-lineage"
    END_SESSION = "end-session"
    ASK_LINEAGE = "ask-lineage"
    OPEN_IMPORT = "open-import"
    OPEN_EXPORT = "open-export"
    SETTLE_SOURCE = "settle-source"
    SETTLE_TARGET = "settle-target"


ORDERS: dict[SessionPhase, tuple[PhaseOrder, ...]] = {
    P.OPENING: (PhaseOrder.OPEN_LINEAGE,),
    P.OPEN: (PhaseOrder.OPEN_IMPORT, PhaseOrder.OPEN_EXPORT, PhaseOrder.ASK_LINEAGE),
    P.EXPORTED: (PhaseOrder.ASK_LINEAGE,),
    P.WITHDRAWING: (PhaseOrder.END_SESSION,),
    P.GRANTED: (PhaseOrder.SETTLE_TARGET, PhaseOrder.SETTLE_SOURCE),
    P.HANDING_OVER: (PhaseOrder.SETTLE_SOURCE,),
    P.ABORTED: (PhaseOrder.SETTLE_TARGET, PhaseOrder.SETTLE_SOURCE),
}
"""What each phase repeats; the controller sends by it, and the explorer walks by it."""


def through(phase: SessionPhase, source_over: bool, target_over: bool) -> bool:
    """Whether nothing is left to order: each end that this phase orders has answered or is lost."""
    return source_over and (target_over or phase is P.HANDING_OVER)


def move(session: SessionView, event: Event) -> Effect | None:
    """Move the session along the table; None when the event means nothing in its phase."""
    entry = TABLE.get((session.phase, event))
    if entry is None:
        return None
    session.phase, effect = entry
    return effect
