"""What is wrong with a file: findings (where in the data), problems (where in the text), and how they are shown.

A check speaks of paths into the data and yields `Finding`; the loader knows the text and turns each into a `Problem`
with line, column and the line itself. `render` writes problems for people, `as_json` for programs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list indexes from the root of the file."""

MOST_SHOWN = 20
"""Problems shown at once; the rest is counted."""

_WIDEST_LINE = 160


class Severity(StrEnum):
    """Errors make a file unusable; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a path of the data; `at` says whether the key or its value is at fault."""

    path: Path
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    at: Literal["key", "value"] = "value"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place of the text; line and column count from 1, `source` is the text of the line."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    source: str = ""

    @property
    def headline(self) -> str:
        """`file:line:column: path: message`, with the word warning where it is one."""
        warning = "warning: " if self.severity is Severity.WARNING else ""
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {warning}{path}{self.message}"


def path_text(path: Path) -> str:
    """A path as users read it: `faults[0].select.rack`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _excerpt(problem: Problem) -> list[str]:
    """The line and a caret under the column; long lines are cut to a window around it."""
    start = max(0, problem.column - 1 - _WIDEST_LINE // 2) if len(problem.source) > _WIDEST_LINE else 0
    window = problem.source[start : start + _WIDEST_LINE]
    # tabs and control characters would shift the caret
    window = "".join(letter if letter.isprintable() else " " for letter in window)
    number = f"{problem.line:>5} | "
    return [number + window.rstrip(), " " * (len(number) - 2) + "| " + " " * (problem.column - 1 - start) + "^"]


def render(problems: Sequence[Problem]) -> str:
    """Text for people: place, message, the line with a caret, hint; at most `MOST_SHOWN`, then the rest's count."""
    lines: list[str] = []
    for problem in problems[:MOST_SHOWN]:
        lines.append(problem.headline)
        if problem.source:
            lines.extend(_excerpt(problem))
        if problem.hint:
            lines.append(f"      = {problem.hint}")
    rest = len(problems) - MOST_SHOWN
    if rest > 0:
        lines.append(f"and {rest} more")
    return "\n".join(lines)


def as_json(problems: Sequence[Problem]) -> dict[str, Any]:
    """Plain data for programs: the first `MOST_SHOWN` problems and how many more there are."""
    shown = [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "path": problem.path,
            "severity": str(problem.severity),
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in problems[:MOST_SHOWN]
    ]
    return {"problems": shown, "more": max(0, len(problems) - MOST_SHOWN)}


def closest(wanted: str, known: Iterable[str]) -> str | None:
    """The known name most like the wanted one, or None when nothing is like it."""
    found = difflib.get_close_matches(wanted, list(known)[:5000], n=1, cutoff=0.6)
    return found[0] if found else None


def suggestion(wanted: str, known: Sequence[str], noun: str = "known here") -> str:
    """Hint for a name that does not exist: the closest one, then what exists (the first few of many)."""
    best = closest(wanted, known)
    listed = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
    parts = [f"did you mean '{best}'?"] if best is not None else []
    parts.append(f"{noun}: {listed}" if known else f"{noun}: nothing")
    return " ".join(parts)
