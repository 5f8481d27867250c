"""Does the new firmware arrive, and what does it cost on the way?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, Variable, quantiles, stat
from orchestrator.metrics.catalogue import Board

_NONE = "there was no rollout"

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Done",
            "Share of the machines that run the release, proven by platform and Realms.",
            'sum(realmfleet_rollout_machines{rollout=~"$rollout",phase="done"}) / '
            'sum(realmfleet_rollout_machines{rollout=~"$rollout"})',
            Unit.SHARE,
            good_from=1,
            empty_when=_NONE,
        ),
        stat(
            "Wave",
            "Number of the last wave begun; wave 1 is the canary.",
            'max(realmfleet_rollout_wave{rollout=~"$rollout"})',
            empty_when=_NONE,
        ),
        stat(
            "Failed machines",
            "Machines that do not run the release, or nobody can prove that they do. Past the allowance it holds.",
            'sum(realmfleet_rollout_machines{rollout=~"$rollout",phase="failed"})',
            bad_from=1,
            empty_when=_NONE,
        ),
        stat(
            "Held",
            "Rollouts that start nothing further because too many machines failed. Ask realmfleet explain why.",
            'sum(realmfleet_rollout_stage{rollout=~"$rollout",stage="held"})',
            bad_from=1,
            empty_when=_NONE,
        ),
    ),
)

_PROGRESS = Row(
    "Progress",
    (
        Panel(
            "Machines by phase",
            "Where each machine stands. A phase that stays filled names the step that hangs.",
            (
                Query(
                    'sum by (phase) (realmfleet_rollout_machines{rollout=~"$rollout"})', "{{phase}}", empty_when=_NONE
                ),
            ),
            Look.STACK,
            width=12,
        ),
        Panel(
            "Machines by version",
            "Machines that are up, by running version of each component.",
            (Query("sum by (component, version) (realmfleet_firmware_machines)", "{{component}} {{version}}"),),
            width=12,
        ),
        Panel(
            "Stage",
            "1 for the stage that each rollout is in.",
            (Query('realmfleet_rollout_stage{rollout=~"$rollout"} == 1', "{{rollout}} {{stage}}", empty_when=_NONE),),
        ),
        Panel(
            "Gates",
            "Answers of rollout gates so far. A rollout goes on only when every gate of the wave passed.",
            (Query("sum by (answer) (realmfleet_rollout_gates_total)", "{{answer}}", empty_when=_NONE),),
        ),
        Panel(
            "Activations",
            "Live activations so far, by component and LFA status.",
            (
                Query(
                    "sum by (component, result) (realmfleet_activations_total)",
                    "{{component}} {{result}}",
                    empty_when=_NONE,
                ),
            ),
        ),
        Panel(
            "Fresh verdicts after activation",
            "Realm evidence asked for because new firmware runs, by result, so far.",
            (
                Query(
                    'sum by (result) (realmfleet_attestations_total{trigger="firmware"})',
                    "{{result}}",
                    empty_when=_NONE,
                ),
            ),
        ),
    ),
)

_TRUST = Row(
    "Trust",
    (
        Panel(
            "Realms without trust",
            "Realms that run on firmware that was revoked and were not proven anew. A rollout of the fix empties it.",
            (Query("realmfleet_realms_without_trust", "Realms"),),
            width=12,
        ),
        Panel(
            "Revocations",
            "Firmware versions or signers revoked at the verifier so far.",
            (Query("realmfleet_firmware_revocations_total", "revocations"),),
            width=12,
        ),
    ),
)

_COST = Row(
    "Cost",
    (
        Panel(
            "Pause of an activation",
            "Time in which all PEs of a machine stood still; quantiles so far.",
            quantiles("realmfleet_activation_pause_seconds", _NONE),
            unit=Unit.SECONDS,
            width=12,
        ),
        Panel(
            "Realm-seconds lost to activations",
            "Total so far. Live activation should cost milliseconds for each Realm on the machine.",
            (Query('realmfleet_realm_unavailable_seconds_total{cause="activation"}', "Realm-seconds"),),
            unit=Unit.SECONDS,
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    Board.ROLLOUT,
    "Firmware rollout",
    "Does new firmware arrive, and at what cost?",
    (_VERDICT, _PROGRESS, _TRUST, _COST),
    (Variable("rollout", "realmfleet_rollout_wave", "rollout"),),
)
