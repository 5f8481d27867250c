"""The labels of all metrics and the values each may take.

Values come from the enumerations of the packages that own them, so a state that is added there appears here. Never
labels: Realm, session, fault and token names, nonces, digests, free text; these are in the trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

from attestation.errors import RefusalReason
from attestation.trust import Tier, TrustClaim
from cca_machine import commands
from cca_machine.abi.lfa import LfaStatus
from cca_machine.abi.rmi import UNKNOWN_CALL, Rmi, RmiStatus
from cca_machine.abi.rmi2 import Rmi2, Rmi2Status
from cca_machine.pod import WALK
from orchestrator import inputs, records
from orchestrator.chaos.catalogue import CATALOGUE as FAULTS
from orchestrator.chaos.checkers import CHECKERS
from orchestrator.chaos.records import ChaosRecord
from orchestrator.chaos.verdict import Outcome
from orchestrator.engine.post import MessageLost
from orchestrator.engine.trace import kind_of
from orchestrator.firmware.choice import RolloutChose
from orchestrator.firmware.gates import Answer, GateRecord
from orchestrator.firmware.phases import Phase, Stage
from orchestrator.firmware.records import RolloutRecord
from orchestrator.firmware.tcb import TcbRecord
from orchestrator.metrics.metric import Label, closed
from orchestrator.report.availability import Cause
from orchestrator.scheduler.filters import FILTERS
from orchestrator.store import MachineState, RealmState

SUCCESS: Final = "success"


def tags(*unions: Any) -> tuple[str, ...]:
    """Tags of the records of some unions: the kinds under which they stand in the trace."""
    members: Iterable[Any] = (member for union in unions for member in (get_args(union) or (union,)))
    return tuple(sorted(str(member.__struct_config__.tag) for member in members))


# -- bounded by the cluster file ---------------------------------------------------------------------------------------

MACHINE = Label("machine", bound="machines, in fleets below 1 000")
RACK = Label("rack", bound="racks of the cluster")
PROFILE = Label("profile", bound="profiles of the cluster")
FIRMWARE_VERSION = Label("version", bound="versions of the component in the releases of the cluster")
ROLLOUT = Label("rollout", bound="rollouts of the run")

# -- facts about one execution, on `_info` metrics only ---------------------------------------------------------------

VERSION = Label("version", bound="one")
PYTHON = Label("python", bound="one")
RAY = Label("ray", bound="one")
RUN_ID = Label("run_id", bound="one")
CLUSTER = Label("cluster", bound="one")
SEED = Label("seed", bound="one")

# -- closed -----------------------------------------------------------------------------------------------------------

CLOCK = Label("clock", ("virtual", "wall"))
MACHINE_STATE = Label("state", tuple(MachineState))
REALM_STATE = Label("state", tuple(RealmState))
BOOT_REASON = closed(
    "reason", "first", commands.FaultKind.POWER_LOSS, commands.FaultKind.RMM_PANIC, commands.FaultKind.PE_ABSENT
)
LOSS_REASON = closed(
    "reason", commands.FaultKind.POWER_LOSS, commands.FaultKind.RMM_PANIC, commands.FaultKind.PE_ABSENT
)
DOING = Label("doing", ("waiting", "serving"))
POD_STEP = Label("step", tuple(row.step for row in WALK))
BRING_UP_STAGE = Label("stage", ("build", "attest", "release", "total"))
RESTART_REASON = closed("reason", "rebooted", "silent", "rmm-dead", "migration", "vanished")
CAUSE = Label("cause", tuple(Cause))
RMI_COMMAND = closed("command", *dict.fromkeys(f"RMI_{command.name}" for command in (*Rmi, *Rmi2)))
RMI_STATUS = closed(
    "status", *dict.fromkeys(f"RMI_{status.name}" for status in (*RmiStatus, *Rmi2Status)), f"SMC_{UNKNOWN_CALL}"
)
COMMAND = closed("command", *tags(commands.Command))
ATTESTATION_RESULT = closed("result", SUCCESS, *RefusalReason)
TRIGGER = closed("trigger", "bring-up", "migration", "firmware", "machine-back")
ATTESTATION_STAGE = Label("stage", ("queue", "verify", "reply", "total"))
HALF = closed("half", "platform", "realm")
CLAIM = closed("claim", *TrustClaim)
TIER = closed("tier", *(tier.text for tier in Tier))
PLACEMENT_RESULT = Label("result", ("placed", "unplaced"))
FILTER = closed("filter", *(name for name, _ in FILTERS))
PENDING_REASON = closed("reason", "new", *(name for name, _ in FILTERS))
MIGRATION_RESULT = closed("result", "moved", "resumed", "lost")
MIGRATION_PHASE = Label("phase", ("open", "committed", "aborting"))
MIGRATION_RULE = closed(
    "rule",
    "realm",
    "source",
    "trust",
    "activity",
    "sessions",
    "fleet-sessions",
    "target",
    "edition",
    "features",
    "firmware",
)
COMPONENT = closed("component", "BL2", "BL31", "RMM", "HES")
ROLLOUT_STAGE = Label(
    "stage", tuple(stage for stage in Stage if stage not in (Stage.AWAITED, Stage.BAKING, Stage.GATED))
)
"""Baking and gated count as running: the trace says when a wave was baked, not when baking began."""
ROLLOUT_PHASE = Label("phase", tuple(Phase))
GATE_ANSWER = Label("answer", tuple(Answer))
ACTIVATION_RESULT = closed(
    "result", SUCCESS, "malformed-image", *(status.name for status in LfaStatus if status is not LfaStatus.SUCCESS)
)
FAULT_KIND = closed("kind", *FAULTS)
CHECKER = closed("checker", *CHECKERS)
VERDICT = Label("outcome", tuple(Outcome))
LEG = Label("leg", ("from-control", "to-control", "between-machines"))
ASKED = closed("asked", *tags(inputs.Input))
INPUT_RESULT = closed("result", "accepted", "unknown", "conflict", "invalid")
RECORD_KIND = closed(
    "kind",
    *tags(
        commands.Record,
        records.ControlRecord,
        RolloutRecord,
        RolloutChose,
        GateRecord,
        TcbRecord,
        ChaosRecord,
        inputs.OperatorRecord,
    ),
    kind_of(MessageLost("", 0)),
)
