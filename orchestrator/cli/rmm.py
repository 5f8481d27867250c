"""`realmfleet rmm`: the firmware door from the command line."""

from __future__ import annotations

import gzip
import json
import sys
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


@rmm.command("call", context_settings={"ignore_unknown_options": True})
def call(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="COMMAND and register values; `+` begins the next call.", metavar="COMMAND ARGS [+ ..]"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Lines of the shell to do first (`-`: standard input).", metavar="FILE")
    ] = None,
    quirks: Annotated[str, typer.Option(help="suggested, text or tf-rmm.")] = "suggested",
    edition: Annotated[str, typer.Option(help="1.0 or 2.0: the RMI that the RMM speaks.")] = "1.0",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Make RMI calls on a fresh machine and say what they answer, and which condition refused; exit 1 if one is."""
    from orchestrator.cli.rmm_console.session import Session
    from orchestrator.cli.rmm_console.shell import run_lines
    from orchestrator.cli.rmm_console.verbs import smc

    if not words and file is None:
        raise UserMistake("there is nothing to call", "realmfleet rmm call GRANULE_DELEGATE 0x880000000")
    session = Session(quirks, edition)
    if file is not None:
        run_lines(session, _lines(file), (lambda _: None) if as_json else typer.echo, str(file))
    before = len(session.calls)
    for one in _calls(words or []):
        made = smc(session, one)
        if not as_json:
            typer.echo(made.sentence())
    good = all(made.good for made in (session.calls[before:] or session.calls))
    if as_json:
        typer.echo(json.dumps({"kind": "rmm-call", "good": good, "calls": [made.as_json() for made in session.calls]}))
    raise typer.Exit(ExitCode.GOOD if good else ExitCode.NO)


@rmm.command("shell")
def shell(
    quirks: Annotated[str, typer.Option(help="suggested, text or tf-rmm.")] = "suggested",
    edition: Annotated[str, typer.Option(help="1.0 or 2.0: the RMI that the RMM speaks.")] = "1.0",
) -> None:
    """Talk to a fresh RMM by hand: delegate granules, build a Realm, walk its tables, ask why a call was refused."""
    from orchestrator.cli.rmm_console.session import Session
    from orchestrator.cli.rmm_console.shell import interact, run_lines

    session = Session(quirks, edition)
    if sys.stdin.isatty():
        raise typer.Exit(interact(session))
    run_lines(session, sys.stdin, typer.echo, "standard input")


def _calls(words: list[str]) -> Iterator[list[str]]:
    """The words of each call; `+` stands between two."""
    one: list[str] = []
    for word in [*words, "+"]:
        if word != "+":
            one.append(word)
        elif one:
            yield one
            one = []


def _lines(file: Path) -> list[str]:
    if str(file) == "-":
        return sys.stdin.read().splitlines()
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserMistake(f"there is no file {file}", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(f"{file} cannot be read: {error}", "a text file with a call a line") from None


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
