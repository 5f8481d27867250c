"""The commands that are about runs as such: `resume` a killed one, `verify-determinism` of a file, `sweep` many.

`register` adds them to the command line. What a command needs is imported when it runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.errors import ExitCode, UserMistake

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
ClusterFile = Annotated[Path, typer.Argument(help="Cluster file (YAML).", metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(resume)
    app.command("verify-determinism")(verify_determinism)
    app.command()(sweep)


def resume(
    run_dir: Annotated[Path, typer.Argument(help="Run directory of a killed run.", metavar="RUN")],
    fleet: Annotated[str, typer.Option(help="ray (actors) or local (one process).")] = "ray",
    actors: Annotated[int | None, typer.Option(help="Number of Ray actors; default: auto.", min=1, max=10_000)] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Carry on a run whose head was killed: same end, same digest as if nothing had happened."""
    from orchestrator.api import RunOptions
    from orchestrator.progress import watching
    from orchestrator.report.table import show_run
    from orchestrator.resume import resume_run

    if fleet not in ("ray", "local"):
        raise UserMistake(f"--fleet {fleet} is neither", "ray or local")
    result = resume_run(run_dir, RunOptions(fleet=fleet, actors=actors, ray_address=ray_address), watching)
    if as_json:
        _print_json(result.as_json())
    else:
        show_run(result)
    raise typer.Exit(result.exit_code)


def verify_determinism(
    file: ClusterFile,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0, max=2**64 - 1)] = None,
    until: Annotated[str | None, typer.Option(help="Virtual end instead of the file's duration, like 5min.")] = None,
    ray: Annotated[bool, typer.Option("--ray/--no-ray", help="With twins on 1, 2 and 5 Ray actors.")] = True,
    out: Annotated[Path | None, typer.Option(help="Keep the twins' run directories here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a file in every way that must not matter, and name the first record, machine and instant that differ."""
    import msgspec

    from orchestrator.api import open_file
    from orchestrator.cluster.quantities import parse_duration
    from orchestrator.twins import verify

    cluster, _ = open_file(file)
    try:
        until_ns = cluster.duration if until is None else parse_duration(until)
    except ValueError as error:
        raise UserMistake(f"--until {until}: {error}", "a duration like 90s, 5min or 2h") from None
    if out is not None and out.exists():
        raise UserMistake(f"{out} exists already", "name another directory with --out")
    with tempfile.TemporaryDirectory(prefix="realmfleet-twins-") as scratch:
        folder = out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = cluster.seed if seed is None else seed
        twins = verify(file, cluster, chosen, until_ns, folder, ray=ray, say=lambda name: typer.echo(name, err=True))
    if as_json:
        _print_json({"kind": "twins", "same": twins.same, **msgspec.to_builtins(twins)})
    else:
        for twin in twins.twins:
            typer.echo(f"{twin.trace_digest[:16]}  {twin.records:>8} records  {twin.name}")
            if twin.difference:
                typer.echo(f"  parts from the first twin: {twin.difference}")
        typer.echo("all the same" if twins.same else "NOT the same")
    raise typer.Exit(ExitCode.GOOD if twins.same else ExitCode.NO)


def sweep(
    file: ClusterFile,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Values of one key, like control.lease=10s,30s; may be repeated.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="One seed, or a range like 1..20.")] = "1..5",
    jobs: Annotated[int | None, typer.Option(help="Runs side by side; default: one per core.", min=1, max=1024)] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the sweep (default: runs/NAME-sweep).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a file over many values and seeds: one table, means with intervals, and variants compared seed by seed."""
    import msgspec

    from orchestrator import sweep as sweeping
    from orchestrator.api import RUNS, open_file

    cluster, text = open_file(file)
    chosen = sweeping.variants(text, str(file), settings or [])
    folder = out or RUNS / f"{cluster.name}-sweep"
    folder.mkdir(parents=True, exist_ok=True)
    done = sweeping.sweep(
        cluster.name,
        chosen,
        _seeds(seeds),
        folder,
        jobs or sweeping.cores(),
        lambda line: typer.echo(line, err=True),
    )
    if as_json:
        _print_json({"kind": "sweep", "schema_version": 1, **msgspec.to_builtins(done)})
    else:
        from orchestrator.report.sweep_table import show_sweep

        show_sweep(done)
    raise typer.Exit(done.exit_code)


def _seeds(text: str) -> list[int]:
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        raise UserMistake(f"--seeds {text} is neither a seed nor a range", "write 7, or 1..20")
    count = int(last or first) - int(first) + 1
    if not 1 <= count <= 10_000:
        raise UserMistake(f"--seeds {text} names no seed, or more than 10000", "write 7, or 1..20")
    return list(range(int(first), int(first) + count))


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
