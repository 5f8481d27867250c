"""Plots of a run and of sweeps, as plotly figures; nothing else of the package imports plotly.

A figure shows itself in a notebook; `figure.write_html("file.html")` writes a page that stands alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import plotly.graph_objects as go

from orchestrator.scripting.errors import FleetError

if TYPE_CHECKING:
    from orchestrator.scripting.results import Results
    from orchestrator.scripting.sweeps import SweepResults

_COLOURS: Final = {
    "serving": "#2a9d6f",
    "bring-up": "#9aa3ad",
    "migration": "#3b7dd8",
    "activation": "#7a5bc7",
    "lease": "#d99a2b",
    "machine-lost": "#c8423b",
    "freeze": "#4db6c6",
    "reboot": "#b0653a",
    "restart": "#e0798f",
}
"""One colour a cause, the same in every plot."""

MOST_REALMS = 200
"""Realms that a time line draws; beyond, those with the longest downtime."""


class Plots:
    """Plots of one run."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def timeline(self) -> go.Figure:
        """A line for each Realm: when it served, when not and why; faults as bands behind."""
        figure = go.Figure()
        realms = self._results.realms.sort("downtime_s", descending=True).head(MOST_REALMS).sort("realm")
        names = realms["realm"].to_list()
        wanted = {row["realm"]: (row["wanted_s"], row["until_s"]) for row in realms.iter_rows(named=True)}
        _bars(figure, "serving", [(realm, from_s, until_s) for realm, (from_s, until_s) in wanted.items()])
        gaps: dict[str, list[tuple[str, float, float]]] = {}
        for row in self._results.outages.iter_rows(named=True):
            if row["realm"] in wanted:
                gaps.setdefault(row["cause"], []).append((row["realm"], row["from_s"], row["until_s"]))
        for cause in sorted(gaps):
            _bars(figure, cause, gaps[cause])
        for row in self._results.faults.iter_rows(named=True):
            until_s = self._results.virtual_s if row["until_s"] is None else row["until_s"]
            figure.add_vrect(
                row["from_s"], until_s, fillcolor="#c8423b", opacity=0.12, line_width=0,
                annotation_text=row["kind"], annotation_position="top left", annotation_yshift=18,
            )  # fmt: skip
        figure.update_layout(barmode="overlay", title=f"{self._results.name}, seed {self._results.seed}",
                             height=max(300, 18 * len(names) + 160), template="plotly_white")  # fmt: skip
        figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
        figure.update_xaxes(title="virtual time [s]", range=[0, self._results.virtual_s])
        return figure

    def downtime(self) -> go.Figure:
        """Downtime per event as a cumulative distribution, one curve a cause, logarithmic."""
        figure = go.Figure()
        table = self._results.outages.filter(self._results.outages["cause"] != "bring-up")
        for cause in sorted(set(table["cause"])):
            values = sorted(table.filter(table["cause"] == cause)["duration_ms"])
            shares = [(place + 1) / len(values) for place in range(len(values))]
            figure.add_trace(go.Scatter(x=values, y=shares, name=cause, mode="lines+markers", line_shape="hv",
                                        line_color=_COLOURS.get(cause)))  # fmt: skip
        figure.update_layout(title="downtime per event", template="plotly_white")
        figure.update_xaxes(type="log", title="downtime [ms]")
        figure.update_yaxes(title="share of events", range=[0, 1.02])
        return figure

    def metric(self, name: str) -> go.Figure:
        """A metric over virtual time, one curve a combination of labels. Histograms show their count."""
        table = self._results.metrics(name)
        if "le" in table.columns:
            table = table.filter(table["series"].str.ends_with("_count")).drop("le")
        labels = table.columns[3:]
        figure = go.Figure()
        for key, part in table.group_by(labels, maintain_order=True) if labels else [((), table)]:
            told = ", ".join(str(value) for value in key) or name
            figure.add_trace(go.Scatter(x=part["at_s"].to_list(), y=part["value"].to_list(), name=told,
                                        line_shape="hv", mode="lines"))  # fmt: skip
        figure.update_layout(title=name, template="plotly_white")
        figure.update_xaxes(title="virtual time [s]")
        return figure

    def compare(self, *others: Results) -> go.Figure:
        """Downtime per event of this run and others, all causes together."""
        figure = go.Figure()
        for results in (self._results, *others):
            table = results.outages.filter(results.outages["cause"] != "bring-up")
            label = f"{results.name}, seed {results.seed} ({results.trace_digest[:8]})"
            figure.add_trace(go.Box(y=table["duration_ms"].to_list(), name=label, boxpoints="all"))
        figure.update_layout(title="downtime per event", template="plotly_white", showlegend=False)
        figure.update_yaxes(type="log", title="downtime [ms]")
        return figure


def sweep_figure(sweep: SweepResults, figure_name: str) -> go.Figure:
    """A figure of a sweep: mean with its 95 % interval for each variant, single runs as points."""
    if figure_name not in sweep.figures:
        raise FleetError(f"a sweep has no figure {figure_name}", f"figures: {', '.join(sweep.figures)}")
    figure = go.Figure()
    names = [variant.name for variant in sweep.summary.variants]
    found = [variant.figures.get(figure_name) for variant in sweep.summary.variants]
    kept = [(name, one) for name, one in zip(names, found, strict=True) if one is not None]
    reach = [0.0 if one.high is None else one.high - one.mean for _, one in kept]
    figure.add_trace(go.Scatter(x=[name for name, _ in kept], y=[one.mean for _, one in kept], mode="markers",
                                name="mean, 95 % interval", error_y={"type": "data", "array": reach},
                                marker={"size": 11, "color": "#3b7dd8"}))  # fmt: skip
    runs = sweep.table.drop_nulls(figure_name)
    figure.add_trace(go.Scatter(x=runs["variant"].to_list(), y=runs[figure_name].to_list(), mode="markers",
                                name="single seeds", marker={"size": 6, "color": "#9aa3ad"}))  # fmt: skip
    figure.update_layout(title=f"{sweep.summary.name}: {figure_name}", template="plotly_white")
    figure.update_yaxes(title=figure_name)
    return figure


def _bars(figure: Any, name: str, spans: list[tuple[str, float, float]]) -> None:
    """Horizontal bars of one colour; very short ones get a width that can be seen."""
    figure.add_trace(
        go.Bar(
            y=[realm for realm, _, _ in spans],
            base=[from_s for _, from_s, _ in spans],
            x=[max(until_s - from_s, 0.25) for _, from_s, until_s in spans],
            orientation="h",
            name=name,
            marker_color=_COLOURS.get(name, "#888888"),
            customdata=[(until_s - from_s) * 1000 for _, from_s, until_s in spans],
            hovertemplate="%{y} " + name + " from %{base:.3f} s, %{customdata:.3f} ms<extra></extra>",
        )
    )
