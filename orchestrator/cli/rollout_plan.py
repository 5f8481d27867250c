"""`realmfleet rollout plan`: what a rollout would do, before anything is done, told for people and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.errors import UserMistake

if TYPE_CHECKING:
    from orchestrator.cluster.schema import Cluster
    from orchestrator.firmware.outcome import RolloutOutcome
    from orchestrator.firmware.rehearsal import Advice, Forecast, Odds

rollout = typer.Typer(help="Firmware rollouts: rehearsed, or in a live fleet.", no_args_is_help=True)

PPM = 1_000_000


@rollout.command("plan")
def plan(
    file: Annotated[
        Path,
        typer.Argument(help="Cluster file with a rollout; or a run directory, a live one too.", metavar="FILE"),
    ],
    futures: Annotated[int, typer.Option(help="Simulated futures per strategy.", min=1, max=1000)] = 5,
    first_seed: Annotated[int, typer.Option("--seed", help="Seed of the first future.", min=0)] = 1,
    strategy: Annotated[list[str] | None, typer.Option(help="live, drain or reboot; default: all three.")] = None,
    activation_failure: Annotated[str, typer.Option(help="Share of machines whose live activation fails.")] = "0%",
    timing: Annotated[list[str] | None, typer.Option(help="A cost instead of the file's, as in boot.post=1s.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Of a run: fork the futures from this instant.")] = None,
    release: Annotated[str | None, typer.Option(help="Of a run: this release instead of the file's rollout.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")] = False,
) -> None:
    """Simulate a rollout N times per strategy, from the file or from where a run stands; recommend a strategy."""
    from orchestrator.firmware.rehearsal import STRATEGIES, Odds, advise, rehearse

    wanted = tuple(strategy or STRATEGIES)
    for name in wanted:
        if name not in STRATEGIES:
            raise UserMistake(f"there is no strategy {name}", f"one of {', '.join(STRATEGIES)}")
    odds = Odds(_share(activation_failure))
    seeds = range(first_seed, first_seed + futures)

    def told(name: str, seed: int) -> None:
        print(f"{name}: future {seed} done", file=sys.stderr, flush=True)

    if file.is_dir():
        forecasts = _from_a_run(file, at, release, timing, seeds, odds, wanted, told)
    elif at is not None or release is not None:
        raise UserMistake("--at and --release are about a run", "give a run directory instead of a cluster file")
    else:
        forecasts = rehearse(_with_timing(_cluster(file), timing or ()), seeds, odds, wanted, told)
    advice = advise(forecasts)
    if as_json:
        typer.echo(json.dumps(_as_json(file, seeds, odds, forecasts, advice)))
    else:
        typer.echo(_table(forecasts, advice))


def _from_a_run(
    run_dir: Path,
    at: str | None,
    release: str | None,
    timing: Sequence[str] | None,
    seeds: Sequence[int],
    odds: Odds,
    strategies: Sequence[str],
    told: Callable[[str, int], None],
) -> list[Forecast]:
    from orchestrator.branch_point import cluster_of_text, read_standing
    from orchestrator.cluster.quantities import parse_duration
    from orchestrator.present import deed_of, rehearse_from

    if timing:
        raise UserMistake("--timing changes what is past as well", "it goes with a cluster file only")
    try:
        at_ns = None if at is None else parse_duration(at)
    except ValueError as error:
        raise UserMistake(f"--at {at}: {error}", "write it like 12min") from None
    standing = read_standing(run_dir, at_ns)
    deed = deed_of(cluster_of_text(standing.cluster_text, standing.file), release)
    return rehearse_from(standing, deed, seeds, odds, strategies, told)


def _cluster(file: Path) -> Cluster:
    from orchestrator.cluster.load import load_text
    from orchestrator.firmware.rehearsal import rollout_of

    try:
        loaded = load_text(file.read_bytes(), str(file))
    except OSError as error:
        raise UserMistake(f"cannot read {file}: {error.strerror}", "check the path") from None
    if loaded.value is None:
        raise UserMistake(f"{file} cannot be run\n{loaded.render()}")
    if rollout_of(loaded.value) is None:
        raise UserMistake(f"{file} has no rollout", "add an event of kind rollout")
    return loaded.value


def _with_timing(cluster: Cluster, given: Sequence[str]) -> Cluster:
    from cca_machine.costs import reference_timing
    from orchestrator.cluster.quantities import parse_duration

    override = dict(cluster.timing.override)
    for text in given:
        name, equals, duration = text.partition("=")
        try:
            override[name] = parse_duration(duration)
        except ValueError as error:
            raise UserMistake(f"--timing {text}: {error}", "write it like boot.post=1s") from None
        if not equals or name not in reference_timing():
            raise UserMistake(f"--timing {text}: there is no cost {name}", "docs/reference/timing.md lists them")
    return cluster.model_copy(update={"timing": cluster.timing.model_copy(update={"override": override})})


def _share(text: str) -> int:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not text.endswith("%") or not 0 <= percent <= 100:
        raise UserMistake(f"--activation-failure {text} is not a share", "write it like 50%")
    return round(percent * PPM / 100)


# -- telling ----------------------------------------------------------------------------------------------------------

_ROWS: tuple[tuple[str, str, int, Callable[[RolloutOutcome], int | None]], ...] = (
    ("downtime", "Realm-ms", 1_000_000, lambda found: found.downtime_ns),
    ("time to 50 %", "s", 1_000_000_000, lambda found: found.time_to_ns[0]),
    ("time to 95 %", "s", 1_000_000_000, lambda found: found.time_to_ns[1]),
    ("time to 100 %", "s", 1_000_000_000, lambda found: found.time_to_ns[2]),
    ("exposure", "Realm-min", 60_000_000_000, lambda found: found.exposure_ns if found.complete else None),
    ("migrations", "", 1, lambda found: found.migrations),
    ("Realm restarts", "", 1, lambda found: found.restarts),
    ("machines down at once", "", 1, lambda found: found.unavailable),
    ("spare Realm places", "", 1, lambda found: found.spare_places),
)
"""Title, unit, how many of the outcome's units make one, and the value; None: never came, or still open."""


