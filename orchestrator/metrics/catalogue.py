"""The catalogue: every metric that a run feeds. Collection, export, documentation and dashboards follow it.

Names and labels are an interface: a rename keeps the old name for one release. Every duration is virtual unless its
metric's origin is `process`.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.metrics import labels as by
from orchestrator.metrics.metric import Board, Kind, Label, Ladder, Metric, Origin, Unit

__all__ = ["BY_NAME", "CATALOGUE", "PREFIX", "Board", "Kind", "Label", "Ladder", "Metric", "Origin", "Unit", "metric"]

PREFIX: Final = "realmfleet_"

FLEET, ATTESTATION, SCHEDULING, MIGRATION, ROLLOUT, CHAOS, CONTROL = Board


def _gauge(name: str, help: str, *labels: Label, **more: Any) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.GAUGE, help=help, labels=labels, **{"zeros": True, **more})


def _counter(name: str, help: str, *labels: Label, **more: Any) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.COUNTER, help=help, labels=labels, **{"zeros": True, **more})


def _seconds(name: str, ladder: Ladder, help: str, *labels: Label, **more: Any) -> Metric:
    return Metric(
        name=PREFIX + name,
        kind=Kind.HISTOGRAM,
        help=help,
        unit=Unit.SECONDS,
        labels=labels,
        ladder=ladder,
        **{"zeros": True, **more},
    )


S, B = {"unit": Unit.SECONDS}, {"unit": Unit.BYTES}
FAST, MID, LONG = Ladder

_RUN = (
    _gauge("run_info", "Constant 1 for the run on show; its facts are in the labels.",
           by.RUN_ID, by.CLUSTER, by.SEED, by.CLOCK, boards=(CONTROL,), origin=Origin.RUN),
    _gauge("sim_time_seconds", "Virtual time since the start of the run.",
           boards=(CONTROL,), origin=Origin.RUN, **S),
    _counter("trace_records_total", "Records of the trace, by kind.", by.RECORD_KIND, boards=(CONTROL,), zeros=False),
    _counter("operator_inputs_total", "Inputs of operators to a live run, by what was asked and what became of it.",
             by.ASKED, by.INPUT_RESULT, boards=(CONTROL,), zeros=False),
    _counter("messages_delivered_total", "Messages that links carried.", boards=(CONTROL,), origin=Origin.RUN),
    _counter("messages_lost_total", "Messages that links lost, by which way they went.",
             by.LEG, boards=(CHAOS, CONTROL)),
)  # fmt: skip

_PROCESS = (
    _gauge("build_info", "Constant 1; versions of what ran are in the labels.",
           by.VERSION, by.PYTHON, by.RAY, boards=(CONTROL,), origin=Origin.PROCESS, zeros=False),
    _gauge("actors", "Ray actors that hold the machines; 0 when they live in the head's process.",
           boards=(CONTROL,), origin=Origin.PROCESS, zeros=False),
    _counter("actor_restarts_total", "Actors that died and were rebuilt from snapshot and log.",
             boards=(CONTROL,), origin=Origin.PROCESS, zeros=False),
    _counter("engine_beats_total", "Beats that the engine visited; beats with nothing due are skipped.",
             boards=(CONTROL,), origin=Origin.PROCESS, zeros=False),
    _counter("engine_fleet_calls_total", "Batched calls of the engine to the fleet.",
             boards=(CONTROL,), origin=Origin.PROCESS, zeros=False),
    _gauge("run_wall_seconds", "Wall time that the run has taken.",
           boards=(CONTROL,), origin=Origin.PROCESS, zeros=False, **S),
)  # fmt: skip

_MACHINES = (
    _gauge("machines", "Machines by the state the control plane believes in; before its first admission a machine"
           " counts as expected.", by.RACK, by.MACHINE_STATE, boards=(FLEET,)),
    _gauge("machines_cordoned", "Machines that somebody keeps new Realms away from.", boards=(SCHEDULING,)),
    _gauge("machine_info", "Constant 1; facts to join by machine.", by.MACHINE, by.RACK, by.PROFILE,
           boards=(FLEET,), origin=Origin.RUN),
    _gauge("machine_up", "1 while the machine is powered, its RMM runs and it is not frozen: the truth, not a belief.",
           by.MACHINE, boards=(FLEET,)),
    _gauge("machine_live_realms", "Realm copies that execute on the machine.", by.MACHINE, boards=(FLEET,)),
    _gauge("machine_realm_memory_bytes", "Memory in granules that Realms on the machine hold.",
           by.MACHINE, boards=(FLEET,), **B),
    _counter("machine_boots_total", "Boots, by what made them necessary.", by.BOOT_REASON, boards=(FLEET,)),
    _counter("machine_losses_total", "Machines whose power or RMM went, by reason.", by.LOSS_REASON,
             boards=(FLEET, CHAOS)),
    _counter("machine_suspicions_total", "Machines that the control plane came to suspect for their silence.",
             boards=(FLEET, CHAOS)),
    _seconds("machine_silence_seconds", LONG, "Silence of a machine until it was heard again.", boards=(CHAOS,)),
)  # fmt: skip

_REALMS = (
    _gauge("realms", "Realms by the state the control plane believes in.", by.REALM_STATE, boards=(FLEET, SCHEDULING)),
    _gauge("live_realms", "Realm copies that execute, waiting for their secret or serving: the truth, not a belief.",
           by.DOING, boards=(FLEET,)),
    _gauge("realm_memory_bytes", "Memory in granules that Realms hold, over the whole fleet.", boards=(FLEET,), **B),
    _gauge("unserved_realms", "Wanted Realms that do not serve, by cause.", by.CAUSE, boards=(FLEET, CHAOS)),
    _counter("realm_serving_seconds_total", "Wanted Realm-seconds that were served.", boards=(FLEET, CHAOS), **S),
    _counter("realm_unavailable_seconds_total", "Wanted Realm-seconds that were not served, by cause.",
             by.CAUSE, boards=(FLEET, CHAOS, MIGRATION, ROLLOUT), **S),
    _counter("realm_requests_total", "Requests served, counted when a copy of a Realm comes to a stand.",
             boards=(FLEET,)),
    _counter("realm_builds_total", "Realms that machines built, a migration's copies included.", boards=(SCHEDULING,)),
    _seconds("realm_bring_up_seconds", LONG, "Time to bring a Realm up, by stage; total is wanted to serving.",
             by.BRING_UP_STAGE, boards=(FLEET, SCHEDULING)),
    _seconds("pod_start_seconds", LONG, "Time that confidential pods took for each step of their start; the first step"
             " counts from placement.", by.POD_STEP, boards=(ATTESTATION,)),
    _counter("pod_starts_total", "Confidential pods whose workload started.", boards=(ATTESTATION,)),
    _counter("pod_refusals_total", "Confidential pods that were stopped, by the step at which they were.",
             by.POD_STEP, boards=(ATTESTATION,)),
    _counter("realm_restarts_total", "Copies given up so that another is built, by reason.",
             by.RESTART_REASON, boards=(FLEET, CHAOS)),
    _counter("stray_copies_total", "Copies found on machines that nobody believed in any more; they are stopped.",
             boards=(CHAOS,)),
    _counter("rmi_calls_total", "RMI calls of all hosts, by command.",
             by.RMI_COMMAND, boards=(SCHEDULING,), zeros=False),
    _counter("rmi_refusals_total", "RMI calls whose refusal ended a command of the control plane.",
             by.RMI_COMMAND, by.RMI_STATUS, boards=(SCHEDULING,), zeros=False),
    _counter("commands_refused_total", "Commands of the control plane that a machine refused.",
             by.COMMAND, boards=(CONTROL,)),
)  # fmt: skip

_EVIDENCE = (
    _counter("attestations_total", "Verdicts over Realm evidence, by result and by why it was asked for.",
             by.ATTESTATION_RESULT, by.TRIGGER, boards=(FLEET, ATTESTATION, ROLLOUT),
             zeros=False),
    _seconds("attestation_duration_seconds", MID, "Time of a verdict, by stage: verifier queue, verification, reply.",
             by.ATTESTATION_STAGE, boards=(ATTESTATION,)),
    _counter("attestation_claims_total", "Appraised claims, by half of the token, claim and tier.",
             by.HALF, by.CLAIM, by.TIER, boards=(ATTESTATION,), zeros=False),
    _counter("platform_attestations_total", "Verdicts over platform tokens after a boot or an activation.",
             by.ATTESTATION_RESULT, boards=(ATTESTATION,)),
    _counter("key_releases_total", "Decisions of the key broker about a Realm's secret.",
             by.ATTESTATION_RESULT, boards=(ATTESTATION,)),
    _counter("tokens_total", "Attestation tokens that left Realms.", boards=(ATTESTATION,)),
    _counter("token_bytes_total", "Bytes of the attestation tokens that left Realms.", boards=(ATTESTATION,), **B),
)  # fmt: skip

_PLACEMENT = (
    _counter("scheduling_attempts_total", "Placement attempts; one that finds no machine counts again only when the"
             " reasons change.", by.PLACEMENT_RESULT, boards=(SCHEDULING,)),
    _counter("scheduling_rejections_total", "Machines refused in placement attempts, by the first filter that did.",
             by.FILTER, boards=(SCHEDULING,)),
    _seconds("scheduling_wait_seconds", LONG, "Time from wanting a copy of a Realm to placing it.",
             boards=(SCHEDULING,)),
    _gauge("scheduling_pending_realms", "Realms that wait for a machine, by the filter that refuses most of them.",
           by.PENDING_REASON, boards=(SCHEDULING,)),
)  # fmt: skip

_MIGRATIONS = (
    _counter("migrations_total", "Migration sessions (modelled) finished.", by.MIGRATION_RESULT, boards=(MIGRATION,)),
    _counter("migration_refusals_total", "Migrations not begun, by the rule against them.",
             by.MIGRATION_RULE, boards=(MIGRATION,)),
    _gauge("migrations_in_progress", "Migration sessions (modelled) under way, by phase.",
           by.MIGRATION_PHASE, boards=(MIGRATION,)),
    _seconds("migration_duration_seconds", LONG, "From opening a migration session to its end on both sides.",
             boards=(MIGRATION,)),
    _seconds("migration_downtime_seconds", MID, "Time in which a migrating Realm executed nowhere, resumed ones too.",
             boards=(MIGRATION,)),
    _counter("migration_sent_bytes_total", "Modelled bytes that finished migration sessions put on links.",
             boards=(MIGRATION,), **B),
)  # fmt: skip

_FIRMWARE = (
    _gauge("firmware_machines", "Machines that are up, by the version of a firmware component they run.",
           by.COMPONENT, by.FIRMWARE_VERSION, boards=(FLEET, ROLLOUT)),
    _gauge("rollout_stage", "1 for the stage that the rollout is in.", by.ROLLOUT, by.ROLLOUT_STAGE,
           boards=(ROLLOUT,)),
    _counter("rollout_gates_total", "Answers of rollout gates, by what they said.", by.GATE_ANSWER, boards=(ROLLOUT,)),
    _gauge("rollout_wave", "Number of the last wave that the rollout began.", by.ROLLOUT, boards=(ROLLOUT,)),
    _gauge("rollout_machines", "Machines of the rollout, by phase.", by.ROLLOUT, by.ROLLOUT_PHASE, boards=(ROLLOUT,)),
    _counter("firmware_revocations_total", "Firmware versions or signers revoked at the verifier.", boards=(ROLLOUT,)),
    _gauge("realms_without_trust", "Realms that run on firmware that was revoked, not proven anew yet.",
           boards=(ROLLOUT,)),
    _counter("activations_total", "Live firmware activations, by component and LFA status.",
             by.COMPONENT, by.ACTIVATION_RESULT, boards=(ROLLOUT,), zeros=False),
    _seconds("activation_pause_seconds", FAST, "Time in which all PEs of a machine stood still for an activation.",
             boards=(ROLLOUT,)),
)  # fmt: skip

_CHAOS = (
    _counter("faults_injected_total", "Faults that began.", by.FAULT_KIND, boards=(CHAOS,)),
    _counter("faults_skipped_total", "Faults that struck nobody.", by.FAULT_KIND, boards=(CHAOS,)),
    _gauge("faults_active", "Faults in force.", by.FAULT_KIND, boards=(FLEET, CHAOS)),
    _gauge("machine_fault_active", "1 while a fault of the kind holds the machine; a series begins with the first.",
           by.FAULT_KIND, by.MACHINE, boards=(CHAOS,)),
    _seconds("fault_recovery_seconds", LONG, "From the end of a fault until every wanted Realm serves.",
             by.FAULT_KIND, boards=(CHAOS,), zeros=False),
    _gauge("checker_verdict", "1 for what the checker said at the end of the run.", by.CHECKER, by.VERDICT,
           boards=(FLEET, CHAOS), origin=Origin.RUN, zeros=False),
)  # fmt: skip

CATALOGUE: Final[tuple[Metric, ...]] = (
    *_RUN, *_PROCESS, *_MACHINES, *_REALMS, *_EVIDENCE, *_PLACEMENT, *_MIGRATIONS, *_FIRMWARE, *_CHAOS
)  # fmt: skip
"""Every metric, by concern."""

BY_NAME: Final[dict[str, Metric]] = {entry.name: entry for entry in CATALOGUE}


def metric(name: str) -> Metric:
    """The entry of that name, given without the prefix. Raises KeyError."""
    return BY_NAME[PREFIX + name]
