"""The state table of live firmware activation.

Every pair of state and input stands in exactly one of three tables: `TRANSITIONS` (what happens), `REFUSALS` (the
status that the caller gets, nothing changes) and `IMPOSSIBLE` (the agent never makes this input in this state).
`advance` is the only way to change the state.
Source: TF-A services/std_svc/lfa/lfa_main.c; where its flags leave a hole, the row says what was chosen (modelled).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from cca_machine.abi.lfa import LfaStatus
from cca_machine.monitor.state import Activation, LfaState


class LfaInput(StrEnum):
    """What can happen to an activation. `.._OTHER` names a component that is not the record's; IDLE has none."""

    PRIME = "prime"
    PRIME_OTHER = "prime-other"
    LOAD_AGAIN = "load-again"
    LOAD_DONE = "load-done"
    LOAD_FAILED = "load-failed"
    ACTIVATE = "activate"
    ACTIVATE_SKIP = "activate-skip"
    ACTIVATE_OTHER = "activate-other"
    NOTIFY_FAILED = "notify-failed"
    LAST_ARRIVED = "last-arrived"
    STEP_AGAIN = "step-again"
    STEP_DONE = "step-done"
    STEP_FAILED = "step-failed"
    CANCEL = "cancel"
    CANCEL_OTHER = "cancel-other"


class LfaEffect(StrEnum):
    """What a transition makes the agent do."""

    LOAD_FRESH = "load-fresh"
    """Bind the staged image by its hash and load from its start."""
    LOAD_ON = "load-on"
    """Load the next part of the bound image."""
    LOAD_BESIDE = "load-beside"
    """Authenticate the staged image of another component and forget about it."""
    HOLD = "hold"
    """Keep the calling PE in the pen."""
    STEP = "step"
    """Run the component's activator on the calling PE."""
    RELEASE = "release"
    """Let every PE out of the pen with the status of this call."""
    ABANDON = "abandon"
    """Let every PE out of the pen with ACTIVATION_FAILED, and forget the record."""
    FORGET = "forget"
    """Forget the record."""
    NOTHING = "nothing"


class Row(NamedTuple):
    """Where a transition leads and what it does."""

    state: LfaState
    effect: LfaEffect


_S, _I, _E = LfaState, LfaInput, LfaEffect

TRANSITIONS: dict[tuple[LfaState, LfaInput], Row] = {
    (_S.IDLE, _I.PRIME_OTHER): Row(_S.STARTED, _E.LOAD_FRESH),
    (_S.STARTED, _I.PRIME): Row(_S.STARTED, _E.LOAD_ON),
    (_S.STARTED, _I.LOAD_AGAIN): Row(_S.STARTED, _E.NOTHING),
    (_S.STARTED, _I.LOAD_DONE): Row(_S.COMPLETE, _E.NOTHING),
    # the record is not reset by a failed load: only CANCEL frees the agent for another component
    (_S.STARTED, _I.LOAD_FAILED): Row(_S.STARTED, _E.NOTHING),
    (_S.STARTED, _I.CANCEL): Row(_S.IDLE, _E.FORGET),
    # TF-A stays in COMPLETE while it loads again; here the new bytes must earn it, or a bad image could be activated
    (_S.COMPLETE, _I.PRIME): Row(_S.STARTED, _E.LOAD_FRESH),
    (_S.COMPLETE, _I.NOTIFY_FAILED): Row(_S.COMPLETE, _E.NOTHING),
    (_S.COMPLETE, _I.ACTIVATE): Row(_S.ACTIVATING, _E.HOLD),
    (_S.COMPLETE, _I.ACTIVATE_SKIP): Row(_S.SKIPPING, _E.STEP),
    (_S.COMPLETE, _I.CANCEL): Row(_S.IDLE, _E.FORGET),
    (_S.ACTIVATING, _I.ACTIVATE): Row(_S.ACTIVATING, _E.HOLD),
    (_S.ACTIVATING, _I.LAST_ARRIVED): Row(_S.LOCKED, _E.STEP),
    # TF-A leaves the PEs in the pen for ever; here they come back with ACTIVATION_FAILED
    (_S.ACTIVATING, _I.CANCEL): Row(_S.IDLE, _E.ABANDON),
    (_S.LOCKED, _I.ACTIVATE): Row(_S.LOCKED, _E.HOLD),
    (_S.LOCKED, _I.LAST_ARRIVED): Row(_S.LOCKED, _E.STEP),
    (_S.LOCKED, _I.STEP_AGAIN): Row(_S.LOCKED, _E.RELEASE),
    (_S.LOCKED, _I.STEP_DONE): Row(_S.IDLE, _E.RELEASE),
    (_S.LOCKED, _I.STEP_FAILED): Row(_S.IDLE, _E.RELEASE),
    (_S.SKIPPING, _I.ACTIVATE_SKIP): Row(_S.SKIPPING, _E.STEP),
    (_S.SKIPPING, _I.STEP_AGAIN): Row(_S.SKIPPING, _E.RELEASE),
    (_S.SKIPPING, _I.STEP_DONE): Row(_S.IDLE, _E.RELEASE),
    (_S.SKIPPING, _I.STEP_FAILED): Row(_S.IDLE, _E.RELEASE),
}

