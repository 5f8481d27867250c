"""Do Realms move, and what does moving cost them?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, quantiles, stat
from orchestrator.metrics.catalogue import Board

_NONE = "no Realm was migrated"

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Moved",
            "Migration sessions (modelled) that ended with the Realm on its target.",
            'realmfleet_migrations_total{result="moved"}',
        ),
        stat(
            "Not moved",
            "Sessions that ended otherwise: resumed on the source, or lost with a machine. Ask realmfleet explain.",
            'sum(realmfleet_migrations_total{result!="moved"})',
            bad_from=1,
        ),
        stat(
            "Downtime, 95 in 100 within",
            "Time in which a migrating Realm executed nowhere. All memory is sent meanwhile, so it grows with that.",
            "histogram_quantile(0.95, sum by (le) (realmfleet_migration_downtime_seconds_bucket))",
            Unit.SECONDS,
            bad_from=5,
            empty_when=_NONE,
        ),
        stat(
            "Under way",
            "Sessions open right now. One that stays open waits for an end that does not answer.",
            "sum(realmfleet_migrations_in_progress)",
        ),
    ),
)

_SESSIONS = Row(
    "Sessions",
    (
        Panel(
            "Sessions finished",
            "Totals so far, by how they ended.",
            (Query("realmfleet_migrations_total", "{{result}}"),),
        ),
        Panel(
            "Sessions under way",
            "By phase: open before the one decision, committed or aborting after it.",
            (Query("realmfleet_migrations_in_progress", "{{phase}}"),),
            Look.STACK,
        ),
        Panel(
            "Migrations not begun",
            "Requests declined so far, by the rule against them.",
            (Query("realmfleet_migration_refusals_total > 0", "{{rule}}", empty_when="every request was admitted"),),
        ),
        Panel(
            "Downtime",
            "Quantiles so far, resumed Realms included.",
            quantiles("realmfleet_migration_downtime_seconds", _NONE),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Duration of a session",
            "From opening it to its end on both sides; quantiles so far.",
            quantiles("realmfleet_migration_duration_seconds", _NONE),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Bytes sent",
            "Modelled bytes that finished sessions put on links, total so far.",
            (Query("realmfleet_migration_sent_bytes_total", "bytes"),),
            unit=Unit.BYTES,
        ),
        Panel(
            "Realm-seconds lost to migration",
            "Total so far, from the fleet's point of view.",
            (Query('realmfleet_realm_unavailable_seconds_total{cause="migration"}', "Realm-seconds"),),
            unit=Unit.SECONDS,
        ),
    ),
)

DASHBOARD = Dashboard(Board.MIGRATION, "Migration", "What does moving Realms cost?", (_VERDICT, _SESSIONS))
