"""Does the testbed itself work: engine, links, actors?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, stat
from orchestrator.metrics.catalogue import Board

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Virtual time",
            "Time that has passed in the simulation since the start of the run.",
            "realmfleet_sim_time_seconds",
            Unit.SECONDS,
        ),
        stat(
            "Virtual seconds per wall second",
            "Over the whole run. Below 1 a live run falls behind the clock: fewer machines, or more actors.",
            "realmfleet_sim_time_seconds / on () realmfleet_run_wall_seconds",
            good_from=1,
        ),
        stat(
            "Actors restarted",
            "Actors that died and were rebuilt to the same digest. The run is unharmed; the host may need a look.",
            "realmfleet_actor_restarts_total",
            bad_from=1,
        ),
        stat(
            "Commands refused",
            "Commands of the control plane that machines refused, so far; which ones is said below.",
            "sum(realmfleet_commands_refused_total)",
        ),
    ),
)

_WORK = Row(
    "Work",
    (
        Panel(
            "Trace records by kind",
            "Records per virtual second: what goes on in the fleet.",
            (Query("sum by (kind) (rate(realmfleet_trace_records_total[$__rate_interval]))", "{{kind}}"),),
            Look.STACK,
            Unit.PER_SECOND,
            12,
        ),
        Panel(
            "Messages",
            "Messages per virtual second that links carried and lost. Heartbeats are the even floor.",
            (
                Query("rate(realmfleet_messages_delivered_total[$__rate_interval])", "delivered"),
                Query("sum(rate(realmfleet_messages_lost_total[$__rate_interval]))", "lost"),
            ),
            unit=Unit.PER_SECOND,
            width=12,
        ),
        Panel(
            "Commands refused",
            "Totals so far by command; the trace says which machine and with what status.",
            (Query("realmfleet_commands_refused_total > 0", "{{command}}", empty_when="machines refused no command"),),
        ),
        Panel(
            "Operator inputs",
            "What operators asked of a live run so far, and whether it took effect or by which rule it was refused.",
            (
                Query(
                    "sum by (asked, result) (realmfleet_operator_inputs_total)",
                    "{{asked}}: {{result}}",
                    empty_when="no operator did anything while it ran",
                ),
            ),
        ),
        Panel(
            "Beats and calls of the fleet",
            "Totals of this execution. Many calls a beat mean many coupled machines: migrations.",
            (
                Query("realmfleet_engine_beats_total", "beats"),
                Query("realmfleet_engine_fleet_calls_total", "calls"),
            ),
        ),
        Panel(
            "Actors",
            "Ray actors that hold the machines; 0 when they live in the head's process.",
            (Query("realmfleet_actors", "actors"),),
        ),
    ),
)

_DETAILS = Row(
    "Identity",
    (
        Panel(
            "Run",
            "Cluster and seed: with the same file they give this run again.",
            (Query("realmfleet_run_info", "{{run_id}} {{cluster}} {{seed}} {{clock}}"),),
            Look.TABLE,
            width=12,
        ),
        Panel(
            "Versions",
            "Versions of Realmfleet, Python and Ray that ran.",
            (Query("realmfleet_build_info", "{{version}} {{python}} {{ray}}"),),
            Look.TABLE,
            width=12,
        ),
    ),
    details=True,
)

DASHBOARD = Dashboard(Board.CONTROL, "Control plane", "Does the testbed itself work?", (_VERDICT, _WORK, _DETAILS))
