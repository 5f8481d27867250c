"""The two tables of a rollout: one machine's way through it, and the rollout's own way through its waves.

Rows map (state, input) to (next state, effect). Inputs are asked for phase by phase, so a pair that stands in no row
cannot occur, and its lookup raises KeyError: our own fault. Answers that come late are passed over (`ANSWERED_IN`).

Sources: DEN0147 (LFA) as read from TF-A services/std_svc/lfa and the Linux lfa driver: PRIME then ACTIVATE; after a
failed PRIME or ACTIVATE the way back is CANCEL; a machine whose RMM fails in the activation needs a cold reset.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where one machine stands in a rollout."""

    QUEUED = "queued"
    """No wave has taken it; it may still be left out."""
    DRAINING = "draining"
    """Cordoned; open migration sessions are let run out, because their keys belong to the old firmware's RAK."""
    PRIMING = "priming"
    """LFA_PRIME was ordered."""
    ACTIVATING = "activating"
    """LFA_ACTIVATE was ordered."""
    STAGING = "staging"
    """The image is on its way into the slot that the next boot tries."""
    EVACUATING = "evacuating"
    """Its Realms move to other machines, one after the other."""
    REBOOTING = "rebooting"
    """The reset was ordered; Realms that are still there are stopped and started elsewhere."""
    APPRAISING = "appraising"
    """The new image runs; the verifier judges the platform token of the new firmware."""
    REATTESTING = "reattesting"
    """The platform is good; every Realm there gives fresh evidence over the new firmware."""
    DONE = "done"
    """It runs the release, proven by platform and Realms."""
    FAILED = "failed"
    """It does not, or nobody can prove that it does; counted, not tried again by this rollout."""
    ABSENT = "absent"
    """It was lost on the way or silent when its wave came; tried again when it is back."""


class Input(StrEnum):
    """What may happen to one machine."""

    TAKEN = "taken"
    QUIET = "quiet"
    QUIET_FOR_BOOT = "quiet-for-boot"
    """As quiet, and its strategy is one with a reboot."""
    STAGED = "staged"
    STAGED_TO_DRAIN = "staged-to-drain"
    """As staged, and its Realms shall leave first."""
    EMPTY = "empty"
    """No Realm is left there."""
    BOOTED = "booted"
    """It booted the release."""
    PRIMED = "primed"
    ACTIVATED = "activated"
    ADMITTED = "admitted"
    ATTESTED = "attested"
    REFUSED = "refused"
    OVERDUE = "overdue"
    LOST = "lost"
    BACK = "back"
    CURRENT = "current"
    """It turns out to run the release already."""
    RETRIED = "retried"
    """An operator has the failed machine tried again."""
    REVERTED = "reverted"
    """It booted, and boots the firmware it had before."""


class Effect(StrEnum):
    """What the controller does when a machine moves: methods of `orchestrator.firmware.update.Updater`."""

    NOTHING = "nothing"
    CORDON = "cordon"
    STAGE = "stage"
    UNSTAGE = "unstage"
    EVACUATE = "evacuate"
    REBOOT = "reboot"
    MEET = "meet"
    PRIME = "prime"
    ACTIVATE = "activate"
    EXPECT_TOKEN = "expect_token"
    ASK_REALMS = "ask_realms"
    RELEASE = "release"
    CANCEL = "cancel"
    QUARANTINE = "quarantine"


