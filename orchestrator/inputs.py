"""What operators may ask of a fleet that runs: a closed union of records, journaled before they take effect.

They come from the HTTP API, and through it from the command line and the page. `Engine.admit` numbers and journals
them; at the next boundary the control plane hands them to `orchestrator.operator_desk`, which judges them. A replay
reads them from the journal again with `decode`.

A deed (a fault, a rollout) is held as the cluster file writes it, without its instant: plain keys and texts that
`orchestrator.cluster.schema` reads.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

OPERATOR = "operator"
"""Under this word operators appear in cordons and as the reason of what they asked for."""


class LaunchRealms(Struct, frozen=True, tag="launch-realms", forbid_unknown_fields=True):
    """Run `count` more Realms of a kind of the cluster file."""

    kind: str
    count: int = 1


class StopRealm(Struct, frozen=True, tag="stop-realm", forbid_unknown_fields=True):
    """Stop a Realm for good."""

    realm: str


class DeleteRealm(Struct, frozen=True, tag="delete-realm", forbid_unknown_fields=True):
    """Stop a Realm if it still runs, and show it no more; its name is not used again."""

    realm: str


class MigrateRealm(Struct, frozen=True, tag="migrate-realm", forbid_unknown_fields=True):
    """Move a serving Realm to machine `to`; empty leaves the choice to the scheduler."""

    realm: str
    to: str = ""


class CancelMigration(Struct, frozen=True, tag="cancel-migration", forbid_unknown_fields=True):
    """End an open migration session (modelled), if the lineage witness still can: the Realm stays where it is."""

    session: str


class DrainMachines(Struct, frozen=True, tag="drain-machines", forbid_unknown_fields=True):
    """Empty a machine, or evacuate a rack (one of the two is given); `dry_run` only plans."""

    machine: str = ""
    rack: str = ""
    dry_run: bool = False


class RebalanceFleet(Struct, frozen=True, tag="rebalance-fleet", forbid_unknown_fields=True):
    """Even out loads (`goal` spread) or empty the least used machines (pack) with at most `budget` moves."""

    goal: str = "spread"
    budget: int = 10
    dry_run: bool = False


class EndDrain(Struct, frozen=True, tag="end-drain", forbid_unknown_fields=True):
    """Give a drain or a rebalancing up: cordons are taken back, its sessions are ended if they still can be."""

    drain: str


class ScaleKind(Struct, frozen=True, tag="scale-kind", forbid_unknown_fields=True):
    """Launch or stop Realms of a kind until `count` of them are wanted; the highest numbers are stopped first."""

    kind: str
    count: int


class ApplyCounts(Struct, frozen=True, tag="apply-counts", forbid_unknown_fields=True):
    """What a changed cluster file comes to: how many Realms of each kind are wanted."""

    counts: dict[str, int]


class ApplyFile(Struct, frozen=True, tag="apply-file", forbid_unknown_fields=True):
    """Run on as a changed cluster file says (`orchestrator.reconcile`); all of it, or nothing."""

    text: str


class CordonMachine(Struct, frozen=True, tag="cordon-machine", forbid_unknown_fields=True):
    """Keep new Realms and migrations away from a machine."""

    machine: str
    why: str = OPERATOR


class UncordonMachine(Struct, frozen=True, tag="uncordon-machine", forbid_unknown_fields=True):
    """Take an operator's cordon back."""

    machine: str


class StartRollout(Struct, frozen=True, tag="start-rollout", forbid_unknown_fields=True):
    """Roll a release out from now on; `deed` is a rollout event of the cluster file without `kind` and `at`."""

    deed: dict[str, Any]


class PauseRollout(Struct, frozen=True, tag="pause-rollout", forbid_unknown_fields=True):
    """Start nothing further until it is resumed."""

    rollout: str


class ResumeRollout(Struct, frozen=True, tag="resume-rollout", forbid_unknown_fields=True):
    """Let a paused rollout go on."""

    rollout: str


class AbortRollout(Struct, frozen=True, tag="abort-rollout", forbid_unknown_fields=True):
    """Give a rollout up; machines that are under way come to the end of their own table."""

    rollout: str


class PromoteRollout(Struct, frozen=True, tag="promote-rollout", forbid_unknown_fields=True):
    """Let a rollout go on without further bake and gates, whatever failed so far."""

    rollout: str


class RetryRollout(Struct, frozen=True, tag="retry-rollout", forbid_unknown_fields=True):
    """Have a held rollout take its failed machines again."""

    rollout: str


class AnswerGate(Struct, frozen=True, tag="answer-gate", forbid_unknown_fields=True):
    """What the user's function, or Prometheus, said to question `number` of a gate: pass, fail or inconclusive."""

    rollout: str
    gate: int
    number: int
    answer: str
    why: str


class RevokeFirmware(Struct, frozen=True, tag="revoke-firmware", forbid_unknown_fields=True):
    """Revoke a firmware version or a signer from now on; `deed` is a revoke event without `kind` and `at`."""

    deed: dict[str, Any]


class InjectFault(Struct, frozen=True, tag="inject-fault", forbid_unknown_fields=True):
    """Let a fault strike now; `deed` is a fault of the cluster file without `at`."""

    deed: dict[str, Any]


class HealFault(Struct, frozen=True, tag="heal-fault", forbid_unknown_fields=True):
    """Undo a fault in force before its time."""

    fault: str


class VerifierAnswered(Struct, frozen=True, tag="verifier-answered", forbid_unknown_fields=True):
    """What the verifier outside the fleet said to a question about a Realm's evidence, or why it said nothing.

    `tiers` is its trust vector by submodule and claim, `result` the signed result as it came.
    """

    question: int
    realm: str
    accepted: bool
    reason: str
    detail: str
    tiers: dict[str, str] = {}
    result: str = ""


Input: TypeAlias = (
    LaunchRealms
    | StopRealm
    | DeleteRealm
    | MigrateRealm
    | CancelMigration
    | DrainMachines
    | RebalanceFleet
    | EndDrain
    | ScaleKind
    | ApplyCounts
    | ApplyFile
    | CordonMachine
    | UncordonMachine
    | StartRollout
    | PauseRollout
    | ResumeRollout
    | AbortRollout
    | PromoteRollout
    | RetryRollout
    | AnswerGate
    | RevokeFirmware
    | InjectFault
    | HealFault
    | VerifierAnswered
)

_DECODER: msgspec.json.Decoder[Input] = msgspec.json.Decoder(Input)


def decode(body: bytes) -> Input:
    """An input from its line in the journal; raises `msgspec.ValidationError` for what is none."""
    return _DECODER.decode(body)


def word(body: Input) -> str:
    """What the input is called in records and answers."""
    return str(body.__struct_config__.tag)


# -- trace records -----------------------------------------------------------------------------------------------------


class InputAccepted(Struct, frozen=True, tag="operator.accepted"):
    """An operator's input took effect; `subjects` are the Realms, machines, rollouts or faults it is about."""

    input: int
    asked: str
    subjects: tuple[str, ...]
    what: str


class InputRefused(Struct, frozen=True, tag="operator.refused"):
    """An operator's input changed nothing; `rule` is unknown, conflict or invalid."""

    input: int
    asked: str
    rule: str
    why: str
    hint: str = ""


OperatorRecord = InputAccepted | InputRefused
