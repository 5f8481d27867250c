"""`realmfleet migration`: what can be asked about moving Realms without a fleet (modelled: no Arm ABI is public)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.live import HERE, Address, AsJson, TokenFile, act
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


@migration.command("list")
def list_migrations(
    run_dir: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """List each migration of a run (modelled): rounds, bytes, dirty rate, downtime, outcome."""
    from orchestrator.chaos.history import read
    from orchestrator.inspect import open_run
    from orchestrator.migration.listing import migrations

    with open_run(run_dir) as reader:
        rows = migrations(read(reader.trace()))
    if as_json:
        typer.echo(json.dumps({"kind": "migrations", "note": _NOTE, "migrations": rows}))
        return
    typer.echo(f"({_NOTE})")
    for row in rows:
        typer.echo(_told(row))


@migration.command()
def evacuate(
    rack: Annotated[str, typer.Argument(help="Rack, as in r1.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan; the plan is in the events.")] = False,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Empty every machine of a rack of a live fleet (modelled)."""
    act(address, token_file, as_json, lambda fleet: fleet.post("racks", rack, "evacuate", body={"dry_run": dry_run}))


@migration.command()
def rebalance(
    goal: Annotated[str, typer.Option(help="spread (even loads) or pack (empty machines).")] = "spread",
    budget: Annotated[int, typer.Option(help="Moves at most.", min=1)] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan; the plan is in the events.")] = False,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Rearrange the Realms of a live fleet within a budget of moves (modelled)."""
    body = {"goal": goal, "budget": budget, "dry_run": dry_run}
    act(address, token_file, as_json, lambda fleet: fleet.post("rebalance", body=body))


@migration.command()
def cancel(
    session: Annotated[str, typer.Argument(help="Session, as in move-0001.")],
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """End an open session of a live fleet, if the lineage witness still can (modelled)."""
    act(address, token_file, as_json, lambda fleet: fleet.post("sessions", session, "cancel"))


@migration.command("end-drain")
def end_drain(
    drain: Annotated[str, typer.Argument(help="Drain or rebalancing, as in drain-001.")],
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a drain of a live fleet up: cordons are taken back, sessions ended if they still can be (modelled)."""
    act(address, token_file, as_json, lambda fleet: fleet.post("drains", drain, "end"))


def _told(row: dict[str, Any]) -> str:
    downtime = "none" if row["downtime_ns"] is None else f"{row['downtime_ns'] / 1e6:.1f} ms"
    took = "under way" if row["took_ns"] is None else f"{row['took_ns'] / 1e9:.2f} s"
    return (
        f"{row['session']}  {row['realm']:<12} {row['source']} to {row['target']}  {row['outcome']:<8} {took:>9}  "
        f"{row['rounds']} rounds  {row['sent_bytes'] >> 20} MiB  dirty {row['dirty_bytes_per_s'] >> 20} MiB/s  "
        f"downtime {downtime}"
    )
