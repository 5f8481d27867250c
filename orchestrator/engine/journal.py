"""The journal: what came from outside, written before it takes effect, and how far the run has come.

A run is a function of its cluster file, its seed and its external inputs. The first two are in the run's directory; the
inputs are here, each with its number and the boundary at which it was admitted, so that a replay admits it there again.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct


class ExternalInput(Struct, frozen=True):
    """Something an operator, a key-broker client or a gate asked for; takes effect at the boundary `at_ns`."""

    number: int
    at_ns: int
    body: Any


class Journal(Protocol):
    """Keeps inputs and beats. `admitted` must be durable when it returns; `beat` may be kept in batches."""

    def admitted(self, entry: ExternalInput) -> None:
        """Write an input before it takes effect."""
        ...

    def beat(self, boundary_ns: int, digest: str) -> None:
        """Note that the run has passed `boundary_ns`, and the digest of the trace settled by then."""
        ...


class MemoryJournal:
    """A journal that lives as long as its process, for runs that need no resume."""

    def __init__(self) -> None:
        self.inputs: list[ExternalInput] = []
        self.boundary_ns = 0

    def admitted(self, entry: ExternalInput) -> None:
        """Keep the input."""
        self.inputs.append(entry)

    def beat(self, boundary_ns: int, digest: str) -> None:
        """Remember the boundary."""
        self.boundary_ns = boundary_ns
