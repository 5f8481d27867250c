"""What the command line tells a user, and the exit code that goes with it.

    ExitCode            the contract of every command
    UserMistake         something the user or the environment must change (exit 2), and what would be right
    cluster mistakes    are `orchestrator.cluster.diagnostics` problems, shown all at once (exit 2)

A fault of ours is any other exception: it stops the run loudly with exit 3.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `realmfleet`."""

    GOOD = 0
    NO = 1
    """The answer is no: a checker failed, evidence was refused or malformed, traces disagree."""
    USER = 2
    """The user or the environment must change something: arguments, file, key, port, Ray."""
    OURS = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


class UserMistake(Exception):
    """Something the user or the environment must change; `hint` says what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
