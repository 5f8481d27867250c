"""Is the fleet well?"""

from __future__ import annotations

from dashboards.panels import Dashboard, Look, Panel, Query, Row, Unit, Variable, quantiles, stat
from orchestrator.metrics.catalogue import Board

AVAILABILITY = (
    "sum(realmfleet_realm_serving_seconds_total) / "
    "(sum(realmfleet_realm_serving_seconds_total) + sum(realmfleet_realm_unavailable_seconds_total))"
)
"""Share of wanted Realm-time that was served so far in the run."""

REFUSED = (
    '(sum(realmfleet_attestations_total{result!="success"}) or vector(0)) / '
    "(sum(realmfleet_attestations_total) or vector(1))"
)
"""Share of the verdicts so far that were refusals."""

ACTIVE_FAULTS = stat(
    "Faults in force",
    "Injected faults that hold right now. What looks bad while this is not zero may be meant to.",
    "sum(realmfleet_faults_active)",
    bad_from=1,
)

CHECKERS_FAILED = stat(
    "Checkers failed",
    "Properties that the run broke; judged when it ends, empty until then. The chaos dashboard names them.",
    'sum(realmfleet_checker_verdict{outcome="fail"})',
    bad_from=1,
)

_VERDICT = Row(
    "Verdict",
    (
        stat(
            "Availability",
            "Share of wanted Realm-time that was served, bring-up included. If low: see unserved Realms by cause.",
            AVAILABILITY,
            Unit.SHARE,
            good_from=0.95,
        ),
        stat(
            "Evidence refused",
            "Share of verdicts that were refusals. If not zero: the attestation dashboard says what was refused.",
            REFUSED,
            Unit.SHARE,
            bad_from=0.01,
        ),
        CHECKERS_FAILED,
        ACTIVE_FAULTS,
    ),
)

_SERVICE = Row(
    "Realms",
    (
        Panel(
            "Realms by state",
            "What the control plane believes; the line is the number of copies that truly serve. If it lies above the "
            "green area, Realms run that nobody believes in: look for strays on the chaos dashboard.",
            (
                Query("realmfleet_realms", "{{state}}"),
                Query('sum(realmfleet_live_realms{doing="serving"})', "serving in truth"),
            ),
            Look.STACK,
            width=12,
        ),
        Panel(
            "Unserved Realms by cause",
            "Wanted Realms that do not serve, and why. If it does not go back to zero: ask realmfleet explain.",
            (Query("realmfleet_unserved_realms", "{{cause}}"),),
            Look.STACK,
            width=12,
        ),
        Panel(
            "Realm-seconds lost per second",
            "How many Realms' worth of service is being lost, by cause. A step without a fault deserves a look.",
            (
                Query(
                    "sum by (cause) (rate(realmfleet_realm_unavailable_seconds_total[$__rate_interval]))", "{{cause}}"
                ),
            ),
        ),
        Panel(
            "Requests served",
            "Total so far; a copy's requests are counted when it comes to a stand, so this moves in steps.",
            (Query("sum(realmfleet_realm_requests_total)", "requests"),),
        ),
        Panel(
            "Time to bring a Realm up",
            "From being wanted to serving, quantiles so far. If it grows: the scheduling dashboard has the stages.",
            quantiles("realmfleet_realm_bring_up_seconds", selector='{stage="total"}'),
            unit=Unit.SECONDS,
        ),
    ),
)

_MACHINES = Row(
    "Machines",
    (
        Panel(
            "Machines by state",
            "What the control plane believes of the chosen racks. Suspect and down without a fault: look at the links.",
            (Query('sum by (state) (realmfleet_machines{rack=~"$rack"})', "{{state}}"),),
            Look.STACK,
        ),
        Panel(
            "Losses, boots, suspicions, restarts",
            "Totals so far. Restarts of Realms follow machines that were lost or silent for longer than a lease.",
            (
                Query("sum(realmfleet_machine_losses_total)", "machines lost"),
                Query("sum(realmfleet_machine_boots_total)", "boots"),
                Query("realmfleet_machine_suspicions_total", "suspicions"),
                Query("sum(realmfleet_realm_restarts_total)", "Realm restarts"),
            ),
        ),
        Panel(
            "Machines by RMM version",
            "Machines that are up. Two versions are a rollout under way; more than two: see the rollout dashboard.",
            (Query('sum by (version) (realmfleet_firmware_machines{component="RMM"})', "{{version}}"),),
            Look.STACK,
        ),
    ),
)

_DETAILS = Row(
    "Each machine (fleets below 1 000 machines)",
    (
        Panel(
            "Realms on each machine",
            "Copies that execute on machines of the chosen racks; a machine that is not up shows none.",
            (
                Query(
                    'realmfleet_machine_live_realms * on (machine) group_left (rack, profile) '
                    'realmfleet_machine_info{rack=~"$rack"} and on (machine) realmfleet_machine_up == 1',
                    "{{rack}} {{machine}}",
                    empty_when="the fleet has 1 000 machines or more",
                ),
            ),
            width=12,
        ),
        Panel(
            "Memory of Realms",
            "Granules that Realms hold, on each machine and (the uppermost line) over the whole fleet.",
            (
                Query("realmfleet_machine_realm_memory_bytes", "{{machine}}",
                      empty_when="the fleet has 1 000 machines or more"),
                Query("realmfleet_realm_memory_bytes", "whole fleet"),
            ),
            unit=Unit.BYTES,
            width=12,
        ),
    ),
    details=True,
)  # fmt: skip

DASHBOARD = Dashboard(
    Board.FLEET,
    "Fleet",
    "Is the fleet well?",
    (_VERDICT, _SERVICE, _MACHINES, _DETAILS),
    (Variable("rack", "realmfleet_machines", "rack"),),
)
