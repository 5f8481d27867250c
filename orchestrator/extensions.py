"""What a script may put into a run besides the cluster file: a score for the scheduler, and checkers of its own.

A run with a score of its own is no longer a function of file, seed and inputs alone: its manifest says so, and
`realmfleet replay` sends the user back to the script. Checkers only read the finished trace.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from orchestrator.chaos.verdict import Case, Verdict
from orchestrator.cluster.schema import RealmKind
from orchestrator.gate_keeper import GateFunction
from orchestrator.store import MachineView, Store

Score: TypeAlias = Callable[[MachineView, RealmKind, Store], Mapping[str, int]]
"""Named parts of how good a machine is for a Realm of a kind; integers, more is better. It must not change anything."""

Checker: TypeAlias = Callable[[Case], Verdict]
"""A pure function of the trace, like those of `orchestrator.chaos.checkers`."""


class Extensions(Struct, frozen=True):
    """What a script adds to one run."""

    score: Score | None = None
    checkers: tuple[Checker, ...] = ()
    gates: Mapping[str, GateFunction] = {}
    """Functions of python gates by name; their answers are journaled, so that the run can be replayed without them."""
    prometheus: str = ""
    """Where PromQL gates are asked, like http://127.0.0.1:9090; empty: nowhere, so that they are inconclusive."""

    @property
    def named(self) -> tuple[str, ...]:
        """Extensions without which the run would have been another: word, function, file."""
        return () if self.score is None else (f"score {_place(self.score)}",)


def _place(function: Callable[..., Any]) -> str:
    """Name of a function and of the file it stands in."""
    name = getattr(function, "__qualname__", type(function).__name__)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        file = None
    return f"{name} of {Path(file).name}" if file else str(name)
