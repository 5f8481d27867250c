"""What a script may have to catch: everything is a `FleetError`, which is a `UserMistake` that shows its hint."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.cluster.diagnostics import suggestion
from orchestrator.errors import UserMistake


class FleetError(UserMistake):
    """Something the script must change; `hint` says what would be right."""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UnknownName(FleetError, KeyError):
    """There is nothing of that name; the hint is the closest name that there is."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no {what} {name}", suggestion(name, list(known), f"{what}s"))


class ActRefused(FleetError):
    """The fleet said no and nothing changed; `rule` is unknown, conflict or invalid."""

    def __init__(self, rule: str, why: str, hint: str = "") -> None:
        super().__init__(why, hint)
        self.rule = rule


class NotReached(FleetError):
    """A condition did not become true in time."""
