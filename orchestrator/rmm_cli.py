"""`realmfleet rmm`: the firmware door from the command line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.errors import ExitCode, UserMistake

rmm = typer.Typer(help="The simulated RMM behind its firmware door.", no_args_is_help=True)

GZIP_MAGIC = b"\x1f\x8b"
FORM = "JSON lines as `realmfleet run --record-door` writes them"


@rmm.command("replay")
def replay(
    traces: Annotated[list[Path], typer.Argument(help="Recorded traces, plain or gzipped.", metavar="TRACE...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Replay recorded RMI traces on the model and compare every answer; exit 1 if any differs."""
    from cca_machine.rmm.replay import replay as play

    total: dict[str, dict[str, Any]] = {}
    for path in traces:
        try:
            report = play(_records(path))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserMistake(f"{path} is not a trace: {error}", FORM) from None
        for name, seen in report.commands.items():
            row = total.setdefault(name, {"calls": 0, "agreements": 0, "first": None})
            row["calls"] += seen.calls
            row["agreements"] += seen.agreements
            if row["first"] is None and seen.first is not None:
                row["first"] = {"trace": str(path), **seen.first}
    good = all(row["calls"] == row["agreements"] for row in total.values())
    if as_json:
        typer.echo(json.dumps({"kind": "rmm-replay", "traces": len(traces), "good": good, "commands": total}))
    else:
        _show(total)
    raise typer.Exit(ExitCode.GOOD if good else ExitCode.NO)


def _show(total: dict[str, dict[str, Any]]) -> None:
    for name, row in sorted(total.items()):
        mark = "" if row["calls"] == row["agreements"] else "   <- differs"
        typer.echo(f"{name:<24} {row['agreements']:>8} of {row['calls']:>8} agree{mark}")
        if row["first"] is not None:
            typer.echo(f"    first: {json.dumps(row['first'])}")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a trace file; what is no trace is the user's mistake."""
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except FileNotFoundError:
        raise UserMistake(f"there is no file {path}", "check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserMistake(f"{path} cannot be read: {error}", "a trace, plain or gzipped") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            raise UserMistake(f"{path}:{number}: not JSON", FORM) from None
        if not isinstance(record, dict):
            raise UserMistake(f"{path}:{number}: not a record", FORM)
        yield record
