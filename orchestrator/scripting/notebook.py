"""How a fleet, its parts and its results look in a notebook: plain HTML without scripts, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.chaos.verdict import Outcome, Verdict
from orchestrator.engine.instant import format_instant

if TYPE_CHECKING:
    from orchestrator.scripting.fleet import Fleet
    from orchestrator.scripting.handles import MachineHandle
    from orchestrator.scripting.results import Results

MOST_ROWS = 50
"""Rows of a table that are shown; the rest is counted."""

_GOOD, _WARN, _BAD, _IDLE = "#2a9d6f", "#d99a2b", "#c8423b", "#9aa3ad"
_OF_STATE = {"admitted": _GOOD, "suspect": _WARN, "appraising": _WARN, "down": _BAD, "refused": _BAD}
_OF_OUTCOME = {Outcome.PASS: _GOOD, Outcome.FAIL: _BAD, Outcome.UNKNOWN: _WARN}
_BOX = "display:inline-block;margin:2px;padding:4px 8px;border-radius:4px;color:#fff;font:12px sans-serif"


def fleet_html(fleet: Fleet) -> str:
    """Racks and machines coloured by state, with the number of Realms, and the status line."""
    racks: dict[str, list[MachineHandle]] = {}
    for machine in fleet.machines:
        racks.setdefault(machine.view.rack, []).append(machine)
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(rack)}</th><td>{''.join(map(_machine, machines))}</td></tr>"
        for rack, machines in sorted(racks.items())
    )
    title = f"{fleet.cluster.name}, seed {fleet.seed}, {format_instant(fleet.now_ns)}"
    return f"<div><b>{escape(title)}</b><table>{rows}</table><div>{escape(fleet.status())}</div></div>"


def _machine(machine: MachineHandle) -> str:
    facts = machine.facts()
    told = f"{machine.name}: {facts['state']}, RMM {facts['rmm'] or 'unknown'}, {facts['realms']} Realms"
    colour = _OF_STATE.get(machine.state, _IDLE)
    edge = ";outline:2px dashed #555" if facts["cordoned"] else ""
    number = machine.name.rpartition("-")[2]
    style = f"{_BOX};background:{colour}{edge}"
    return f"<span title='{escape(told)}' style='{style}'>{escape(number)} · {facts['realms']}</span>"


def results_html(results: Results) -> str:
    """Verdicts, the numbers that people ask for first, and how to do it again."""
    availability = results.summary.availability
    numbers = {
        "seed": results.seed,
        "virtual time": f"{results.virtual_s:g} s",
        "availability": f"{availability.percent}%" if availability.ppm is not None else "nothing was wanted",
        "Realms serving": f"{results.summary.realms_running} of {results.summary.realms_wanted}",
        "downtime, p99": f"{results.summary.downtime.p99_ms:g} ms",
        "attestations": f"{results.summary.attestations.passed} passed, {results.summary.attestations.refused} refused",
        "trace digest": results.trace_digest,
        "repeat": results.repeat,
    }
    facts = "".join(f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(str(value))}</td></tr>"
                    for key, value in numbers.items())  # fmt: skip
    verdicts = "".join(_verdict(verdict) for verdict in results.verdicts.values())
    return f"<div><b>{escape(results.name)}</b><table>{facts}</table><table>{verdicts}</table></div>"


def _verdict(verdict: Verdict) -> str:
    chip = f"<span style='{_BOX};background:{_OF_OUTCOME[verdict.outcome]}'>{escape(verdict.outcome.value)}</span>"
    cells = (chip, escape(verdict.name), escape(verdict.detail))
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def rows_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows that have the same keys, as a table."""
    if not rows:
        return "<i>nothing</i>"
    head = "".join(f"<th>{escape(str(key))}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    rest = len(rows) - MOST_ROWS
    more = f"<div>and {rest} more</div>" if rest > 0 else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"