P, In, E = Phase, Input, Effect
MACHINE_TABLE: Final[dict[tuple[Phase, Input], tuple[Phase, Effect]]] = {
    (P.QUEUED, In.TAKEN): (P.DRAINING, E.CORDON),
    (P.QUEUED, In.CURRENT): (P.DONE, E.NOTHING),
    (P.QUEUED, In.LOST): (P.ABSENT, E.NOTHING),
    (P.DRAINING, In.QUIET): (P.PRIMING, E.PRIME),
    # it was activated before and only the proof is missing: to prime the running version again would be refused
    (P.DRAINING, In.CURRENT): (P.APPRAISING, E.EXPECT_TOKEN),
    (P.DRAINING, In.OVERDUE): (P.FAILED, E.RELEASE),
    # the release does not work with what else runs there: nothing was tried
    (P.DRAINING, In.REFUSED): (P.FAILED, E.RELEASE),
    (P.DRAINING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.DRAINING, In.QUIET_FOR_BOOT): (P.STAGING, E.STAGE),
    (P.STAGING, In.STAGED): (P.REBOOTING, E.REBOOT),
    (P.STAGING, In.STAGED_TO_DRAIN): (P.EVACUATING, E.EVACUATE),
    (P.STAGING, In.REFUSED): (P.FAILED, E.UNSTAGE),
    (P.STAGING, In.OVERDUE): (P.FAILED, E.UNSTAGE),
    (P.STAGING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.EVACUATING, In.EMPTY): (P.REBOOTING, E.REBOOT),
    (P.EVACUATING, In.OVERDUE): (P.FAILED, E.UNSTAGE),
    (P.EVACUATING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.REBOOTING, In.BOOTED): (P.APPRAISING, E.MEET),
    # the boot was not healthy and the machine fell back to the slot of before: it serves as it did
    (P.REBOOTING, In.REVERTED): (P.FAILED, E.RELEASE),
    (P.REBOOTING, In.REFUSED): (P.FAILED, E.UNSTAGE),
    (P.REBOOTING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.REBOOTING, In.OVERDUE): (P.FAILED, E.QUARANTINE),
    (P.PRIMING, In.PRIMED): (P.ACTIVATING, E.ACTIVATE),
    (P.PRIMING, In.REFUSED): (P.FAILED, E.CANCEL),
    (P.PRIMING, In.OVERDUE): (P.FAILED, E.CANCEL),
    (P.PRIMING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.ACTIVATING, In.ACTIVATED): (P.APPRAISING, E.EXPECT_TOKEN),
    (P.ACTIVATING, In.REFUSED): (P.FAILED, E.CANCEL),
    (P.ACTIVATING, In.OVERDUE): (P.FAILED, E.QUARANTINE),
    (P.ACTIVATING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.APPRAISING, In.ADMITTED): (P.REATTESTING, E.ASK_REALMS),
    (P.APPRAISING, In.REFUSED): (P.FAILED, E.QUARANTINE),
    (P.APPRAISING, In.OVERDUE): (P.FAILED, E.QUARANTINE),
    (P.APPRAISING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.REATTESTING, In.ATTESTED): (P.DONE, E.RELEASE),
    (P.REATTESTING, In.REFUSED): (P.FAILED, E.QUARANTINE),
    (P.REATTESTING, In.OVERDUE): (P.FAILED, E.QUARANTINE),
    (P.REATTESTING, In.LOST): (P.ABSENT, E.RELEASE),
    (P.DONE, In.LOST): (P.ABSENT, E.NOTHING),
    (P.DONE, In.REVERTED): (P.QUEUED, E.NOTHING),
    (P.ABSENT, In.BACK): (P.QUEUED, E.NOTHING),
    (P.ABSENT, In.CURRENT): (P.DONE, E.RELEASE),
    # a boot ends the doubt about which firmware runs, so the quarantine ends too; the failure stays counted
    (P.FAILED, In.BACK): (P.FAILED, E.RELEASE),
    (P.FAILED, In.RETRIED): (P.QUEUED, E.NOTHING),
}

ANSWERED_IN: Final = {
    "prime": Phase.PRIMING,
    "activate": Phase.ACTIVATING,
    "stage-firmware": Phase.STAGING,
    "reboot": Phase.REBOOTING,
}
"""The phase in which the answer to an order means something; one that comes late or twice is passed over."""

COUNTED: Final = frozenset(
    {Phase.PRIMING, Phase.ACTIVATING, Phase.REBOOTING, Phase.APPRAISING, Phase.REATTESTING, Phase.DONE}
)
"""Phases in which losing the machine counts as a failure of the rollout: the new firmware may be the cause."""

UNDER_WAY: Final = frozenset(Phase) - {Phase.QUEUED, Phase.DONE, Phase.FAILED, Phase.ABSENT}
"""Phases in which a wave waits for the machine."""


class Stage(StrEnum):
    """Where a rollout stands."""

    AWAITED = "awaited"
    RUNNING = "running"
    """A wave is under way."""
    BAKING = "baking"
    """Every machine of the wave is settled; its time to prove itself runs."""
    GATED = "gated"
    """The bake is over; its gates have not all passed."""
    PAUSED = "paused"
    """An operator stopped it for a while: what is under way comes to its end, nothing further is started."""
    ABORTING = "aborting"
    """An operator gave it up: it ends when what is under way has come to its end."""
    HELD = "held"
    """Too many machines failed, or a gate did: nothing further is started until an operator says so."""
    WAITING = "waiting"
    """All waves are through; lost machines are awaited."""
    FINISHED = "finished"


