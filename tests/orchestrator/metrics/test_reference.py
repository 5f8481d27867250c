"""The reference page says everything that the catalogue says."""

from __future__ import annotations

from orchestrator.metrics.catalogue import CATALOGUE
from orchestrator.metrics.reference import markdown


def test_every_metric_has_its_row_with_type_and_meaning() -> None:
    page = markdown()
    for entry in CATALOGUE:
        rows = [line for line in page.splitlines() if line.startswith(f"| `{entry.name}` | {entry.kind}")]
        assert len(rows) == 1
        assert entry.help in rows[0]


def test_every_value_of_every_closed_label_is_listed() -> None:
    page = markdown()
    for label in (label for entry in CATALOGUE for label in entry.labels):
        assert all(f"`{value}`" in page for value in label.values)
        assert label.bound in page
