"""The commands of the live mode: `up` serves a fleet, the others speak to it from a second terminal; and `replay`.

`register` adds them to the command line. What a command needs is imported when it runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.rollout_plan import rollout
from orchestrator.errors import ExitCode, UserMistake

if TYPE_CHECKING:
    from orchestrator.cli.live_client import LiveClient

TOKEN_VARIABLE = "REALMFLEET_TOKEN"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
Address = Annotated[
    str,
    typer.Option("--address", envvar="REALMFLEET_ADDRESS", help="Where `realmfleet up` listens.", metavar="HOST:PORT"),
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help=f"File that holds the API's token; else {TOKEN_VARIABLE}.")
]
HERE = "127.0.0.1:9464"

realm = typer.Typer(help="Realms of a live fleet.", no_args_is_help=True)
machine = typer.Typer(help="Machines of a live fleet.", no_args_is_help=True)
fault = typer.Typer(help="Faults in a live fleet.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of the live mode to the command line; a group that is there already takes them in."""
    for command in (up, status, scale, apply, clock, top, replay):
        app.command()(command)
    for group, name in ((realm, "realm"), (machine, "machine"), (rollout, "rollout"), (fault, "fault")):
        there = next((found.typer_instance for found in app.registered_groups if found.name == name), None)
        if there is None:
            app.add_typer(group, name=name)
        else:
            there.registered_commands += group.registered_commands


# -- serving ----------------------------------------------------------------------------------------------------------


