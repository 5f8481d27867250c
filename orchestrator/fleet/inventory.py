"""Life of a machine as the control plane believes it: one table, walked by `orchestrator.fleet.health`.

Nothing here is told by chaos: every input is an arrived message, a verdict, or silence that lasted too long.
"""

from __future__ import annotations

from enum import StrEnum

from orchestrator.store import MachineState, MachineView

S = MachineState


class Sign(StrEnum):
    """What the control plane noticed about a machine."""

    BOOTED = "booted"
    """It sent its platform token after a boot."""
    REBOOTED = "rebooted"
    """A heartbeat counts more boots than known: its boot message was lost."""
    VOUCHED = "vouched"
    """The verifier accepted its platform token."""
    DISTRUSTED = "distrusted"
    """The verifier refused its platform token."""
    HEARD = "heard"
    """Any message arrived from it."""
    HEARD_DISTRUSTED = "heard-distrusted"
    """A message arrived from a machine whose platform token was refused in this boot."""
    SILENT = "silent"
    """Nothing arrived for `suspect_after`."""
    LEASES_OVER = "leases-over"
    """Still silent, and the last lease granted there ended more than the margin ago."""
    RMM_DEAD = "rmm-dead"
    """Its host says that the RMM no longer answers: no REC can be entered."""


class Effect(StrEnum):
    """What follows from a move."""

    NONE = "none"
    APPRAISE = "appraise"
    """Have the platform token verified, and ask for capacity at once."""
    ADMIT = "admit"
    VOUCH = "vouch"
    """Keep digest and RAK of the accepted token."""
    DISTRUST = "distrust"
    SUSPECT = "suspect"
    LOSE = "lose"
    """Its Realms are gone for good."""
    RETURN = "return"
    """It answers again; ask for its Realms at once."""


TABLE: dict[tuple[MachineState, Sign], tuple[MachineState, Effect]] = {
    (S.EXPECTED, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.EXPECTED, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.EXPECTED, Sign.RMM_DEAD): (S.DOWN, Effect.LOSE),
    (S.APPRAISING, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.APPRAISING, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.APPRAISING, Sign.VOUCHED): (S.ADMITTED, Effect.ADMIT),
    (S.APPRAISING, Sign.DISTRUSTED): (S.REFUSED, Effect.DISTRUST),
    (S.APPRAISING, Sign.SILENT): (S.SUSPECT, Effect.SUSPECT),
    (S.APPRAISING, Sign.RMM_DEAD): (S.DOWN, Effect.LOSE),
    (S.ADMITTED, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.ADMITTED, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.ADMITTED, Sign.VOUCHED): (S.ADMITTED, Effect.VOUCH),
    (S.ADMITTED, Sign.DISTRUSTED): (S.REFUSED, Effect.DISTRUST),
    (S.ADMITTED, Sign.SILENT): (S.SUSPECT, Effect.SUSPECT),
    (S.ADMITTED, Sign.RMM_DEAD): (S.DOWN, Effect.LOSE),
    (S.SUSPECT, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.SUSPECT, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.SUSPECT, Sign.VOUCHED): (S.SUSPECT, Effect.VOUCH),
    (S.SUSPECT, Sign.DISTRUSTED): (S.SUSPECT, Effect.DISTRUST),
    (S.SUSPECT, Sign.HEARD): (S.ADMITTED, Effect.RETURN),
    (S.SUSPECT, Sign.HEARD_DISTRUSTED): (S.REFUSED, Effect.RETURN),
    (S.SUSPECT, Sign.LEASES_OVER): (S.DOWN, Effect.LOSE),
    (S.SUSPECT, Sign.RMM_DEAD): (S.DOWN, Effect.LOSE),
    (S.DOWN, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.DOWN, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.DOWN, Sign.VOUCHED): (S.DOWN, Effect.VOUCH),
    (S.DOWN, Sign.DISTRUSTED): (S.DOWN, Effect.DISTRUST),
    (S.DOWN, Sign.HEARD): (S.ADMITTED, Effect.RETURN),
    (S.DOWN, Sign.HEARD_DISTRUSTED): (S.REFUSED, Effect.RETURN),
    (S.REFUSED, Sign.BOOTED): (S.APPRAISING, Effect.APPRAISE),
    (S.REFUSED, Sign.REBOOTED): (S.ADMITTED, Effect.ADMIT),
    (S.REFUSED, Sign.VOUCHED): (S.ADMITTED, Effect.VOUCH),
    (S.REFUSED, Sign.DISTRUSTED): (S.REFUSED, Effect.DISTRUST),
    (S.REFUSED, Sign.SILENT): (S.SUSPECT, Effect.SUSPECT),
    (S.REFUSED, Sign.RMM_DEAD): (S.DOWN, Effect.LOSE),
}
"""(state, sign) -> (next state, effect); a pair that is absent moves nothing and is listed in `IGNORED`."""

IGNORED: frozenset[tuple[MachineState, Sign]] = frozenset(
    (state, sign) for state in MachineState for sign in Sign if (state, sign) not in TABLE
)

TERMINAL: frozenset[MachineState] = frozenset()
"""No state of a machine is final: whatever is down may boot."""


def move(machine: MachineView, sign: Sign, now_ns: int) -> Effect:
    """Move the machine along the table; `since_ns` changes only with the state."""
    entry = TABLE.get((machine.state, sign))
    if entry is None:
        return Effect.NONE
    state, effect = entry
    if state is not machine.state:
        machine.state = state
        machine.since_ns = now_ns
    return effect
