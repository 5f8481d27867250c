"""Sweeps from a script: many values, many seeds, one table.

    swept = run_sweep("clusters/small.yaml", {"control.lease": ["10s", "30s"]}, seeds=range(1, 6))
    swept.table.group_by("control.lease").agg(polars.mean("downtime_total_ms"))
    swept.plot("downtime_p99_ms")

It is `realmfleet sweep`: runs that have finished under the same file and seed are read, not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import sweep as sweeping
from orchestrator.api import RUNS, open_file
from orchestrator.scripting.errors import FleetError
from orchestrator.scripting.results import Results, open_results
from orchestrator.scripting.spec import Spec
from orchestrator.sweep_runs import cores, processes, tasks

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars


class SweepResults:
    """What a sweep came to."""

    def __init__(self, summary: sweeping.Sweep, out: Path) -> None:
        self.summary = summary
        """Means with 95 % intervals for each variant, and paired differences from the first one."""
        self.out = out
        """Directory of the sweep."""

    @property
    def figures(self) -> list[str]:
        """Columns that hold numbers of runs."""
        return list(sweeping.FIGURES)

    @cached_property
    def table(self) -> polars.DataFrame:
        """One row a run: what was set, seed, digest, failed checkers, wall seconds, every figure, and the variant."""
        import polars

        table = polars.read_csv(self.out / sweeping.TABLE, schema_overrides={"checkers_failed": polars.String})
        names = [variant.name for variant in self.summary.variants for _ in range(variant.runs)]
        return table.with_columns(polars.Series("variant", names, dtype=polars.String))

    def results(self) -> list[Results]:
        """Every run of the sweep, as tables of its own, by directory."""
        return [open_results(path.parent) for path in sorted(self.out.glob("*/seed-*/manifest.json"))]

    def plot(self, figure: str) -> go.Figure:
        """Mean and interval of a figure for each variant, single seeds as points (plotly)."""
        from orchestrator.scripting.plots import sweep_figure

        return sweep_figure(self, figure)

    def __repr__(self) -> str:
        return f"{self.summary.runs} runs of {self.summary.name} in {self.out} ({self.summary.reused} read again)"

    def _repr_html_(self) -> str:
        from orchestrator.scripting.notebook import rows_html

        told = ("availability_ppm", "downtime_p99_ms", "downtime_total_ms", "bring_up_median_ms")
        rows: list[dict[str, Any]] = []
        for variant in self.summary.variants:
            means = {name: f"{variant.figures[name].mean:g}" for name in told if name in variant.figures}
            rows.append({"variant": variant.name, "runs": variant.runs, "failed": variant.checkers_failed, **means})
        return rows_html(rows)


def run_sweep(
    what: str | Path | Spec,
    settings: Mapping[str, Iterable[Any]] | None = None,
    *,
    seeds: Iterable[int] = range(1, 6),
    out: str | Path | None = None,
    jobs: int | None = None,
    ray_address: str | None = None,
) -> SweepResults:
    """Run a file or spec under every combination of `settings` (values by dotted path) and every seed.

    `jobs` runs go side by side, each in a process of its own (default: one per core); with 1 everything stays in this
    process. A script that uses more must keep its work under `if __name__ == "__main__":`, as always with processes.
    With `ray_address` ("host:port" or "auto") they are tasks of that Ray cluster instead.

    Raises:
        UserMistake: a combination cannot be run, or there is nothing to run; then nothing was begun.
    """
    wanted = list(seeds)
    if not wanted:
        raise FleetError("a sweep needs a seed", "seeds=range(1, 6)")
    if isinstance(what, Spec):
        text, name, label = what.text, what.cluster().name, "the spec"
    else:
        cluster, text = open_file(Path(what))
        name, label = cluster.name, str(what)
    axes = [f"{path}={','.join(str(value) for value in values)}" for path, values in (settings or {}).items()]
    chosen = sweeping.variants(text, label, axes)
    folder = Path(out) if out is not None else RUNS / f"{name}-sweep"
    folder.mkdir(parents=True, exist_ok=True)
    run_all = tasks(ray_address, jobs, folder / "ray.log") if ray_address else processes(jobs or cores())
    done = sweeping.sweep(name, chosen, wanted, folder, run_all, lambda line: None)
    return SweepResults(done, folder)
