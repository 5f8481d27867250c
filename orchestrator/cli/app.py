"""The command line: arguments in, one call of the package that does the work, results on standard output.

Results go to standard output, progress and logs to standard error; `--json` prints one JSON value alone on standard
output (trace lines: one JSON object a line). Exit codes are `orchestrator.errors.ExitCode`. What a command needs is
imported when it runs, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import errno
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.cli import attest, live, report, runs
from orchestrator.cli.firmware import firmware
from orchestrator.cli.migration import migration
from orchestrator.cli.rim import rim
from orchestrator.cli.rmm import rmm
from orchestrator.cli.rollout_plan import rollout
from orchestrator.cli.tcb import tcb
from orchestrator.engine.errors import StoreUnwritable
from orchestrator.errors import ExitCode, UserMistake

if TYPE_CHECKING:
    from orchestrator.cluster.load import Loaded
    from orchestrator.cluster.schema import Cluster

EPILOG = "Exit codes: 0 good, 1 the answer is no, 2 change something, 3 our fault, 4 inconclusive, 130 interrupted."

app = typer.Typer(
    name="realmfleet",
    help="A testbed for fleets of simulated Arm CCA servers.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
metrics = typer.Typer(help="Metrics of a run.", no_args_is_help=True)
chaos = typer.Typer(help="Fault-injection experiments.", no_args_is_help=True)
app.add_typer(chaos, name="chaos")
app.add_typer(metrics, name="metrics")
app.add_typer(attest.token, name="token")
app.add_typer(attest.corim, name="corim")
app.add_typer(attest.ear, name="ear")
app.add_typer(attest.kbs, name="kbs")
app.add_typer(rmm, name="rmm")
app.add_typer(rim, name="rim")
app.add_typer(firmware, name="firmware")
app.add_typer(rollout, name="rollout")
app.add_typer(migration, name="migration")
app.add_typer(tcb, name="tcb")
runs.register(app)
live.register(app)
report.register(app)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
ClusterFile = Annotated[Path, typer.Argument(help="Cluster file (YAML).", metavar="FILE")]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]


class FleetKind(StrEnum):
    """Where the machines live."""

    LOCAL = "local"
    RAY = "ray"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"realmfleet {version('realmfleet')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A testbed for fleets of simulated Arm CCA servers."""


# -- running ----------------------------------------------------------------------------------------------------------