class Cue(StrEnum):
    """What may happen to a rollout."""

    DUE = "due"
    SETTLED = "settled"
    TOO_MANY = "too-many"
    GATES_ASKED = "gates-asked"
    """The bake is over and there are gates."""
    GATE_FAILED = "gate-failed"
    PROMOTE = "promote"
    RETRY = "retry"
    NEXT_WAVE = "next-wave"
    MISSING = "missing"
    COMPLETE = "complete"
    RETURNED = "returned"
    SUPERSEDED = "superseded"
    """A later rollout begins; its release is for the lost machines too."""
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


class Act(StrEnum):
    """What the controller does when a rollout moves: methods of `orchestrator.firmware.rollout.Rollout`."""

    START = "start"
    TAKE_WAVE = "take_wave"
    BAKE = "bake"
    ASK_GATES = "ask_gates"
    PROMOTE = "promote"
    RETRY = "retry"
    HOLD = "hold"
    AWAIT = "await_lost"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    CALL_OFF = "call_off"
    FINISH = "finish"


S, C, A = Stage, Cue, Act
ROLLOUT_TABLE: Final[dict[tuple[Stage, Cue], tuple[Stage, Act]]] = {
    (S.AWAITED, C.DUE): (S.RUNNING, A.START),
    (S.RUNNING, C.SETTLED): (S.BAKING, A.BAKE),
    (S.RUNNING, C.TOO_MANY): (S.HELD, A.HOLD),
    (S.BAKING, C.TOO_MANY): (S.HELD, A.HOLD),
    (S.BAKING, C.GATES_ASKED): (S.GATED, A.ASK_GATES),
    (S.GATED, C.TOO_MANY): (S.HELD, A.HOLD),
    (S.GATED, C.GATE_FAILED): (S.HELD, A.HOLD),
    (S.GATED, C.NEXT_WAVE): (S.RUNNING, A.TAKE_WAVE),
    (S.GATED, C.MISSING): (S.WAITING, A.AWAIT),
    (S.GATED, C.COMPLETE): (S.FINISHED, A.FINISH),
    # an operator vouches: no further bake, no gate, and what failed so far is forgiven
    (S.BAKING, C.PROMOTE): (S.BAKING, A.PROMOTE),
    (S.GATED, C.PROMOTE): (S.GATED, A.PROMOTE),
    (S.HELD, C.PROMOTE): (S.BAKING, A.PROMOTE),
    (S.HELD, C.RETRY): (S.RUNNING, A.RETRY),
    (S.GATED, C.PAUSE): (S.PAUSED, A.PAUSE),
    (S.GATED, C.ABORT): (S.ABORTING, A.ABORT),
    (S.HELD, C.ABORT): (S.ABORTING, A.ABORT),
    (S.BAKING, C.NEXT_WAVE): (S.RUNNING, A.TAKE_WAVE),
    (S.BAKING, C.MISSING): (S.WAITING, A.AWAIT),
    (S.BAKING, C.COMPLETE): (S.FINISHED, A.FINISH),
    (S.WAITING, C.RETURNED): (S.RUNNING, A.TAKE_WAVE),
    (S.WAITING, C.COMPLETE): (S.FINISHED, A.FINISH),
    (S.WAITING, C.SUPERSEDED): (S.FINISHED, A.FINISH),
    # a paused rollout settles and bakes its wave anew when it is resumed
    (S.RUNNING, C.PAUSE): (S.PAUSED, A.PAUSE),
    (S.BAKING, C.PAUSE): (S.PAUSED, A.PAUSE),
    (S.WAITING, C.PAUSE): (S.PAUSED, A.PAUSE),
    (S.PAUSED, C.RESUME): (S.RUNNING, A.RESUME),
    (S.RUNNING, C.ABORT): (S.ABORTING, A.ABORT),
    (S.BAKING, C.ABORT): (S.ABORTING, A.ABORT),
    (S.WAITING, C.ABORT): (S.ABORTING, A.ABORT),
    (S.PAUSED, C.ABORT): (S.ABORTING, A.ABORT),
    (S.ABORTING, C.SETTLED): (S.FINISHED, A.FINISH),
    (S.AWAITED, C.ABORT): (S.FINISHED, A.CALL_OFF),
}

SETTLED: Final = frozenset({Stage.FINISHED})
"""Stages that are never left."""

AT_REST: Final = frozenset({Stage.HELD, Stage.FINISHED})
"""Stages in which nothing more happens by itself."""
