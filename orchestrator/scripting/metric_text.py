"""The samples of one metric out of a run's `metrics.om`, as rows; the writer is `orchestrator.metrics.export`.

The strict parser of prometheus_client takes no histogram with more than one timestamp, and a run has hundreds, so the
lines that our own writer makes are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import UserMistake
from orchestrator.metrics.export import EPOCH_S

_SAMPLE: Final = re.compile(r"(?P<series>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+) (?P<at>\S+)\n?")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")


def read_metric(file: Path, family: str, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a family (its name without suffix) by series and time. Raises `UserMistake` for a damaged file."""
    for line in _lines_of(file, family):
        found = _SAMPLE.fullmatch(line)
        if found is None:
            raise UserMistake(f"{file} is no file of metrics: {line[:80]!r}", "the run directory is damaged")
        told = {name: _ESCAPED.sub(_plain, text) for name, text in _LABEL.findall(found["labels"] or "")}
        row: dict[str, Any] = {"at_s": float(found["at"]) - EPOCH_S, "series": found["series"]}
        yield {**row, "value": float(found["value"]), **{label: told.get(label) for label in labels}}


def _plain(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] == "n" else escaped[1]


def _lines_of(file: Path, family: str) -> Iterator[str]:
    """Sample lines of a family, which stand together behind its HELP line."""
    try:
        with file.open(encoding="utf-8") as text:
            own = False
            for line in text:
                if line.startswith("# HELP "):
                    own = line.split(" ", 3)[2] == family
                elif own and not line.startswith("#"):
                    yield line
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "the run directory is damaged") from error
