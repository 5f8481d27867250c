"""The commands that are about runs as such: `resume`, `snapshot`, `fork`, `verify-determinism`, `sweep`.

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
    app.command()(snapshot)
    app.command()(fork)
    app.command("verify-determinism")(verify_determinism)
    app.command()(sweep)


def resume(
    run_dir: Annotated[Path, typer.Argument(help="Run directory of a killed run.", metavar="RUN")],
    fleet: Annotated[str, typer.Option(help="ray (actors) or local (one process).")] = "ray",
    actors: Annotated[int | None, typer.Option(help="Number of Ray actors; default: auto.", min=1, max=10_000)] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")] = None,
    gate: Annotated[
        list[str] | None, typer.Option(help="Function of a python gate; repeat it.", metavar="NAME=FILE:FUNCTION")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry on a run whose head was killed: same end, same digest as if nothing had happened."""
    from orchestrator.api import RunOptions
    from orchestrator.extensions import Extensions
    from orchestrator.gate_keeper import read_gates
    from orchestrator.progress import watching
    from orchestrator.report.table import show_run
    from orchestrator.resume import resume_run

    _check_fleet(fleet)
    options = RunOptions(fleet=fleet, actors=actors, ray_address=ray_address)
    result = resume_run(run_dir, options, watching, extensions=Extensions(gates=read_gates(gate or ())))
    if as_json:
        _print_json(result.as_json())
    else:
        show_run(result)
    raise typer.Exit(result.exit_code)


Instant = Annotated[str | None, typer.Option("--at", help="Virtual instant, like 12min; rounded up to a beat.")]


def snapshot(
    run_dir: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    at: Annotated[str, typer.Option("--at", help="Virtual instant, like 12min; rounded up to a beat.")],
    out: Annotated[Path | None, typer.Option(help="File to write (default: RUN/at-INSTANT.snapshot).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write where a run stood at an instant, machines' states included, into one file that `fork` branches from."""
    from orchestrator.branch_point import pack, read_standing
    from orchestrator.cluster.quantities import format_duration
    from orchestrator.fork import stand

    standing = stand(read_standing(run_dir, _instant("--at", at)))
    file = out or run_dir / f"at-{format_duration(standing.at_ns)}.snapshot"
    if file.exists():
        raise UserMistake(f"{file} exists already", "name another file with --out")
    content = pack(standing)
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UserMistake(f"cannot write {file}: {error.strerror}", "name a writable file with --out") from error
    said = {
        "file": str(file), "at_ns": standing.at_ns, "machines": len(standing.machines), "bytes": len(content),
        "trace_records": standing.trace_records, "trace_digest": standing.trace_digest,
    }  # fmt: skip
    if as_json:
        _print_json({"kind": "snapshot", "schema_version": 1, **said})
        return
    typer.echo(f"{standing.trace_digest}  {standing.trace_records} records, {len(standing.machines)} machines")
    typer.echo(f"written to {file} ({len(content)} bytes) · branch it: realmfleet fork {file}")


def fork(
    source: Annotated[Path, typer.Argument(help="Run directory, or a file of `realmfleet snapshot`.", metavar="RUN")],
    at: Instant = None,
    inject: Annotated[
        list[Path] | None, typer.Option(help="File with the faults and events of the branch; may be repeated.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Virtual end; default: where the run ended.")] = None,
    fleet: Annotated[str, typer.Option(help="ray (actors) or local (one process).")] = "local",
    actors: Annotated[int | None, typer.Option(help="Number of Ray actors; default: auto.", min=1, max=10_000)] = None,
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory (default: runs/NAME-SEED-fork-NNN).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run another future of a run from an instant on: the same until there, then with what is injected."""
    from orchestrator.api import RunOptions
    from orchestrator.branch_point import cluster_of_text, read_standing
    from orchestrator.fork import fork as branch
    from orchestrator.fork import read_injection
    from orchestrator.progress import watching
    from orchestrator.report.table import show_run

    _check_fleet(fleet)
    standing = read_standing(source, None if at is None else _instant("--at", at))
    cluster = cluster_of_text(standing.cluster_text, standing.file)
    injected = [deed for file in inject or [] for deed in read_injection(file, cluster, standing.at_ns)]
    options = RunOptions(
        fleet=fleet,
        actors=actors,
        ray_address=ray_address,
        until_ns=None if until is None else _instant("--until", until),
        out=out,
    )
    result = branch(standing, source, sorted(injected, key=lambda deed: deed[0]), options, watching)
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
    from orchestrator.twins import verify

    cluster, _ = open_file(file)
    until_ns = cluster.duration if until is None else _instant("--until", until)
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
    fleet: Annotated[str, typer.Option(help="ray (each run a Ray task) or local (processes of this host).")] = "ray",
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the sweep (default: runs/NAME-sweep).")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a file over many values and seeds: one table, means with intervals, and variants compared seed by seed."""
    import msgspec

    from orchestrator import sweep as sweeping
    from orchestrator import sweep_runs
    from orchestrator.api import RUNS, open_file
    from orchestrator.progress import counting

    _check_fleet(fleet)
    cluster, text = open_file(file)
    chosen = sweeping.variants(text, str(file), settings or [])
    folder = out or RUNS / f"{cluster.name}-sweep"
    folder.mkdir(parents=True, exist_ok=True)
    if fleet == "ray":
        run_all = sweep_runs.tasks(ray_address, jobs, folder / "ray.log")
    else:
        run_all = sweep_runs.processes(jobs or sweep_runs.cores())
    with counting() as say:
        done = sweeping.sweep(cluster.name, chosen, _seeds(seeds), folder, run_all, say)
    if as_json:
        _print_json({"kind": "sweep", "schema_version": 1, **msgspec.to_builtins(done)})
    else:
        from orchestrator.report.sweep_table import show_sweep

        show_sweep(done)
    raise typer.Exit(done.exit_code)


def _check_fleet(fleet: str) -> None:
    if fleet not in ("ray", "local"):
        raise UserMistake(f"--fleet {fleet} is neither", "ray or local")


def _instant(option: str, text: str) -> int:
    """Virtual ns of an instant that the user wrote."""
    from orchestrator.cluster.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UserMistake(f"{option} {text}: {error}", "a duration like 90s, 5min or 2h") from None


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
