"""The hand-off as the explorer walks it: the implemented tables, and variants with a known flaw (modelled).

A `Mode` holds the very tables that machines, witness and control plane run by; the variants change single rows of them.
One has no witness (as Intel TDX: the start token alone decides), one lets an operator force the source to resume, one
lets the destination's host abort what is ready, one has a witness that decides twice. A checker that does not find
their flaws would prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from cca_machine.migration.tables import (
    DESTINATION,
    SOURCE,
    WITNESS,
    DestinationEffect,
    DestinationInput,
    DestinationState,
    SourceEffect,
    SourceInput,
    SourceState,
    WitnessEffect,
    WitnessInput,
    WitnessState,
)
from orchestrator.migration.phases import TABLE, Effect, Event
from orchestrator.store import SessionPhase

SourceTable: TypeAlias = Mapping[tuple[SourceState, SourceInput], tuple[SourceState, SourceEffect]]
DestinationTable: TypeAlias = Mapping[
    tuple[DestinationState, DestinationInput], tuple[DestinationState, DestinationEffect]
]
WitnessTable: TypeAlias = Mapping[tuple[WitnessState, WitnessInput], tuple[WitnessState, WitnessEffect]]
PhaseTable: TypeAlias = Mapping[tuple[SessionPhase, Event], tuple[SessionPhase, Effect]]


class Mode(NamedTuple):
    """A protocol: its tables, and what hosts, operators and the witness may do beyond them.

    `forced`: an operator may let a relinquished source run again; `equivocates`: the witness forgets that it decided.
    """

    name: str
    what: str
    source: SourceTable = SOURCE
    destination: DestinationTable = DESTINATION
    witness: WitnessTable = WITNESS
    phases: PhaseTable = TABLE
    witnessed: bool = True
    forced: bool = False
    equivocates: bool = False


_ALONE: DestinationTable = {
    **DESTINATION,
    (DestinationState.STATE_IMPORT, DestinationInput.COMPLETE): (DestinationState.LIVE, DestinationEffect.RUN),
}
"""The start token alone lets the destination run."""

_WATCHING: PhaseTable = {
    **TABLE,
    **{
        (phase, Event.IMPORTED): (SessionPhase.HANDING_OVER, Effect.HAND_OVER)
        for phase in (SessionPhase.OPEN, SessionPhase.EXPORTED, SessionPhase.WITHDRAWING, SessionPhase.ABORTED)
    },
}
"""A control plane without a witness: it believes the destination."""

_ABORTABLE: DestinationTable = {
    **DESTINATION,
    (DestinationState.READY, DestinationInput.GIVE_UP): (DestinationState.FAILED, DestinationEffect.FAIL),
}
"""The destination's host may end what is ready."""

WITNESSED = Mode("witnessed", "the implemented mode: a lineage witness decides once")

MODES: tuple[Mode, ...] = (
    WITNESSED,
    Mode(
        "two-party",
        "as Intel TDX: the start token decides; only an abort bundle of the destination lets the source resume",
        destination=_ALONE,
        phases=_WATCHING,
        witnessed=False,
    ),
    Mode(
        "forced-resume",
        "two parties, and an operator who lets the source resume when the destination is not heard",
        destination=_ALONE,
        phases=_WATCHING,
        witnessed=False,
        forced=True,
    ),
    Mode("ready-abortable", "witnessed, but the destination's host may abort what is ready", destination=_ABORTABLE),
    Mode("equivocating", "a witness that decides a second time when it is asked a second time", equivocates=True),
)
