"""The reference page of the metrics, generated from the catalogue: `docs/reference/metrics.md`."""

from __future__ import annotations

from orchestrator.metrics.catalogue import CATALOGUE
from orchestrator.metrics.export import EPOCH_S, bounds
from orchestrator.metrics.metric import (
    PER_MACHINE_BELOW,
    SERIES_BUDGET,
    Board,
    Label,
    Ladder,
    Metric,
)

_INTRODUCTION = f"""\
# Metrics

Generated from `orchestrator/metrics/catalogue.py`; do not edit.

A finished run leaves `metrics.om` in its directory: OpenMetrics text with a sample of every series each 15 virtual
seconds, at virtual timestamps counted from {EPOCH_S} (2026-01-01T00:00:00Z). The same file and seed give
the same bytes.
`realmfleet metrics load RUN --into DIR` turns it into a Prometheus data directory. A live run serves the same metrics.

- Units are base units: seconds, bytes. Durations are virtual unless the origin is `process`.
- Origin `trace`: computed from the trace alone. `run`: from the cluster file and the judgement at the end. `process`:
  about one execution (versions, actors, wall time); not in `metrics.om`, added from the manifest by `metrics load`.
- Metrics with a label `machine` exist in fleets below {PER_MACHINE_BELOW:,} machines only. A fleet of
  {PER_MACHINE_BELOW:,} machines stays under {SERIES_BUDGET:,} series.
- Every value a closed label may take is listed; `other` stands for what the catalogue does not know.
- There is no label for Realms, sessions, faults or tokens: these are in the trace (`realmfleet explain RUN OBJECT`).
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join((_INTRODUCTION, *_tables(), *_labels(), *_ladders()))


def _tables() -> list[str]:
    lines = ["## By dashboard\n"]
    for board in Board:
        names = [f"`{metric.name}`" for metric in CATALOGUE if board in metric.boards]
        lines.append(f"- **{board}**: {', '.join(names)}")
    lines.append("\n## Catalogue\n")
    lines.append("| Name | Type | Labels | Origin | Meaning |\n|---|---|---|---|---|")
    lines += [_row(metric) for metric in sorted(CATALOGUE, key=lambda metric: metric.name)]
    return [*lines, ""]


def _row(metric: Metric) -> str:
    kind = f"{metric.kind}, {metric.ladder} ladder" if metric.ladder else str(metric.kind)
    labels = ", ".join(f"`{label.name}`" for label in metric.labels) or "none"
    return f"| `{metric.name}` | {kind} | {labels} | {metric.origin} | {_cell(metric.help)} |"


def _labels() -> list[str]:
    lines = ["## Labels\n", "| Label | Of | Values |\n|---|---|---|"]
    for label in dict.fromkeys(label for metric in CATALOGUE for label in metric.labels):
        users = [f"`{metric.name}`" for metric in CATALOGUE if label in metric.labels]
        lines.append(f"| `{label.name}` | {', '.join(users)} | {_values(label)} |")
    return [*lines, ""]


def _values(label: Label) -> str:
    return ", ".join(f"`{value}`" for value in label.values) if label.values else f"bounded by: {label.bound}"


def _ladders() -> list[str]:
    lines = ["## Ladders\n", "Upper bounds of histogram buckets in seconds.\n"]
    for ladder in Ladder:
        example = next(metric for metric in CATALOGUE if metric.ladder is ladder)
        lines.append(f"- `{ladder}`: {', '.join(bounds(example))}, `+Inf`")
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
