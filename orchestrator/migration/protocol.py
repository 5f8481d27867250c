"""The hand-off as the explorer walks it: the implemented tables, and variants with a known flaw (modelled).

A `Mode` holds the very tables that machines and control plane run by; the variants change single rows of them. One of
them has no arbiter (as Intel TDX: the start token alone decides), one lets the operator force the source to resume, one
lets the destination's host abort what is ready. A checker that does not find their flaws would prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from cca_machine.migration.tables import (
    DESTINATION,
    SOURCE,
    DestinationEffect,
    DestinationInput,
    DestinationState,
    SourceEffect,
    SourceInput,
    SourceState,
)
from orchestrator.migration.phases import TABLE, Effect, Event
from orchestrator.store import SessionPhase

SourceTable: TypeAlias = Mapping[tuple[SourceState, SourceInput], tuple[SourceState, SourceEffect]]
DestinationTable: TypeAlias = Mapping[
    tuple[DestinationState, DestinationInput], tuple[DestinationState, DestinationEffect]
]
PhaseTable: TypeAlias = Mapping[tuple[SessionPhase, Event], tuple[SessionPhase, Effect]]


class Mode(Struct, frozen=True):
    """A protocol: its tables, and who may give which order.

    `obeyed` says that a relinquished source resumes on the control plane's order; `abort_bundle` that it does on one of
    a destination that gave up; `host_aborts` are the states in which the destination's host may end the session.
    """

    name: str
    what: str
    source: SourceTable
    destination: DestinationTable
    phases: PhaseTable
    obeyed: bool = True
    abort_bundle: bool = False
    host_aborts: tuple[DestinationState, ...] = (DestinationState.HELLO, DestinationState.RECEIVING)


_ALONE: DestinationTable = {
    **DESTINATION,
    (DestinationState.RECEIVING, DestinationInput.COMPLETE): (DestinationState.LIVE, DestinationEffect.RUN),
}
"""The start token alone lets the destination run."""

_WATCHING: PhaseTable = {
    **{key: row for key, row in TABLE.items() if key[1] is not Event.IMPORT_READY},
    **{
        (phase, Event.IMPORTED): (SessionPhase.DISCARDING, Effect.HAND_OVER)
        for phase in (SessionPhase.OPEN, SessionPhase.EXPORTED, SessionPhase.ABORTING)
    },
}
"""A control plane that decides nothing and believes the destination."""

WITNESSED = Mode("witnessed", "the implemented mode: the control plane decides once", SOURCE, DESTINATION, TABLE)

MODES: tuple[Mode, ...] = (
    WITNESSED,
    Mode(
        "two-party",
        "as Intel TDX: the start token decides; only an abort of the destination lets the source resume",
        SOURCE,
        _ALONE,
        _WATCHING,
        obeyed=False,
        abort_bundle=True,
    ),
    Mode(
        "forced-resume",
        "two parties, and an operator who orders the source to resume when the destination is not heard",
        SOURCE,
        _ALONE,
        _WATCHING,
        abort_bundle=True,
    ),
    Mode(
        "ready-abortable",
        "witnessed, but the destination's host may abort what is ready",
        SOURCE,
        DESTINATION,
        TABLE,
        host_aborts=(DestinationState.HELLO, DestinationState.RECEIVING, DestinationState.READY),
    ),
)
