"""The samples of one metric out of a run's `metrics.om`, as rows; the writer is `orchestrator.metrics.export`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_fd_to_metric_families

from orchestrator.errors import UserMistake
from orchestrator.metrics.export import EPOCH_S


def read_metric(file: Path, family: str, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a family (its name without suffix) by series and time; only its own part of the file is parsed."""
    parse: Any = text_fd_to_metric_families  # it has no types of its own
    for found in parse(_Part(_lines_of(file, family))):
        for sample in found.samples:
            row: dict[str, Any] = {"at_s": float(sample.timestamp) - EPOCH_S, "series": sample.name}
            yield {**row, "value": float(sample.value), **{label: sample.labels.get(label) for label in labels}}


class _Part:
    """As much of a text file as the parser asks of one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self._lines


def _lines_of(file: Path, family: str) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as text:
            own = False
            for line in text:
                if line.startswith("# HELP "):
                    own = line.split(" ", 3)[2] == family
                if own and not line.startswith("# EOF"):
                    yield line
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "the run directory is damaged") from error
    yield "# EOF\n"
