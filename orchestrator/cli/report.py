"""The commands that look at finished runs as a whole: `report` makes the page of one again, `diff` compares two."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.report.diff import Changed, Comparison

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]

LISTED = 30
"""Lines of a kind that people are shown; JSON has them all."""


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(report)
    app.command()(diff)


def report(
    run_dir: RunDir,
    out: Annotated[Path | None, typer.Option(help="File to write (default: report.html in the run).")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the report of a finished run again: one HTML file that needs nothing else, the same bytes every time."""
    from orchestrator.report.writing import rebuild

    path = rebuild(run_dir, out)
    if as_json:
        _print_json({"kind": "report", "file": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"wrote {path} ({path.stat().st_size:,} bytes)")
    if open_:
        typer.launch(path.resolve().as_uri())


def diff(
    left: RunDir,
    right: Annotated[Path, typer.Argument(help="Run directory to compare it with.", metavar="RUN")],
    as_json: AsJson = False,
) -> None:
    """Compare two finished runs: configuration, outcomes, checkers, metrics, first diverging record; exit 1 if any."""
    import msgspec

    from orchestrator.report.diff import compare

    found = compare(left, right)
    if as_json:
        _print_json({"kind": "diff", "schema_version": 1, "same": found.same, **msgspec.to_builtins(found)})
    else:
        for line in told(found):
            typer.echo(line)
    raise typer.Exit(ExitCode.GOOD if found.same else ExitCode.NO)


def told(found: Comparison) -> Iterable[str]:
    """The comparison for people."""
    yield f"- {found.left}"
    yield f"+ {found.right}"
    if found.same:
        yield "the same: configuration, outcomes, checkers, metrics, every trace record"
        return
    for title, changes in (
        ("configuration", found.configuration),
        ("outcomes", found.outcomes),
        ("checkers", found.checkers),
        ("metrics at the end (ns, bytes, counts)", found.metrics),
    ):
        yield ""
        yield from _listed(title, changes)
    yield ""
    if found.parting is None:
        yield "traces: the same, record by record"
        return
    part = found.parting
    where = f"record {part.place}, {part.kind} of {part.source}"
    yield f"traces: part at {where}" + (f", in {', '.join(part.fields)}" if part.fields else "")
    yield f"  - {part.left or '(this trace has ended)'}"
    yield f"  + {part.right or '(this trace has ended)'}"


def _listed(title: str, changes: tuple[Changed, ...]) -> Iterable[str]:
    if not changes:
        yield f"{title}: the same"
        return
    yield f"{title}: {len(changes)} different"
    for change in changes[:LISTED]:
        yield f"  {change.what}: {_word(change.left)} → {_word(change.right)}{_by(change)}"
    if len(changes) > LISTED:
        yield f"  and {len(changes) - LISTED} more (--json lists all)"


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "(none)" if value is None else str(value).lower()
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _by(change: Changed) -> str:
    """By how much a number changed."""
    left, right = change.left, change.right
    if isinstance(left, bool) or isinstance(right, bool):
        return ""
    if not isinstance(left, int | float) or not isinstance(right, int | float) or change.what.startswith("("):
        return ""
    share = f", {100 * (right - left) / left:+.1f} %" if left else ""
    return f"  ({right - left:+,.10g}{share})"


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