@app.command()
def run(
    file: ClusterFile,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0, max=2**64 - 1)] = None,
    fleet: Annotated[FleetKind | None, typer.Option(help="Ray actors (default), or one process.")] = None,
    actors: Annotated[str, typer.Option(help="Number of Ray actors, or auto.")] = "auto",
    ray_address: Annotated[str | None, typer.Option(help="Join this Ray cluster instead of starting one.")] = None,
    until: Annotated[str | None, typer.Option(help="Virtual end instead of the file's duration, like 5min.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory (default: runs/NAME-SEED-NNN).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the run directory if it exists.")] = False,
    speed: Annotated[float | None, typer.Option(help="Virtual seconds per wall second; without it, all out.")] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="Visit every beat; the digest must be the same.")] = False,
    every_heartbeat: Annotated[
        bool, typer.Option("--every-heartbeat", help="Send heartbeats whose answer is known; the digest is the same.")
    ] = False,
    record_door: Annotated[
        tuple[str, Path] | None, typer.Option(help="Write every firmware call of one machine.", metavar="MACHINE FILE")
    ] = None,
    gate: Annotated[
        list[str] | None, typer.Option(help="Function of a python gate; repeat it.", metavar="NAME=FILE:FUNCTION")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a fleet up from a cluster file, run it to the end, and judge it."""
    from orchestrator.api import RunOptions, execute, headline
    from orchestrator.extensions import Extensions
    from orchestrator.gate_keeper import read_gates
    from orchestrator.progress import watching
    from orchestrator.report.table import show_run

    loaded = _cluster(file, as_json)
    options = RunOptions(
        seed=seed,
        fleet=fleet.value if fleet is not None else ("local" if record_door else "ray"),
        actors=_actors(actors),
        ray_address=ray_address,
        until_ns=_duration(until),
        out=out,
        replace=replace,
        speed=speed,
        skip=not no_skip,
        every_heartbeat=every_heartbeat,
        record_door=record_door,
        file=str(file),
    )
    result = execute(loaded, options, watching, extensions=Extensions(gates=read_gates(gate or ())))
    if as_json:
        _print_json(result.as_json())
    else:
        show_run(result)
    typer.echo(headline(result.seed, result.repeat), err=True)
    raise typer.Exit(result.exit_code)


@chaos.command("run")
def chaos_run(
    file: Annotated[Path, typer.Argument(help="Experiment file (YAML).", metavar="FILE")],
    seeds: Annotated[str | None, typer.Option(help="One seed, or a range like 1..20; default: the file's.")] = None,
    fleet: Annotated[FleetKind, typer.Option(help="One process (default), or Ray actors.")] = FleetKind.LOCAL,
    actors: Annotated[str, typer.Option(help="Number of Ray actors, or auto.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Directory for the runs (default: runs/NAME-NNN).")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write verdicts as JUnit XML here, for CI.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a fault-injection experiment over one or many seeds and judge it."""
    from orchestrator.experiments import run_experiment
    from orchestrator.report.table import show_experiment

    result = run_experiment(file, _bytes(file), _seeds(seeds), fleet=fleet.value, actors=_actors(actors), out=out)
    if junit is not None:
        from orchestrator.report.junit import write_junit

        write_junit(junit, result)
    if as_json:
        _print_json(result.as_json())
    else:
        show_experiment(result)
    raise typer.Exit(result.exit_code)


# -- cluster files ----------------------------------------------------------------------------------------------------


@app.command()
def validate(file: ClusterFile, as_json: AsJson = False) -> None:
    """Check a cluster file or an experiment file: every mistake at once, with line, column and hint."""
    from orchestrator.cluster.load import load_either

    loaded = load_either(_bytes(file), str(file))
    if as_json:
        _print_json({"kind": "validation", "file": str(file), "good": loaded.ok, **loaded.as_json()})
    elif loaded.problems:
        typer.echo(loaded.render(), err=True)
    if not as_json and loaded.ok:
        typer.echo(f"{file}: good")
    raise typer.Exit(ExitCode.GOOD if loaded.ok else ExitCode.USER)


@app.command()
def schema(
    kind: Annotated[str, typer.Option(help="cluster or experiment.")] = "cluster",
    as_json: AsJson = False,
) -> None:
    """Print the JSON schema of cluster files (or of experiment files)."""
    from orchestrator.cluster.json_schema import json_schema

    if kind not in ("cluster", "experiment"):
        raise UserMistake(f"there is no schema called {kind}", "--kind cluster or --kind experiment")
    _print_json(json_schema(kind), indent=None if as_json else 2)


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="File to write.", metavar="FILE")] = Path("cluster.yaml"),
    as_json: AsJson = False,
) -> None:
    """Write a commented first cluster file."""
    from orchestrator.cluster.scaffold import first_cluster

    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(first_cluster())
    except FileExistsError:
        raise UserMistake(f"{file} exists already", "name another file") from None
    except OSError as error:
        raise UserMistake(f"cannot write {file}: {error.strerror}", "name a file in a writable directory") from error
    _answer(as_json, {"kind": "init", "file": str(file)}, f"wrote {file}; now: realmfleet run {file}")


# -- looking at a run -------------------------------------------------------------------------------------------------


@app.command()
def explain(
    run_dir: RunDir,
    name: Annotated[str, typer.Argument(help="Realm, machine, session, rollout or fault.", metavar="OBJECT")],
    as_json: AsJson = False,
) -> None:
    """Tell what happened to one object of a run, and why."""
    import msgspec

    from orchestrator.explain import explain as tell
    from orchestrator.explain import sentence

    with _reader(run_dir) as reader:
        events = tell(reader.trace(), name)
    if as_json:
        _print_json({"kind": "explanation", "object": name, "events": [msgspec.to_builtins(event) for event in events]})
    else:
        for event in events:
            typer.echo(sentence(event))


