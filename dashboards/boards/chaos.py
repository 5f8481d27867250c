"""What was done to the fleet, how did it fare, and did it keep its promises?"""

from __future__ import annotations

from dashboards.boards.fleet import ACTIVE_FAULTS, AVAILABILITY, CHECKERS_FAILED
from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, quantiles, stat
from orchestrator.metrics.catalogue import Board

_NONE = "no fault was injected"

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Availability",
            "Share of wanted Realm-time that was served so far, bring-up included.",
            AVAILABILITY,
            Unit.SHARE,
            good_from=0.95,
        ),
        CHECKERS_FAILED,
        stat(
            "Recovery, 95 in 100 within",
            "From the end of a fault until every wanted Realm serves; zero where the fleet was whole by then.",
            "histogram_quantile(0.95, sum by (le) (realmfleet_fault_recovery_seconds_bucket))",
            Unit.SECONDS,
            bad_from=120,
            empty_when=_NONE,
        ),
        ACTIVE_FAULTS,
    ),
)

_FAULTS = Row(
    "Faults",
    (
        Panel(
            "Faults in force",
            "By kind. What happens on the other panels while a band stands here is what the fault does.",
            (Query("realmfleet_faults_active", "{{kind}}"),),
            Look.STACK,
            width=12,
        ),
        Panel(
            "Faults injected and skipped",
            "Totals so far by kind; a skipped fault struck nobody, so its selector deserves a look.",
            (
                Query("realmfleet_faults_injected_total > 0", "{{kind}}", empty_when=_NONE),
                Query("realmfleet_faults_skipped_total > 0", "{{kind}} (skipped)", empty_when="every fault struck"),
            ),
            width=12,
        ),
        Panel(
            "Machines held by faults",
            "Number of machines that each kind of fault holds.",
            (
                Query(
                    "sum by (kind) (realmfleet_machine_fault_active)",
                    "{{kind}}",
                    empty_when=f"{_NONE}, or the fleet has 1 000 machines or more",
                ),
            ),
        ),
    ),
)

_EFFECTS = Row(
    "Effects",
    (
        Panel(
            "Unserved Realms by cause",
            "Wanted Realms that do not serve. It must return to zero within the bound that the checker holds it to.",
            (Query("realmfleet_unserved_realms", "{{cause}}"),),
            Look.STACK,
        ),
        Panel(
            "Machines lost and suspected",
            "What was truly lost, and what the control plane noticed by silence; totals so far.",
            (
                Query("sum by (reason) (realmfleet_machine_losses_total)", "lost: {{reason}}"),
                Query("realmfleet_machine_suspicions_total", "suspected"),
            ),
        ),
        Panel(
            "Restarts and strays",
            "Copies given up, by reason, and copies found that nobody believed in; totals so far.",
            (
                Query("sum by (reason) (realmfleet_realm_restarts_total) > 0", "restart: {{reason}}",
                      empty_when="nothing was restarted"),
                Query("realmfleet_stray_copies_total", "strays"),
            ),
        ),
        Panel(
            "Messages lost",
            "In the interval, by the way they went. Without a network fault none should be.",
            (Query("sum by (leg) (increase(realmfleet_messages_lost_total[$__rate_interval]))", "{{leg}}"),),
        ),
        Panel(
            "Silence of machines",
            "Until they were heard again; quantiles so far.",
            quantiles("realmfleet_machine_silence_seconds", "no machine was silent and came back"),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Checkers",
            "What each checker said at the end of the run: pass, fail or unknown.",
            (Query("realmfleet_checker_verdict == 1", "{{checker}}: {{outcome}}"),),
            Look.TABLE,
        ),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    Board.CHAOS, "Chaos", "What was done to the fleet, and how did it fare?", (_VERDICT, _FAULTS, _EFFECTS)
)
