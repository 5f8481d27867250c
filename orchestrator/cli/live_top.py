"""`realmfleet top`: a live fleet as a table that keeps itself fresh."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.live_client import LiveClient

COLOURS = {
    "admitted": "green", "appraising": "cyan", "expected": "dim", "suspect": "yellow", "down": "red", "refused": "red",
    "serving": "green", "migrating": "magenta", "wanted": "yellow", "failed": "red", "stopped": "dim",
}  # fmt: skip
LONGEST = 40
"""Machines shown; the troubled ones come first."""


def watch(client: LiveClient, count: int | None, every_s: float, as_json: bool) -> None:
    """Look at the fleet `count` times (None: until interrupted), `every_s` seconds apart."""
    if as_json:
        for _ in _looks(count, every_s):
            sys.stdout.write(json.dumps(client.get("status")) + "\n")
            sys.stdout.flush()
        return
    console = Console()
    with Live(console=console, screen=console.is_terminal and count is None, auto_refresh=False) as live:
        for _ in _looks(count, every_s):
            live.update(picture(client.get("status"), client.get("machines")["items"]), refresh=True)


def _looks(count: int | None, every_s: float) -> Any:
    done = 0
    while count is None or done < count:
        if done:
            time.sleep(every_s)
        done += 1
        yield done


def picture(status: dict[str, Any], machines: list[dict[str, Any]]) -> Group:
    """The fleet as rich text: a headline and a row per machine."""
    pace = status["pace"]
    how = "paused" if pace["paused"] else f"{pace['speed']:g}x"
    head = Text.assemble(
        (f"{status['cluster']} ", "bold"), f"{status['now']}  {how}   Realms ",
        (f"{status['realms_serving']}/{status['realms_wanted']}", "bold"), " serving   faults ",
        (str(status["faults_in_force"]), "red" if status["faults_in_force"] else "dim"), "   ",
        ", ".join(f"{name} {stage}" for name, stage in status["rollouts"].items()),
    )  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("machine", "rack", "state", "RMM", "Realms", "free", "activity", "faults"):
        table.add_column(title, no_wrap=True)
    ordered = sorted(machines, key=lambda row: (row["state"] == "admitted" and not row["faults"], row["name"]))
    for row in ordered[:LONGEST]:
        free = row["free_granules"]
        table.add_row(
            row["name"],
            row["rack"],
            Text(row["state"], COLOURS.get(row["state"], "")),
            row["versions"].get("RMM", ""),
            str(row["realms"]),
            "" if free is None else f"{100 * free // row['granules']}%",
            row["activity"] or ", ".join(row["cordons"]),
            Text(", ".join(row["faults"]), "red"),
        )
    rest = len(ordered) - LONGEST
    return Group(head, table, Text(f"and {rest} more machines", "dim")) if rest > 0 else Group(head, table)
