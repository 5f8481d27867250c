"""What the engine raises: always the end of the run, and, but for a file that cannot be used, our own fault.

EngineFault
├── OrderBroken          a port broke its contract about instants, numbers or endpoints
├── NondeterminismFound  the same inputs gave other bytes than before
├── StoreUnreadable      a run's file is missing, damaged or of another format
└── StoreUnwritable      a run's file takes nothing more: the disk is full, or gone
"""

from __future__ import annotations


class EngineFault(Exception):
    """Root of the family; nothing in the project catches it to carry on."""


class OrderBroken(EngineFault):
    """`who` did something that the total order of the run does not allow; `at_ns` is the boundary it was seen at."""

    def __init__(self, who: str, what: str, at_ns: int) -> None:
        super().__init__(f"{who}: {what} (at {at_ns} ns)")
        self.who = who
        self.what = what
        self.at_ns = at_ns


class NondeterminismFound(EngineFault):
    """`who` answered the same inputs differently at `at_ns`; `what` names both answers, shortened."""

    def __init__(self, who: str, what: str, at_ns: int) -> None:
        super().__init__(f"{who} did not repeat itself at {at_ns} ns: {what}")
        self.who = who
        self.what = what
        self.at_ns = at_ns


class StoreUnreadable(EngineFault):
    """The file at `path` cannot be read as a run; `why` is a sentence."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class StoreUnwritable(EngineFault):
    """The file at `path` takes nothing more; what is in it stays readable, and the run can be resumed."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why
