"""Do Realms find machines, and how fast do they come up there?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, quantiles, stat
from orchestrator.metrics.catalogue import Board

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Placed",
            "Placements so far: first ones and restarts.",
            'realmfleet_scheduling_attempts_total{result="placed"}',
        ),
        stat(
            "Waiting for a machine",
            "Realms without a machine right now. If it stays: the panel of reasons says what is missing.",
            "sum(realmfleet_scheduling_pending_realms)",
            bad_from=1,
        ),
        stat(
            "Wait, 95 in 100 within",
            "From wanting a copy to placing it, so far.",
            "histogram_quantile(0.95, sum by (le) (realmfleet_scheduling_wait_seconds_bucket))",
            Unit.SECONDS,
            bad_from=30,
        ),
        stat(
            "Cordoned machines",
            "Machines kept free of new Realms by operators or rollouts. After a rollout it must be zero again.",
            "realmfleet_machines_cordoned",
        ),
    ),
)

_PLACEMENT = Row(
    "Placement",
    (
        Panel(
            "Attempts",
            "Placement attempts so far. Unplaced ones count once per change of the reasons.",
            (Query("realmfleet_scheduling_attempts_total", "{{result}}"),),
        ),
        Panel(
            "Waiting Realms by reason",
            "The filter that refuses most machines for them. Granules, VMIDs: the fleet is full; state: not up.",
            (Query("realmfleet_scheduling_pending_realms", "{{reason}}"),),
            Look.STACK,
        ),
        Panel(
            "Wait for a machine",
            "From wanting a copy to placing it; quantiles so far.",
            quantiles("realmfleet_scheduling_wait_seconds"),
            unit=Unit.SECONDS,
        ),
        Panel(
            "Machines refused by filter",
            "How many machines each filter took out of play, so far; the first filter that refuses counts.",
            (Query("sum by (filter) (realmfleet_scheduling_rejections_total) > 0", "{{filter}}"),),
        ),
        Panel(
            "Realms believed under way",
            "States between being wanted and serving. A state that stays filled names the stage that hangs.",
            (Query('realmfleet_realms{state=~"wanted|placed|launching|verifying|releasing|replacing"}', "{{state}}"),),
            Look.STACK,
        ),
        Panel(
            "Bring-up by stage",
            "Mean so far of building by RMI calls, of attesting, of releasing the secret.",
            (
                Query(
                    'sum by (stage) (realmfleet_realm_bring_up_seconds_sum{stage!="total"}) / '
                    'sum by (stage) (realmfleet_realm_bring_up_seconds_count{stage!="total"})',
                    "{{stage}}",
                ),
            ),
            unit=Unit.SECONDS,
        ),
    ),
)

_DETAILS = Row(
    "What machines did for it",
    (
        Panel(
            "Realms built",
            "Builds finished in the interval, copies for migrations included.",
            (Query("increase(realmfleet_realm_builds_total[$__rate_interval])", "builds"),),
        ),
        Panel(
            "RMI calls of builds",
            "The ten commands called most, so far. Data pages dominate: larger memory, more calls.",
            (Query("topk(10, sum by (command) (realmfleet_rmi_calls_total))", "{{command}}"),),
            Look.TABLE,
        ),
        Panel(
            "RMI refusals",
            "Calls whose refusal ended a command, by status as the specification names it.",
            (
                Query(
                    "sum by (command, status) (realmfleet_rmi_refusals_total)",
                    "{{command}} {{status}}",
                    empty_when="the RMM refused nothing",
                ),
            ),
            Look.TABLE,
        ),
    ),
    details=True,
)

DASHBOARD = Dashboard(
    Board.SCHEDULING, "Scheduling", "Do Realms find machines and come up there?", (_VERDICT, _PLACEMENT, _DETAILS)
)
