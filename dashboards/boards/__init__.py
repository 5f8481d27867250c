"""The seven dashboards, one per task, in the order of `orchestrator.metrics.metric.Board`."""

from __future__ import annotations

from dashboards.boards import attestation, chaos, control_plane, fleet, migration, rollout, scheduling
from dashboards.panels import Dashboard

BOARDS: tuple[Dashboard, ...] = (
    fleet.DASHBOARD,
    attestation.DASHBOARD,
    scheduling.DASHBOARD,
    migration.DASHBOARD,
    rollout.DASHBOARD,
    chaos.DASHBOARD,
    control_plane.DASHBOARD,
)
