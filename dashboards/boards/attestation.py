"""Is evidence good, judged fast enough, and followed by what it must be followed by?"""

from __future__ import annotations

from dashboards.boards.fleet import REFUSED
from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, quantiles, stat
from orchestrator.metrics.catalogue import Board

NO_PODS = "the run has no confidential pods"

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Evidence refused",
            "Share of verdicts over Realm evidence that were refusals. If not zero: the result names the check.",
            REFUSED,
            Unit.SHARE,
            bad_from=0.01,
        ),
        stat(
            "Platforms refused",
            "Platform tokens that did not pass after a boot or an activation. Such a machine takes no Realms.",
            'sum(realmfleet_platform_attestations_total{result!="success"})',
            bad_from=1,
        ),
        stat(
            "Keys withheld",
            "Decisions of the broker against releasing a secret. A refused verdict or a policy is behind each.",
            'sum(realmfleet_key_releases_total{result!="success"})',
            bad_from=1,
        ),
        stat(
            "Verdict, 99 in 100 within",
            "From arrival at the verifier to its reply. If high: compare queue and verify below; add verifier workers.",
            'histogram_quantile(0.99, sum by (le) (realmfleet_attestation_duration_seconds_bucket{stage="total"}))',
            Unit.SECONDS,
            bad_from=1,
        ),
    ),
)

_VERIFIER = Row(
    "Verifier",
    (
        Panel(
            "Verdicts by result",
            "Realm evidence judged in the interval. Anything but success names the kind of check that failed.",
            (Query("sum by (result) (increase(realmfleet_attestations_total[$__rate_interval]))", "{{result}}"),),
            Look.STACK,
        ),
        Panel(
            "Verdicts by trigger",
            "Why evidence was asked for, totals so far: bring-up, migration, new firmware, silence.",
            (Query("sum by (trigger) (realmfleet_attestations_total)", "{{trigger}}"),),
        ),
        Panel(
            "Time of a verdict by stage",
            "Mean so far. A queue longer than the verification itself means that workers are missing.",
            (
                Query(
                    "sum by (stage) (realmfleet_attestation_duration_seconds_sum) / "
                    "sum by (stage) (realmfleet_attestation_duration_seconds_count)",
                    "{{stage}}",
                ),
            ),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Time of a verdict",
            "From arrival to reply; quantiles so far.",
            quantiles("realmfleet_attestation_duration_seconds", selector='{stage="total"}'),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Platform verdicts",
            "Platform tokens judged so far, by result. Machines attest after each boot and each activation.",
            (Query("realmfleet_platform_attestations_total > 0", "{{result}}"),),
        ),
        Panel(
            "Key releases",
            "Decisions of the key broker so far, by result. Success must not outrun verdicts that passed.",
            (Query("realmfleet_key_releases_total > 0", "{{result}}"),),
        ),
    ),
)

_DETAILS = Row(
    "Claims and tokens",
    (
        Panel(
            "Appraised claims",
            "How often each claim of each half of the token got which tier; anything but affirming deserves a look.",
            (Query("sum by (half, claim, tier) (realmfleet_attestation_claims_total)", "{{half}} {{claim}} {{tier}}"),),
            Look.TABLE,
            width=12,
        ),
        Panel(
            "Size of a token",
            "Mean so far. Another profile or more firmware components make it jump.",
            (Query("realmfleet_token_bytes_total / (realmfleet_tokens_total > 0)", "bytes"),),
            unit=Unit.BYTES,
            width=6,
        ),
        Panel(
            "Start of a confidential pod by step",
            "Mean so far, stacked: the steps add up to a start. Pulling grows with the image.",
            (
                Query(
                    "sum by (step) (realmfleet_pod_start_seconds_sum) / "
                    "(sum by (step) (realmfleet_pod_start_seconds_count) > 0)",
                    "{{step}}",
                    empty_when=NO_PODS,
                ),
            ),
            Look.STACK,
            unit=Unit.SECONDS,
        ),
        Panel(
            "Confidential pods started and stopped",
            "So far; stopped ones by step. A host that cheats shows at the step of what it touches.",
            (
                Query("realmfleet_pod_starts_total", "started"),
                Query("realmfleet_pod_refusals_total > 0", "stopped at {{step}}", empty_when=NO_PODS),
            ),
        ),
    ),
    details=True,
)

DASHBOARD = Dashboard(
    Board.ATTESTATION,
    "Attestation",
    "Is evidence good and judged fast enough?",
    (_VERDICT, _VERIFIER, _DETAILS),
)