REFUSALS: dict[tuple[LfaState, LfaInput], LfaStatus] = {
    (_S.IDLE, _I.ACTIVATE_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.IDLE, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.STARTED, _I.PRIME_OTHER): LfaStatus.WRONG_STATE,
    (_S.STARTED, _I.ACTIVATE): LfaStatus.COMPONENT_WRONG_STATE,
    (_S.STARTED, _I.ACTIVATE_SKIP): LfaStatus.COMPONENT_WRONG_STATE,
    (_S.STARTED, _I.ACTIVATE_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.STARTED, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
    # at most one component is primed; TF-A loads the other one too (TF_A_TRANSITIONS)
    (_S.COMPLETE, _I.PRIME_OTHER): LfaStatus.WRONG_STATE,
    (_S.COMPLETE, _I.ACTIVATE_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.COMPLETE, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.ACTIVATING, _I.PRIME): LfaStatus.BUSY,
    (_S.ACTIVATING, _I.PRIME_OTHER): LfaStatus.BUSY,
    (_S.ACTIVATING, _I.ACTIVATE_SKIP): LfaStatus.BUSY,
    (_S.ACTIVATING, _I.ACTIVATE_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.ACTIVATING, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.LOCKED, _I.PRIME): LfaStatus.BUSY,
    (_S.LOCKED, _I.PRIME_OTHER): LfaStatus.BUSY,
    (_S.LOCKED, _I.ACTIVATE_SKIP): LfaStatus.BUSY,
    (_S.LOCKED, _I.ACTIVATE_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.LOCKED, _I.CANCEL): LfaStatus.BUSY,
    (_S.LOCKED, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
    (_S.SKIPPING, _I.PRIME): LfaStatus.BUSY,
    (_S.SKIPPING, _I.PRIME_OTHER): LfaStatus.BUSY,
    (_S.SKIPPING, _I.ACTIVATE): LfaStatus.BUSY,
    (_S.SKIPPING, _I.ACTIVATE_OTHER): LfaStatus.BUSY,
    (_S.SKIPPING, _I.CANCEL): LfaStatus.BUSY,
    (_S.SKIPPING, _I.CANCEL_OTHER): LfaStatus.INVALID_PARAMETERS,
}

IMPOSSIBLE: frozenset[tuple[LfaState, LfaInput]] = frozenset(
    (state, given)
    for given, states in {
        _I.PRIME: (_S.IDLE,),
        _I.ACTIVATE: (_S.IDLE,),
        _I.ACTIVATE_SKIP: (_S.IDLE,),
        _I.CANCEL: (_S.IDLE,),
        _I.LOAD_AGAIN: (_S.IDLE, _S.COMPLETE, _S.ACTIVATING, _S.LOCKED, _S.SKIPPING),
        _I.LOAD_DONE: (_S.IDLE, _S.COMPLETE, _S.ACTIVATING, _S.LOCKED, _S.SKIPPING),
        _I.LOAD_FAILED: (_S.IDLE, _S.COMPLETE, _S.ACTIVATING, _S.LOCKED, _S.SKIPPING),
        _I.NOTIFY_FAILED: (_S.IDLE, _S.STARTED, _S.ACTIVATING, _S.LOCKED, _S.SKIPPING),
        _I.LAST_ARRIVED: (_S.IDLE, _S.STARTED, _S.COMPLETE, _S.SKIPPING),
        _I.STEP_AGAIN: (_S.IDLE, _S.STARTED, _S.COMPLETE, _S.ACTIVATING),
        _I.STEP_DONE: (_S.IDLE, _S.STARTED, _S.COMPLETE, _S.ACTIVATING),
        _I.STEP_FAILED: (_S.IDLE, _S.STARTED, _S.COMPLETE, _S.ACTIVATING),
    }.items()
    for state in states
)

TF_A_TRANSITIONS: dict[tuple[LfaState, LfaInput], Row] = {
    (_S.COMPLETE, _I.PRIME_OTHER): Row(_S.COMPLETE, _E.LOAD_BESIDE),
}
"""Rows that replace those above under the quirk set `tf-rmm`: what the code does, against its own documentation."""


def advance(record: Activation, given: LfaInput, *, as_tf_a: bool = False) -> LfaEffect | LfaStatus:
    """Feed one input to the record: the effect of the transition it made, or the status of the refusal.

    Raises:
        KeyError: the pair is IMPOSSIBLE, so the agent is wrong.
    """
    pair = record.state, given
    row = TF_A_TRANSITIONS.get(pair) if as_tf_a else None
    if row is None:
        row = TRANSITIONS.get(pair)
    if row is None:
        return REFUSALS[pair]
    record.state = row.state
    return row.effect
