"""What a dashboard says, as plain records: rows of panels with queries, and annotations.

Conventions: the first row is the verdict (four numbers), then the service, then what it uses, then details, collapsed.
Every panel says what it shows and what to do when it looks bad. Counters begin with the run, so a plain counter is a
total so far; `$__rate_interval` is for what goes on right now. At most 14 panels.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from orchestrator.metrics.catalogue import BY_NAME, Board, Kind

MOST_PANELS = 14


class Query(NamedTuple):
    """One expression. `empty_when` says in which good run it returns nothing; empty: it always returns data."""

    expr: str
    legend: str = ""
    empty_when: str = ""


class Look(StrEnum):
    """How a panel shows its queries."""

    STAT = "stat"
    LINES = "lines"
    STACK = "stack"
    TABLE = "table"


class Unit(StrEnum):
    """Grafana's names of the units that are used."""

    COUNT = "none"
    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    PER_SECOND = "cps"


class Panel(NamedTuple):
    """One panel: `shows` is what it shows and what to do about it. Widths add up to 24 a line.

    A stat is green, and red from `bad_from` on; or red, and green from `good_from` on.
    """

    title: str
    shows: str
    queries: tuple[Query, ...]
    look: Look = Look.LINES
    unit: Unit = Unit.COUNT
    width: int = 8
    bad_from: float | None = None
    good_from: float | None = None


class Row(NamedTuple):
    """A titled row of panels; `details` rows are collapsed."""

    title: str
    panels: tuple[Panel, ...]
    details: bool = False


class Variable(NamedTuple):
    """A choice at the top of a dashboard: values of `label` on `metric`, several or all at once."""

    name: str
    metric: str
    label: str


class Dashboard(NamedTuple):
    """One dashboard: it answers `question`."""

    board: Board
    title: str
    question: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> list[Panel]:
        """All panels in order."""
        return [panel for row in self.rows for panel in row.panels]

    @property
    def uid(self) -> str:
        """Stable id, also the end of its address in Grafana."""
        return f"realmfleet-{self.board}"


class Annotation(NamedTuple):
    """Marks on the time axis of every dashboard where the expression holds."""

    name: str
    query: Query
    title: str
    colour: str


ANNOTATIONS = (
    Annotation(
        "Faults",
        Query("sum by (kind) (realmfleet_faults_active) > 0", empty_when="no fault was injected"),
        "{{kind}}",
        "red",
    ),
    Annotation(
        "Rollout waves",
        Query('realmfleet_rollout_wave and on (rollout) realmfleet_rollout_stage{stage="running"} == 1',
              empty_when="there was no rollout"),
        "{{rollout}}",
        "blue",
    ),
    Annotation(
        "Rollouts held",
        Query('realmfleet_rollout_stage{stage="held"} == 1', empty_when="no rollout was held"),
        "{{rollout}} held",
        "orange",
    ),
    Annotation(
        "Machines lost",
        Query("sum by (reason) (increase(realmfleet_machine_losses_total[1m])) > 0", empty_when="no machine was lost"),
        "{{reason}}",
        "gray",
    ),
)  # fmt: skip

COLOURS = {
    "admitted": "green", "serving": "green", "success": "green", "affirming": "green", "placed": "green",
    "moved": "green", "done": "green", "pass": "green",
    "suspect": "yellow", "warning": "yellow", "waiting": "yellow", "absent": "yellow", "bring-up": "yellow",
    "down": "red", "refused": "red", "failed": "red", "lost": "red", "contraindicated": "red", "fail": "red",
    "machine-lost": "red", "held": "red",
    "migrating": "blue", "migration": "blue", "activating": "purple", "activation": "purple",
    "lease": "orange", "unplaced": "orange", "resumed": "orange", "freeze": "light-blue",
    "expected": "gray", "queued": "gray", "stopped": "gray", "awaited": "gray", "none": "gray",
}  # fmt: skip
"""The same thing has the same colour on every panel: label value -> Grafana's name of the colour."""


def quantiles(metric: str, empty_when: str = "", selector: str = "") -> tuple[Query, ...]:
    """Median, 95th and 99th percentile of all that a histogram (or its series `selector`) observed so far."""
    if BY_NAME[metric].kind is not Kind.HISTOGRAM:
        raise ValueError(f"{metric} is no histogram")
    return tuple(
        Query(f"histogram_quantile({share}, sum by (le) ({metric}_bucket{selector}))", name, empty_when)
        for share, name in (("0.5", "median"), ("0.95", "p95"), ("0.99", "p99"))
    )


def stat(
    title: str,
    shows: str,
    expr: str,
    unit: Unit = Unit.COUNT,
    *,
    bad_from: float | None = None,
    good_from: float | None = None,
    empty_when: str = "",
) -> Panel:
    """One number of the verdict row: red from `bad_from` on, or red until `good_from`."""
    query = Query(expr, empty_when=empty_when)
    return Panel(title, shows, (query,), Look.STAT, unit, 6, bad_from=bad_from, good_from=good_from)
