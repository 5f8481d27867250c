"""Write the generated pages under `docs/reference/`; with `--check`, say whether the committed ones are up to date.

Every page here comes from the thing it documents: the schema, the command line, the cost table, the life cycles.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from cca_machine.costs import COSTS
from cca_machine.pod import WALK
from orchestrator.chaos.checkers import CHECKERS
from orchestrator.cli.app import EPILOG, app
from orchestrator.cluster.reference import cluster_page, experiment_page
from orchestrator.metrics.reference import markdown as metrics_page
from orchestrator.scripting.reference import markdown as python_page
from orchestrator.tables import LIFE_CYCLES, LifeCycle

# the pages about the RMM's conditions come from the rows of the tests themselves
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "spec"))
from spec_pages import PAGES as SPEC_PAGES

REFERENCE = Path(__file__).parent / "reference"


def cli_page() -> str:
    """Every command with its arguments and options, as the command line itself describes them."""
    lines = ["# The command line", "", "Generated from `orchestrator/cli/app.py`; do not edit.", "", EPILOG, ""]
    lines += _command(typer.main.get_command(app), "realmfleet")
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, name: str) -> list[str]:
    lines = [f"## `{name}`", "", (command.help or "").strip(), ""]
    rows = [row for parameter in command.params if (row := _parameter(parameter)) is not None]
    if rows:
        lines += ["| Argument or option | Meaning |", "|---|---|", *rows, ""]
    for child in sorted(getattr(command, "commands", {})):
        lines += _command(command.commands[child], f"{name} {child}")
    return lines


def _parameter(parameter: Any) -> str | None:
    if parameter.name in ("help", "install_completion", "show_completion"):
        return None
    words = ", ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.metavar or parameter.name
    default = parameter.default
    shown = f" (default `{default}`)" if isinstance(default, str | int | float) and default not in ("", False) else ""
    return f"| `{words}` | {parameter.help or ''}{shown} |"


def timing_page() -> str:
    """The cost table with source and confidence."""
    rows = [f"| `{cost.name}` | {cost.ns:,} | {cost.per} | {cost.confidence} | {cost.source} |" for cost in COSTS]
    head = (
        "# Modelled durations\n\n"
        "Generated from `cca_machine/costs.py`; do not edit. No timing of CCA on RME silicon is public:\n"
        "read results as sensitivity bands (`timing.scale` at 30%, 100%, 300%), not as predictions.\n"
        "`timing.override` in the cluster file replaces single rows.\n\n"
        "| Name | ns | per | Confidence | Source |\n|---|--:|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def pod_page() -> str:
    """The steps of a confidential pod: who acts, what it costs, what stops it."""
    head = (
        "# The walk of a confidential pod\n\n"
        "Generated from `cca_machine/pod.py`; do not edit. Costs are named as in [timing.md](timing.md); those of the\n"
        "evidence step that begin with `attestation.` are keys of the cluster file. `pod.step` and `pod.refused` in\n"
        "the trace name these steps, and so does the label `step` of the pod metrics.\n\n"
        "| Step | Who | What | Costs | What stops the pod here |\n|---|---|---|---|---|\n"
    )
    rows = [
        f"| `{row.step}` | {row.actor} | {row.does} | {', '.join(f'`{cost}`' for cost in row.costs)} | {row.stops} |"
        for row in WALK
    ]
    return head + "\n".join(rows) + "\n"


def life_cycle_page() -> str:
    """Every state machine of the house, drawn from its table."""
    parts = ["# Life cycles", "", "Generated from the tables in the code; do not edit. A step that is not drawn moves"]
    parts += ["nothing: it is ignored, or refused with the status that the specification has for it.", ""]
    for cycle in LIFE_CYCLES:
        parts += _diagram(cycle)
    return "\n".join(parts).rstrip() + "\n"


def _diagram(cycle: LifeCycle) -> list[str]:
    lines = [f"## {cycle.title}", "", f"`{cycle.where}`", "", "```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {_id(state)}" for state in cycle.states if state in cycle.starts]
    for state, given, after, effect in cycle.steps():
        label = given.value + (f" / {effect}" if effect else "")
        lines.append(f"    {_id(state)} --> {_id(after)}: {label}")
    lines += [f"    {_id(state)} --> [*]" for state in cycle.states if state in cycle.ends]
    return [*lines, "```", ""]


def _id(state: Any) -> str:
    return str(state.value).replace("-", "_")


def checker_page() -> str:
    """Every checker with what it judges."""
    rows = [f"| `{name}` | {_first(checker)} |" for name, checker in CHECKERS.items()]
    head = (
        "# Checkers\n\n"
        "Generated from `orchestrator/chaos/checkers.py`; do not edit. A checker judges the recorded trace, never\n"
        "live objects, and answers pass, fail or unknown.\n\n| Checker | Judges that |\n|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def _first(checker: Callable[..., Any]) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join((checker.__doc__ or "").strip().split("\n\n")[0].split())


PAGES: Mapping[str, Callable[[], str]] = {
    "cluster-file.md": cluster_page,
    "experiment-file.md": experiment_page,
    "command-line.md": cli_page,
    "timing.md": timing_page,
    "pod-walk.md": pod_page,
    "life-cycles.md": life_cycle_page,
    "checkers.md": checker_page,
    "metrics.md": metrics_page,
    "python.md": python_page,
    **SPEC_PAGES,
}


def main() -> int:
    """Write the pages, or compare them; 1 when a committed page is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / name, page()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