def up(
    file: Annotated[Path, typer.Argument(help="Cluster file (YAML).", metavar="FILE")],
    speed: Annotated[float, typer.Option(help="Virtual seconds per wall second.", min=0.01, max=100_000)] = 1.0,
    listen: Annotated[str, typer.Option(help="Address of API and page; off loopback a token is needed.")] = HERE,
    token_file: TokenFile = None,
    broker: Annotated[
        str, typer.Option(help="Address of the fleet's key broker and verifier, or off; off loopback it needs TLS.")
    ] = "127.0.0.1:0",
    broker_cert: Annotated[Path | None, typer.Option(help="TLS certificate chain of the broker (PEM).")] = None,
    broker_key: Annotated[Path | None, typer.Option(help="TLS private key of the broker (PEM).")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the file's seed.", min=0, max=2**64 - 1)] = None,
    fleet: Annotated[str, typer.Option(help="ray (actors) or local (one process).")] = "ray",
    actors: Annotated[int | None, typer.Option(help="Number of Ray actors; default: auto.", min=1, max=10_000)] = None,
    until: Annotated[str | None, typer.Option(help="End by itself at this virtual time, like 15min.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory (default: runs/NAME-SEED-NNN).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the run directory if it exists.")] = False,
    gate: Annotated[
        list[str] | None, typer.Option(help="Function of a python gate; repeat it.", metavar="NAME=FILE:FUNCTION")
    ] = None,
    prometheus: Annotated[str, typer.Option(help="Where PromQL gates are asked, like http://127.0.0.1:9090.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bring a fleet up and keep it running: HTTP API, metrics and a page, until Ctrl-C."""
    from orchestrator.cli.live_client import read_token
    from orchestrator.cli.live_up import Wishes, serve

    if fleet not in ("ray", "local"):
        raise UserMistake(f"--fleet {fleet} is neither", "ray or local")
    wishes = Wishes(
        file=file,
        speed=speed,
        listen=listen,
        token=read_token(token_file, TOKEN_VARIABLE),
        broker=broker,
        broker_cert=broker_cert,
        broker_key=broker_key,
        seed=seed,
        fleet=fleet,
        actors=actors,
        until=until,
        out=out,
        replace=replace,
        gates=tuple(gate or ()),
        prometheus=prometheus,
    )
    result = serve(wishes)
    if as_json:
        _print_json(result.as_json())
    else:
        from orchestrator.report.table import show_run

        show_run(result)
    raise typer.Exit(result.exit_code)


def replay(
    run_dir: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    until: Annotated[str | None, typer.Option(help="Go no further than this virtual instant, like 5min.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a run again from its directory, operators' inputs included, and compare the traces."""
    import msgspec

    from orchestrator.cluster.quantities import parse_duration
    from orchestrator.replay import replay_run

    try:
        until_ns = None if until is None else parse_duration(until)
    except ValueError as error:
        raise UserMistake(f"--until {until}: {error}", "a duration like 90s, 5min or 2h") from None
    again = replay_run(run_dir, until_ns)
    if as_json:
        _print_json({"kind": "replay", "schema_version": 1, **msgspec.to_builtins(again)})
    else:
        inputs = f"{again.inputs} input{'' if again.inputs == 1 else 's'}"
        typer.echo(f"{again.trace_digest}  {again.records} records, {inputs}")
        typer.echo(
            "the same as recorded" if again.same else f"not the same: {again.difference or 'the digests differ'}"
        )
    raise typer.Exit(ExitCode.GOOD if again.same else ExitCode.NO)


# -- looking ----------------------------------------------------------------------------------------------------------


def status(address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Say how a live fleet is."""
    found = _client(address, token_file).get("status")
    if as_json:
        _print_json(found)
        return
    pace = found["pace"]
    how = "paused" if pace["paused"] else f"speed {pace['speed']:g}"
    typer.echo(f"{found['cluster']}  seed {found['seed']}  {found['now']}  {how}  {found['run_dir']}")
    typer.echo(f"Realms    {found['realms_serving']}/{found['realms_wanted']} serving  ({_counts(found['realms'])})")
    typer.echo(f"machines  {_counts(found['machines'])}")
    typer.echo(f"faults    {found['faults_in_force']} in force")
    typer.echo(f"rollouts  {', '.join(f'{name} {stage}' for name, stage in found['rollouts'].items()) or 'none'}")


def top(
    address: Address = HERE,
    token_file: TokenFile = None,
    count: Annotated[int | None, typer.Option(help="Leave after so many looks.", min=1)] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1, max=3600)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Watch a live fleet in a table, until Ctrl-C; with --json one line per look."""
    from orchestrator.cli.live_top import watch

    watch(_client(address, token_file), count, every, as_json)


@realm.command("list")
def realm_list(address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """List the Realms."""
    found = _client(address, token_file).get("realms")
    _table(found, as_json, ("name", "kind", "state", "machine", "incarnation", "restarts", "failure"))


@machine.command("list")
def machine_list(address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """List the machines."""
    found = _client(address, token_file).get("machines")
    for row in found["items"] if not as_json else ():
        row["RMM"] = row["versions"].get("RMM", "")
    _table(found, as_json, ("name", "rack", "state", "RMM", "realms", "activity", "faults"))


@fault.command("list")
def fault_list(address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """List the faults in force and coming."""
    found = _client(address, token_file).get("faults")
    for row in found["items"] if not as_json else ():
        row["until_s"] = f"{row['until_ns'] / 1e9:.1f}"
    _table(found, as_json, ("name", "kind", "state", "targets", "peers", "until_s"))


@rollout.command("status")
def rollout_status(
    name: Annotated[str | None, typer.Argument(help="One rollout; default: all.", metavar="ROLLOUT")] = None,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how rollouts stand."""
    client = _client(address, token_file)
    found = client.get("rollouts", name) if name else client.get("rollouts")
    rows = found if not name else {"items": [found]}
    for row in rows["items"] if not as_json else ():
        phases = list(row["machines"].values())
        row["machines"] = ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))
    _table(found if as_json else rows, as_json, ("name", "release", "version", "stage", "wave", "waves", "machines"))


# -- acting -----------------------------------------------------------------------------------------------------------

RealmName = Annotated[str, typer.Argument(help="Realm, as in web-001.", metavar="REALM")]
MachineName = Annotated[str, typer.Argument(help="Machine.", metavar="MACHINE")]
RolloutName = Annotated[str, typer.Argument(help="Rollout, as in rollout-1.", metavar="ROLLOUT")]
KindName = Annotated[str, typer.Argument(help="Kind of the cluster file.", metavar="KIND")]


@realm.command("launch")
def realm_launch(
    kind: KindName,
    count: Annotated[int, typer.Option(help="How many.", min=1)] = 1,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Launch more Realms of a kind."""
    act(address, token_file, as_json, lambda fleet: fleet.post("realms", body={"kind": kind, "count": count}))


@realm.command("stop")
def realm_stop(name: RealmName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Stop a Realm for good."""
    act(address, token_file, as_json, lambda fleet: fleet.post("realms", name, "stop"))


@realm.command("delete")
def realm_delete(
    name: RealmName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Stop a Realm if it still runs, and show it no more."""
    act(address, token_file, as_json, lambda fleet: fleet.delete("realms", name))


@realm.command("migrate")
def realm_migrate(
    name: RealmName,
    to: Annotated[str, typer.Option(help="Machine; default: the scheduler chooses.")] = "",
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Move a serving Realm (modelled: Realm migration has no public Arm ABI)."""
    act(address, token_file, as_json, lambda fleet: fleet.post("realms", name, "migrate", body={"to": to}))


@machine.command("cordon")
def machine_cordon(
    name: MachineName,
    why: Annotated[str, typer.Option(help="Kept in the trace.")] = "operator",
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep new Realms and migrations away from a machine."""
    act(address, token_file, as_json, lambda fleet: fleet.post("machines", name, "cordon", body={"why": why}))


@machine.command("uncordon")
def machine_uncordon(
    name: MachineName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Take an operator's cordon back."""
    act(address, token_file, as_json, lambda fleet: fleet.post("machines", name, "uncordon"))


@machine.command("drain")
def machine_drain(
    name: MachineName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan; the plan is in the events.")] = False,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Empty a machine by moving its Realms (modelled)."""
    act(address, token_file, as_json, lambda fleet: fleet.post("machines", name, "drain", body={"dry_run": dry_run}))


@rollout.command("start")
def rollout_start(
    release: Annotated[str, typer.Argument(help="Release of the cluster file.", metavar="RELEASE")],
    wave: Annotated[
        list[str] | None, typer.Option(help="A number or a share of machines; repeat it.", metavar="N|P%")
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="live (activation under running Realms), drain, reboot or auto.")
    ] = "live",
    bake: Annotated[str, typer.Option(help="Wait after each wave.")] = "10s",
    max_failures: Annotated[int, typer.Option(help="Machines that may fail before it holds.", min=0)] = 0,
    rollback: Annotated[bool, typer.Option("--rollback", help="When it holds, bring back what is done.")] = False,
    max_unavailable: Annotated[int | None, typer.Option(help="Machines under way at once.", min=1)] = None,
    window: Annotated[
        list[str] | None, typer.Option(help="Take machines only then; virtual times; repeat it.", metavar="FROM..TO")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="Take no machine then, window or not; repeat it.", metavar="FROM..TO")
    ] = None,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Roll a release out wave by wave; the default waves are 1, 30% and 100%."""
    waves = [_wave(text) for text in wave or ("1", "30%", "100%")]
    body: dict[str, Any] = {"release": release, "strategy": strategy, "waves": waves, "bake": bake}
    body |= {"rollback": rollback, "max_failures": max_failures, "max_unavailable": max_unavailable}
    body |= {"windows": [_stretch(text) for text in window or ()], "freezes": [_stretch(text) for text in freeze or ()]}
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", body=body))


@rollout.command("pause")
def rollout_pause(
    name: RolloutName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Start nothing further until it is resumed."""
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", name, "pause"))


@rollout.command("resume")
def rollout_resume(
    name: RolloutName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Let a paused rollout go on."""
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", name, "resume"))


@rollout.command("abort")
def rollout_abort(
    name: RolloutName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Give a rollout up; machines under way come to the end of their own table."""
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", name, "abort"))


@rollout.command("promote")
def rollout_promote(
    name: RolloutName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Let a rollout go on without further bake and gates, whatever failed so far."""
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", name, "promote"))


@rollout.command("retry")
def rollout_retry(
    name: RolloutName, address: Address = HERE, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Have a held rollout take its failed machines again."""
    act(address, token_file, as_json, lambda fleet: fleet.post("rollouts", name, "retry"))


@fault.command("inject")
def fault_inject(
    kind: Annotated[str, typer.Argument(help="Kind of fault, as in machine.freeze.", metavar="FAULT")],
    machine: Annotated[str | None, typer.Option(help="Strike this machine.")] = None,
    rack: Annotated[str | None, typer.Option(help="Strike every machine of this rack.")] = None,
    realm: Annotated[str | None, typer.Option(help="Strike the machine that hosts this Realm.")] = None,
    count: Annotated[int | None, typer.Option(help="Strike so many machines, drawn from the seed.", min=1)] = None,
    between: Annotated[
        list[str] | None,
        typer.Option(help="One end of a link fault, twice: control, machine:NAME, rack:NAME, realm:NAME."),
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="How long.")] = "30s",
    one_way: Annotated[bool, typer.Option("--one-way", help="Only from the first end to the second.")] = False,
    loss: Annotated[str | None, typer.Option(help="For network.loss, like 5%.")] = None,
    delay: Annotated[str | None, typer.Option(help="For network.delay, like 20ms.")] = None,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a fault strike now; it heals itself after --for."""
    from orchestrator.scripting.faults import side

    body: dict[str, Any] = {"fault": kind, "for": lasts, "loss": loss, "delay": delay}
    if between:
        body["between"] = [side(text) for text in between]
        body["one_way"] = one_way
    else:
        chosen = {"machine": machine, "rack": rack, "realm": realm, "count": count}
        body["select"] = {key: value for key, value in chosen.items() if value is not None}
    wanted = {key: value for key, value in body.items() if value is not None}
    act(address, token_file, as_json, lambda fleet: fleet.post("faults", body=wanted))


@fault.command("heal")
def fault_heal(
    name: Annotated[str, typer.Argument(help="Fault, as in fault-1.", metavar="NAME")],
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Undo a fault before its time."""
    act(address, token_file, as_json, lambda fleet: fleet.post("faults", name, "heal"))


def scale(
    kind: KindName,
    count: Annotated[int, typer.Argument(help="How many are wanted.", min=0, metavar="COUNT")],
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Launch or stop Realms of a kind in a live fleet until so many are wanted."""
    act(address, token_file, as_json, lambda fleet: fleet.post("scale", body={"kind": kind, "count": count}))


def apply(
    file: Annotated[Path, typer.Argument(help="Changed cluster file (YAML).", metavar="FILE")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference only.")] = False,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Reconcile a live fleet with a changed cluster file; what cannot change live is refused by name, all at once."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(f"cannot read {file}: {error}", "check the path") from error
    act(address, token_file, as_json, lambda fleet: fleet.post("apply", body={"text": text, "dry_run": dry_run}))


def clock(
    speed: Annotated[float | None, typer.Option(help="Virtual seconds per wall second.", min=0.01, max=100_000)] = None,
    pause: Annotated[bool | None, typer.Option("--pause/--go", help="Let time stand still, or go on.")] = None,
    address: Address = HERE,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Change how fast time passes in a live fleet; the run itself stays the same."""
    body = {key: value for key, value in (("speed", speed), ("paused", pause)) if value is not None}
    if not body:
        raise UserMistake("nothing to change", "give --speed, --pause or --go")
    answer = _client(address, token_file).post("clock", body=body)
    _print_json(answer) if as_json else typer.echo("done")


# -- common -----------------------------------------------------------------------------------------------------------


def _client(address: str, token_file: Path | None) -> LiveClient:
    from orchestrator.cli.live_client import LiveClient, read_token

    return LiveClient(address, read_token(token_file, TOKEN_VARIABLE))


def act(address: str, token_file: Path | None, as_json: bool, ask: Callable[[LiveClient], Any]) -> None:
    """Ask, show the answer, and leave: 0 done, 1 the fleet refused, 4 not decided yet."""
    from orchestrator.cli.live_client import ActionRefused

    try:
        answer = ask(_client(address, token_file))
    except ActionRefused as refused:
        if as_json:
            refusal = {"kind": "answer", "accepted": False, "what": refused.detail, "hint": refused.hint}
            _print_json(refusal)
        typer.echo(f"refused: {refused.detail}" + (f"\n  {refused.hint}" if refused.hint else ""), err=True)
        raise typer.Exit(ExitCode.NO) from None
    if as_json:
        _print_json(answer)
    elif answer["kind"] == "difference":
        for line in answer["told"] or ["nothing to change"]:
            typer.echo(line)
    else:
        typer.echo(answer["what"] + (f"  ({_some(answer['subjects'])})" if answer.get("subjects") else ""))
    if answer.get("accepted", True) is None:
        raise typer.Exit(ExitCode.INCONCLUSIVE)
    if any("refused" in change for change in answer.get("changes", {}).values()):
        raise typer.Exit(ExitCode.NO)


def _wave(text: str) -> dict[str, Any]:
    return {"share": text} if text.endswith("%") else {"machines": _number(text)}


def _stretch(text: str) -> dict[str, str]:
    begin, dots, end = text.partition("..")
    if not dots or not begin or not end:
        raise UserMistake(f"{text} is no stretch of time", "write FROM..TO in virtual time, like 10min..20min")
    return {"from": begin, "to": end}


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UserMistake(f"--wave {text} is neither a number nor a share", "write 1, or 30%")
    return int(text)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _table(found: Any, as_json: bool, columns: Sequence[str]) -> None:
    """Rows under their headings; plain text, so that it can be cut and counted."""
    if as_json:
        _print_json(found)
        return
    rows = [[_cell(row.get(column)) for column in columns] for row in found["items"]]
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for cells in (columns, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return _some(value)
    return "" if value is None else str(value)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
