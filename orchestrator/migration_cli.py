"""`realmfleet migration`: what can be asked about moving Realms without a fleet (modelled: no Arm ABI is public)."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.errors import ExitCode, UserMistake

migration = typer.Typer(help="Moving Realms between machines (modelled: no Arm ABI is public).", no_args_is_help=True)

_NOTE = "modelled: no Arm ABI for Realm migration is public"


@migration.callback()
def _root() -> None:
    """Moving Realms between machines (modelled: no Arm ABI is public)."""


@migration.command()
def explore(
    mode: Annotated[list[str] | None, typer.Option(help="Only this mode; may be repeated.", metavar="MODE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Walk every interleaving of a migration session; exit 1 if the implemented mode has a flaw."""
    from orchestrator.migration.explore import explore as walk
    from orchestrator.migration.protocol import MODES, WITNESSED

    known = {one.name: one for one in MODES}
    unknown = [name for name in mode or () if name not in known]
    if unknown:
        raise UserMistake(f"there is no mode {unknown[0]}", f"modes: {', '.join(known)}")
    reports = [walk(known[name]) for name in known if not mode or name in mode]
    if as_json:
        modes = {
            report.mode: {
                "what": report.what,
                "states": report.states,
                "violations": report.violations,
                "dead_ends": report.dead_ends,
                "shortest": {found.kind: list(found.way) for found in report.shortest},
            }
            for report in reports
        }
        typer.echo(
            json.dumps({"kind": "migration-explore", "note": _NOTE, "implemented": WITNESSED.name, "modes": modes})
        )
    else:
        typer.echo(f"({_NOTE})")
        for report in reports:
            told = ", ".join(f"{name} violated in {count}" for name, count in report.violations.items() if count)
            ends = f"{report.dead_ends} dead ends" if report.dead_ends else "no dead end"
            typer.echo(f"{report.mode:<16} {report.states:>7} states: {told or 'P1 and P2 hold'}; {ends}")
            typer.echo(f"    {report.what}")
            for found in report.shortest:
                typer.echo(f"    shortest way to {found.kind}: {'; '.join(found.way)}")
    flawed = any(report.shortest for report in reports if report.mode == WITNESSED.name)
    raise typer.Exit(ExitCode.NO if flawed else ExitCode.GOOD)
