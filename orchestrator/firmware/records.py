"""Trace records of firmware rollouts: what was begun, how each machine fared, why a rollout holds."""

from __future__ import annotations

from msgspec import Struct


class RolloutStarted(Struct, frozen=True, tag="rollout.started"):
    """An operator's rollout begins: how many waves are planned, how many machines there are."""

    rollout: str
    release: str
    component: str
    version: str
    machines: int
    waves: int


class WaveStarted(Struct, frozen=True, tag="wave.started"):
    """The machines of a wave are taken; wave 1 is the canary. `retry`: these come back after they were lost."""

    rollout: str
    wave: int
    machines: tuple[str, ...]
    retry: bool


class RolloutMachine(Struct, frozen=True, tag="rollout.machine"):
    """A machine moved along the table of `orchestrator.firmware.phases`."""

    rollout: str
    wave: int
    machine: str
    was: str
    phase: str
    why: str


class WaveFinished(Struct, frozen=True, tag="wave.finished"):
    """A wave was baked: how its machines ended."""

    rollout: str
    wave: int
    done: int
    failed: int
    absent: int


class RolloutHeld(Struct, frozen=True, tag="rollout.held"):
    """More machines failed than the rollout may lose: nothing further is started."""

    rollout: str
    wave: int
    failures: int
    allowed: int
    why: str
    not_started: int


class RolloutRolledBack(Struct, frozen=True, tag="rollout.rolled-back"):
    """A rollout that holds is undone by `rollout`, which brings `release` back; or is not, and `refused` says why.

    `machines` are those concerned; with neither rollout nor refusal they are reset, which boots what they ran before.
    """

    held: str
    rollout: str
    release: str
    refused: str
    machines: tuple[str, ...] = ()


class RolloutSteered(Struct, frozen=True, tag="rollout.steered"):
    """An operator's event: `refused` says why it changed nothing; empty when it did."""

    rollout: str
    do: str
    refused: str


class RolloutPromoted(Struct, frozen=True, tag="rollout.promoted"):
    """An operator vouches for the wave: it goes on without further bake and gates."""

    rollout: str
    wave: int


class RolloutRetried(Struct, frozen=True, tag="rollout.retried"):
    """The failed machines of a held rollout are taken again."""

    rollout: str
    wave: int
    machines: tuple[str, ...]


class RolloutPaused(Struct, frozen=True, tag="rollout.paused"):
    """An operator paused it in this wave: what is under way comes to its end, nothing further is started."""

    rollout: str
    wave: int
    under_way: int


class RolloutResumed(Struct, frozen=True, tag="rollout.resumed"):
    """An operator let it go on: its wave is baked anew."""

    rollout: str
    wave: int


class RolloutAborted(Struct, frozen=True, tag="rollout.aborted"):
    """An operator gave it up in this wave (0: before it began); it ends when what is under way has come to its end."""

    rollout: str
    wave: int
    under_way: int


class RolloutWaiting(Struct, frozen=True, tag="rollout.waiting"):
    """All waves are through but these machines were lost on the way; they are taken when they are back."""

    rollout: str
    absent: tuple[str, ...]


class RolloutFinished(Struct, frozen=True, tag="rollout.finished"):
    """Nothing is left to do; `left` counts machines that no wave reached."""

    rollout: str
    done: int
    failed: int
    absent: int
    left: int


RolloutRecord = (
    RolloutStarted
    | WaveStarted
    | RolloutMachine
    | WaveFinished
    | RolloutHeld
    | RolloutRolledBack
    | RolloutSteered
    | RolloutPromoted
    | RolloutRetried
    | RolloutPaused
    | RolloutResumed
    | RolloutAborted
    | RolloutWaiting
    | RolloutFinished
)
