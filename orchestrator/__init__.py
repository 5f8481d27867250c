"""The control plane of a fleet of simulated Arm CCA servers, and the Python face of a run.

Names are looked up when they are first used, so that importing a part of the package does not import all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Run, RunOptions, RunResult
    from orchestrator.chaos.verdict import Case, Outcome, Verdict, Violations
    from orchestrator.errors import UserMistake
    from orchestrator.scripting.errors import ActRefused, FleetError, NotReached, UnknownName
    from orchestrator.scripting.faults import Fault
    from orchestrator.scripting.fleet import Fleet, open_fleet
    from orchestrator.scripting.results import Results, open_results
    from orchestrator.scripting.spec import Spec
    from orchestrator.scripting.sweeps import SweepResults, run_sweep

__all__ = [
    "ActRefused",
    "Case",
    "Fault",
    "Fleet",
    "FleetError",
    "NotReached",
    "Outcome",
    "Results",
    "Run",
    "RunOptions",
    "RunResult",
    "Spec",
    "SweepResults",
    "UnknownName",
    "UserMistake",
    "Verdict",
    "Violations",
    "open_fleet",
    "open_results",
    "run_sweep",
]

_HOMES = {
    "ActRefused": "orchestrator.scripting.errors",
    "Case": "orchestrator.chaos.verdict",
    "Fault": "orchestrator.scripting.faults",
    "Fleet": "orchestrator.scripting.fleet",
    "FleetError": "orchestrator.scripting.errors",
    "NotReached": "orchestrator.scripting.errors",
    "Outcome": "orchestrator.chaos.verdict",
    "Results": "orchestrator.scripting.results",
    "Run": "orchestrator.api",
    "RunOptions": "orchestrator.api",
    "RunResult": "orchestrator.api",
    "Spec": "orchestrator.scripting.spec",
    "SweepResults": "orchestrator.scripting.sweeps",
    "UnknownName": "orchestrator.scripting.errors",
    "UserMistake": "orchestrator.errors",
    "Verdict": "orchestrator.chaos.verdict",
    "Violations": "orchestrator.chaos.verdict",
    "open_fleet": "orchestrator.scripting.fleet",
    "open_results": "orchestrator.scripting.results",
    "run_sweep": "orchestrator.scripting.sweeps",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
