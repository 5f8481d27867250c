"""What a fold offers to the collector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from orchestrator.chaos.history import Line

Handlers: TypeAlias = Mapping[str, Callable[[Line], None]]
"""Methods that read trace lines, by kind of record."""


class Fold(Protocol):
    """One concern of the metrics."""

    def handlers(self) -> Handlers:
        """Which kinds of records it reads, and with what."""
        ...
