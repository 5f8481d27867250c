"""A sweep as tables for people: each figure's mean with its interval per variant, and what differs from the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.report.intervals import Estimate
from orchestrator.report.table import console

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep, VariantSummary


def show_sweep(sweep: Sweep, out: Console | None = None) -> None:
    """Print one table per variant, and where the files lie."""
    out = out or console()
    out.print(Text(f"{sweep.name}: {sweep.runs} runs, {sweep.reused} from before", style="bold"), soft_wrap=True)
    for variant in sweep.variants:
        out.print(_table(variant))
    out.print(f"table and summary  {sweep.out}", soft_wrap=True)


def _table(variant: VariantSummary) -> Table:
    failed = f", {variant.checkers_failed} with a failed checker" if variant.checkers_failed else ""
    table = Table(box=box.SIMPLE_HEAD, title=f"{variant.name} ({variant.runs} runs{failed})", title_justify="left")
    for heading in ("figure", "mean", "95% interval"):
        table.add_column(heading, justify="left" if heading == "figure" else "right", no_wrap=True)
    if variant.against_first:
        table.add_column("against the first, seed by seed", justify="right", no_wrap=True)
    for figure, found in variant.figures.items():
        cells = [figure, f"{found.mean:,.3f}", _interval(found)]
        if variant.against_first:
            cells.append(_difference(variant.against_first.get(figure)))
        table.add_row(*cells)
    return table


def _interval(found: Estimate) -> str:
    return "" if found.low is None or found.high is None else f"{found.low:,.3f} to {found.high:,.3f}"


def _difference(found: Estimate | None) -> str:
    if found is None:
        return ""
    word = "differs" if found.apart_from_zero else "not told apart"
    return f"{found.mean:+,.3f} ({_interval(found)}) {word}" if found.low is not None else f"{found.mean:+,.3f}"