def _table(forecasts: Sequence[Forecast], advice: Advice) -> str:
    lines = [f"{'lowest / median / highest':<28}" + "".join(f"{each.strategy:>26}" for each in forecasts)]
    done = "".join(f"{f'{each.complete_ppm / 10_000:.0f}% of {len(each.futures)}':>26}" for each in forecasts)
    lines.append(f"{'futures that reach all':<28}{done}")
    for title, unit, per, read in _ROWS:
        cells = ("/".join(_number(value, per) for value in each.spread(read)) for each in forecasts)
        lines.append(f"{f'{title} ({unit})' if unit else title:<28}" + "".join(f"{cell:>26}" for cell in cells))
    lines += ["", f"recommended: {advice.strategy}: {advice.why}"]
    lines.append("Costs are modelled; docs/reference/timing.md says which of them are assumed.")
    return "\n".join(lines)


def _number(value: int | None, per: int) -> str:
    if value is None:
        return "open"
    return str(value) if per == 1 else f"{value / per:.0f}"


def _as_json(
    file: Path, seeds: Sequence[int], odds: Any, forecasts: Sequence[Forecast], advice: Advice
) -> dict[str, Any]:
    import msgspec

    return {
        "kind": "rollout-plan",
        "schema_version": 1,
        "file": str(file),
        "seeds": list(seeds),
        "activation_failure_ppm": odds.activation_failure_ppm,
        "strategies": {each.strategy: msgspec.to_builtins(each.futures) for each in forecasts},
        "recommended": advice.strategy,
        "why": advice.why,
    }
