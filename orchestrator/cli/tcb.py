"""`realmfleet tcb`: revoke firmware in a live fleet, and read what a revocation did in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.live import HERE, Address, AsJson, TokenFile, act
from orchestrator.errors import ExitCode, UserMistake

tcb = typer.Typer(help="TCB recovery: revoked firmware, lost trust, trust regained.", no_args_is_help=True)


@tcb.callback()
def _root() -> None:
    """TCB recovery: revoked firmware, lost trust, trust regained."""


@tcb.command("revoke")
def revoke(
    component: Annotated[str | None, typer.Argument(help="Component, as in RMM.", metavar="COMPONENT")] = None,
    version: Annotated[str | None, typer.Argument(help="Its version.", metavar="VERSION")] = None,
    signer: Annotated[str | None, typer.Option(help="Revoke a signer instead.")] = None,
    reattest: Annotated[bool, typer.Option("--reattest", help="Have every Realm there attest at once.")] = False,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a firmware version, or a signer, in a live fleet from now on."""
    given = {"component": component, "version": version, "signer": signer}
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if reattest:
        body["realms"] = "reattest"
    act(address, token_file, as_json, lambda fleet: fleet.post("revocations", body=body))


@tcb.command("report")
def report(
    run_dir: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    as_json: AsJson = False,
) -> None:
    """Say which Realms lost trust, when each had it back, and which secrets were withheld; exit 1 if one has none."""
    import msgspec

    from orchestrator.chaos.history import read
    from orchestrator.firmware.tcb_outcome import NS_PER_S, drills, told
    from orchestrator.inspect import manifest, open_run

    with open_run(run_dir) as reader:
        lines = read(reader.trace())
    result = manifest(run_dir).get("result") or {}
    end_ns = max([round(result.get("virtual_s", 0) * NS_PER_S), *(line.at_ns for line in lines[-1:])])
    found = drills(lines, end_ns)
    if not found:
        raise UserMistake(f"nothing was revoked in {run_dir}", "add an event of kind revoke to its cluster file")
    if as_json:
        rows = [{**msgspec.to_builtins(drill), "untrusted_ns": drill.untrusted_ns} for drill in found]
        typer.echo(json.dumps({"kind": "tcb-report", "schema_version": 1, "revocations": rows}))
    else:
        typer.echo("\n\n".join("\n".join(told(drill)) for drill in found))
    raise typer.Exit(ExitCode.NO if any(drill.open_realms for drill in found) else ExitCode.GOOD)
