"""The reference page of the Python API: every public name with its methods, and every column of every table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

import orchestrator
from orchestrator.scripting.columns import METRIC_COLUMNS, TABLES, Column
from orchestrator.scripting.handles import MachineHandle, RealmHandle, RolloutHandle
from orchestrator.scripting.selection import Selection

_HANDED_OUT = (Selection, MachineHandle, RealmHandle, RolloutHandle)
"""Classes that a script is given and never makes."""


def markdown() -> str:
    """The page."""
    lines = ["# The Python API", "", "Generated from `orchestrator/scripting/`; do not edit.", ""]
    lines += ["`from orchestrator import ...` knows these names; a name is imported when it is first used.", ""]
    for name in orchestrator.__all__:
        lines += _entry(name, getattr(orchestrator, name))
    lines += ["# What a script is handed", ""]
    for one in _HANDED_OUT:
        lines += _entry(one.__name__, one)
    lines += ["# Tables of a run", "", "Polars data frames, attributes of `Results`. Instants are virtual seconds.", ""]
    for table, columns in TABLES.items():
        lines += [f"## `{table}`", "", *_columns(columns)]
    lines += ["## `metrics(name)`", "", *_columns(METRIC_COLUMNS)]
    lines += ["One more text column for each label of the metric ([metrics.md](metrics.md))."]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield from (f"## `{name}{_signature(thing)}`", "", inspect.getdoc(thing) or "", "")
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    rows = [_member(member, vars(thing)[member]) for member in vars(thing) if not member.startswith("_")]
    told = [row for row in rows if row]
    if told:
        yield from ("| Member | Meaning |", "|---|---|", *told, "")


def _member(name: str, member: Any) -> str:
    """A row for a method or a property; empty for fields, which the class's own text tells."""
    function = getattr(member, "__func__", None) or getattr(member, "fget", None) or getattr(member, "func", None)
    shown = name if function is not None and not hasattr(member, "__func__") else None
    if function is None:
        function = member
    if not inspect.isfunction(function):
        return ""
    first = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    return f"| `{shown or name + _signature(function)}` | {first} |"


def _signature(thing: Any) -> str:
    """Names of the parameters with their defaults; types are in the code."""
    if inspect.isclass(thing) and (issubclass(thing, Exception | Enum) or thing in _HANDED_OUT):
        return ""
    try:
        given = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return ""
    kept = [one for one in given if one.name not in ("self", "cls")]
    return f"({', '.join(_parameter(one) for one in kept)})"


def _parameter(one: inspect.Parameter) -> str:
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    default = "" if one.default is inspect.Parameter.empty else f"={one.default!r}"
    return f"{stars}{one.name}{default if len(default) < 40 else '=...'}"


def _columns(columns: tuple[Column, ...]) -> list[str]:
    rows = [f"| `{column.name}` | {column.type} | {column.meaning} |" for column in columns]
    return ["| Column | Type | Meaning |", "|---|---|---|", *rows, ""]