@app.command()
def inspect(
    run_dir: RunDir,
    trace: Annotated[bool, typer.Option("--trace", help="Print the trace.")] = False,
    token_of: Annotated[str | None, typer.Option("--token", help="Print a Realm's last token.")] = None,
    anchors: Annotated[bool, typer.Option("--anchors", help="Print the trust anchors (ccatoken store).")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the token's bytes or the anchors to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look into a run directory: the manifest, the trace, a token, the trust anchors."""
    from orchestrator import inspect as look

    if sum((trace, token_of is not None, anchors)) > 1:
        raise UserMistake("--trace, --token and --anchors answer different questions", "ask one at a time")
    if trace:
        with _reader(run_dir) as reader:
            for line in look.trace_lines(reader, as_json):
                sys.stdout.write(line + "\n")
        return
    if token_of is not None:
        with _reader(run_dir) as reader:
            stored = look.last_token(reader, token_of)
        _emit(out, stored.token, look.token_json(stored), as_json)
    elif anchors:
        store = look.anchors(run_dir)
        _emit(out, (json.dumps(store, indent=2) + "\n").encode(), store, as_json=as_json or out is None)
    else:
        manifest = look.manifest(run_dir)
        _print_json(manifest, indent=None if as_json else 2)


@metrics.command("load")
def metrics_load(
    run_dir: RunDir,
    into: Annotated[Path, typer.Option(help="Prometheus data directory to write blocks into.")],
    epoch: Annotated[str | None, typer.Option(help="Where virtual time 0 lies (default 2026-01-01T00:00:00Z).")] = None,
    as_json: AsJson = False,
) -> None:
    """Load a finished run into a Prometheus data directory, so that its virtual day opens in Grafana."""
    from orchestrator.metrics.backfill import backfill, parse_epoch

    loaded = backfill(run_dir, into, None if epoch is None else parse_epoch(epoch))
    _answer(as_json, loaded.as_json(), loaded.text())


# -- the environment --------------------------------------------------------------------------------------------------


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say whether this machine can run a fleet, and what to change if not."""
    import msgspec

    from orchestrator.doctor import examine

    findings = examine()
    good = all(finding.good for finding in findings)
    if as_json:
        _print_json({"kind": "doctor", "good": good, "findings": [msgspec.to_builtins(one) for one in findings]})
    else:
        for one in findings:
            typer.echo(f"{'ok ' if one.good else 'BAD'} {one.name:<16} {one.found}")
            if one.remedy:
                typer.echo(f"    {'':<16} {one.remedy}")
    raise typer.Exit(ExitCode.GOOD if good else ExitCode.USER)


# -- reading arguments ------------------------------------------------------------------------------------------------


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise UserMistake(f"there is no file {file}", "check the path") from None
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path and its permissions") from error


def _cluster(file: Path, as_json: bool) -> Loaded[Cluster]:
    from orchestrator.cluster.load import load_text

    loaded = load_text(_bytes(file), str(file))
    if not loaded.ok:
        if as_json:
            _print_json({"kind": "validation", "file": str(file), "good": False, **loaded.as_json()})
        typer.echo(loaded.render(), err=True)
        raise typer.Exit(ExitCode.USER)
    if loaded.problems:
        typer.echo(loaded.render(), err=True)
    return loaded


def _actors(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise UserMistake(f"--actors {text} is not a number of actors", "a number from 1 to 10000, or auto")
    return int(text)


def _duration(text: str | None) -> int | None:
    from orchestrator.cluster.quantities import parse_duration

    if text is None:
        return None
    try:
        until_ns = parse_duration(text)
    except ValueError as error:
        raise UserMistake(f"--until {text}: {error}", "a duration like 90s, 5min or 2h") from None
    if until_ns <= 0:
        raise UserMistake(f"--until {text} is over before it begins", "a duration like 90s, 5min or 2h")
    return until_ns


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    first, dots, last = text.partition("..")
    if not first.isdecimal() or (dots and not last.isdecimal()):
        raise UserMistake(f"--seeds {text} is neither a seed nor a range", "write 7, or 1..20")
    count = int(last or first) - int(first) + 1
    if not 1 <= count <= 10_000:
        raise UserMistake(f"--seeds {text} names no seed, or more than 10000", "write 7, or 1..20")
    return list(range(int(first), int(first) + count))


def _reader(run_dir: Path) -> Any:
    from orchestrator.inspect import open_run

    return open_run(run_dir)


# -- answering --------------------------------------------------------------------------------------------------------


def _print_json(value: Any, indent: int | None = None) -> None:
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")


def _answer(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        _print_json(value)
    else:
        typer.echo(text)


def _emit(out: Path | None, content: bytes, value: Any, as_json: bool) -> None:
    """Write bytes to a file, or show them as JSON or hex."""
    if out is not None:
        try:
            out.write_bytes(content)
        except OSError as error:
            raise UserMistake(f"cannot write {out}: {error.strerror}", "name a writable file") from error
    if as_json:
        _print_json(value)
    elif out is not None:
        typer.echo(f"wrote {out} ({len(content)} bytes)")
    else:
        typer.echo(content.hex())


def _leave(code: ExitCode, text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise SystemExit(int(code))


def main() -> None:
    """Entry point: run the command line; a user's mistake is one message, our fault is loud."""
    try:
        app(prog_name="realmfleet")
    except UserMistake as mistake:
        hint = f"\n  {mistake.hint}" if mistake.hint else ""
        _leave(ExitCode.USER, f"realmfleet: {mistake.message}{hint}")
    except StoreUnwritable as full:
        hint = f"make room, then carry on: realmfleet resume {Path(full.path).parent}"
        _leave(ExitCode.USER, f"realmfleet: {full}\n  {hint}")
    except KeyboardInterrupt:
        _leave(ExitCode.INTERRUPTED, "realmfleet: interrupted")
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(int(ExitCode.GOOD)) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _leave(ExitCode.USER, f"realmfleet: the disk is full: {error}\n  make room; a run is carried on by resume")
        import traceback

        traceback.print_exc()
        _leave(ExitCode.OURS, "realmfleet: this is our fault, not yours; please report it with the lines above")
