"""The control plane of a fleet of simulated Arm CCA servers, and the Python face of a run.

Names are looked up when they are first used, so that importing a part of the package does not import all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Run, RunOptions, RunResult, open_cluster
    from orchestrator.errors import UserMistake

__all__ = ["Run", "RunOptions", "RunResult", "UserMistake", "open_cluster"]

_HOMES = {
    "Run": "orchestrator.api",
    "RunOptions": "orchestrator.api",
    "RunResult": "orchestrator.api",
    "UserMistake": "orchestrator.errors",
    "open_cluster": "orchestrator.api",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
