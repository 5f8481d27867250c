"""What can go wrong at the seam between head and node.

NodeError
├── NodeBroken       the two sides do not understand each other, or a machine failed: our own fault
├── NodeLost         the node does not answer; the head fills its seat again
└── RayUnavailable   Ray cannot be started or reached: the user or the environment must change something
"""

from __future__ import annotations


class NodeError(Exception):
    """Root of the family."""


class NodeBroken(NodeError):
    """A request that no head of ours sends, or a fault inside a machine; the run ends."""


class NodeLost(NodeError):
    """The node does not answer. `gone` tells a dead process from one that may still come back."""

    def __init__(self, why: str, *, gone: bool) -> None:
        super().__init__(why)
        self.gone = gone


class RayUnavailable(NodeError):
    """Ray cannot be used; the text says why and what would help."""
