"""An RMM fix reaches a fleet in three ways: table, CSV and picture of the comparison (`make experiment-rmm-fix`).

Runs `clusters/rmm-fix-{live,drain,reboot}.yaml` under the same seeds and faults, with the assumed timings times 0.3, 1
and 3, and rewrites the files beside this one. The same tree gives the same bytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster.load import load_text
from orchestrator.cluster.schema import Cluster
from orchestrator.firmware.outcome import RolloutOutcome
from orchestrator.firmware.rehearsal import STRATEGIES, Odds, future, variant

HERE = Path(__file__).parent
CLUSTERS = HERE.parents[1] / "clusters"
SEEDS = (1, 2, 3, 4, 5)
SCALES = ((300_000, "x0.3"), (1_000_000, "x1"), (3_000_000, "x3"))
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % quantile of Student's t by number of seeds."""
S, H = 1e9, 3.6e12


@dataclass(frozen=True)
class Metric:
    """One column: name, unit, and how to read it from an outcome; None when it never came."""

    key: str
    title: str
    read: Callable[[RolloutOutcome], float | None]
    digits: int
    drawn: bool = False


def _time(index: int) -> Callable[[RolloutOutcome], float | None]:
    def read(found: RolloutOutcome) -> float | None:
        instant = found.time_to_ns[index]
        return None if instant is None else instant / S

    return read


METRICS = (
    Metric("downtime_realm_s", "Downtime by the update (Realm-seconds)", lambda o: o.downtime_ns / S, 3, True),
    Metric("time_to_50_s", "Time to 50 % of machines (s)", _time(0), 1),
    Metric("time_to_95_s", "Time to 95 % of machines (s)", _time(1), 1),
    Metric("time_to_100_s", "Time to 100 % of machines (s)", _time(2), 1, True),
    Metric("exposure_realm_h", "Exposure (vulnerable Realm-hours)", lambda o: o.exposure_ns / H, 3, True),
    Metric("migrations", "Migrations", lambda o: o.migrations, 1),
    Metric("restarts", "Realm restarts, the fault's included", lambda o: o.restarts, 1),
    Metric("spare_places", "Spare capacity (Realms held elsewhere at once)", lambda o: o.spare_places, 1),
    Metric(
        "downtime_faults_realm_s", "Downtime by the power loss (Realm-seconds)", lambda o: o.downtime_faults_ns / S, 1
    ),
)

Cell = tuple[float, float] | None
"""Mean over seeds and half the width of its 95 % confidence interval; None when some seed never got there."""

Results = dict[tuple[str, str], list[RolloutOutcome]]
"""Outcomes by strategy and scale, in the order of the seeds."""


def run_all() -> Results:
    results: Results = {}
    for strategy in STRATEGIES:
        cluster = _cluster(strategy)
        for ppm, scale in SCALES:
            timing = cluster.timing.model_copy(update={"scale": ppm})
            scaled = cluster.model_copy(update={"timing": timing})
            results[strategy, scale] = [future(variant(scaled, strategy, seed, Odds()), seed) for seed in SEEDS]
            print(f"{strategy} {scale}: {len(SEEDS)} seeds", file=sys.stderr, flush=True)
    return results


def _cluster(strategy: str) -> Cluster:
    path = CLUSTERS / f"rmm-fix-{strategy}.yaml"
    loaded = load_text(path.read_bytes(), str(path))
    if loaded.value is None:
        raise SystemExit(loaded.render())
    return loaded.value


def cell(metric: Metric, outcomes: Sequence[RolloutOutcome]) -> Cell:
    """Mean and half interval over seeds."""
    values = [metric.read(found) for found in outcomes]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = sum(known) / len(known)
    variance = sum((value - mean) ** 2 for value in known) / (len(known) - 1)
    return mean, STUDENT_95[len(known)] * math.sqrt(variance / len(known))


def shown(metric: Metric, value: Cell) -> str:
    if value is None:
        return "not reached"
    return f"{value[0]:.{metric.digits}f} ± {value[1]:.{metric.digits}f}"


def table(results: Results) -> str:
    lines = [
        "<!-- written by docs/experiments/rmm_fix.py; do not edit -->",
        f"Mean over {len(SEEDS)} seeds ± half of the 95 % confidence interval; timings as assumed (x1).",
        "",
        "| | " + " | ".join(STRATEGIES) + " |",
        "|---|" + "---:|" * len(STRATEGIES),
    ]
    for metric in METRICS:
        row = [shown(metric, cell(metric, results[strategy, "x1"])) for strategy in STRATEGIES]
        lines.append(f"| {metric.title} | " + " | ".join(row) + " |")
    lines += [
        "", "With the assumed timings times 0.3 and times 3:", "",
        "| | " + " | ".join(f"{strategy} {scale}" for strategy in STRATEGIES for scale in ("x0.3", "x3")) + " |",
        "|---|" + "---:|" * (2 * len(STRATEGIES)),
    ]  # fmt: skip
    for metric in METRICS:
        row = [shown(metric, cell(metric, results[one, scale])) for one in STRATEGIES for scale in ("x0.3", "x3")]
        lines.append(f"| {metric.title} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def rows(results: Results) -> str:
    lines = ["strategy,timings,metric,mean,ci95_half,seeds"]
    for (strategy, scale), outcomes in results.items():
        for metric in METRICS:
            found = cell(metric, outcomes)
            told = "," if found is None else f"{found[0]:.6f},{found[1]:.6f}"
            lines.append(f"{strategy},{scale},{metric.key},{told},{len(outcomes)}")
    return "\n".join(lines) + "\n"


WIDTH, LEFT, RIGHT, PANEL, ROW = 760, 90, 30, 150, 30
COLOURS = {"live": "#1b7837", "drain": "#2166ac", "reboot": "#b2182b"}


def picture(results: Results) -> str:
    """Three panels on logarithmic axes: a band from x0.3 to x3, a stroke at x1, a whisker for its interval."""
    drawn = [metric for metric in METRICS if metric.drawn]
    height = 30 + PANEL * len(drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="10" y="20">An RMM fix by three strategies: stroke = mean at x1, whisker = 95 % interval over seeds, '
        "band = timings x0.3 to x3</text>",
    ]
    for index, metric in enumerate(drawn):
        parts += _panel(metric, results, 40 + PANEL * index)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(metric: Metric, results: Results, top: int) -> list[str]:
    cells = {key: cell(metric, outcomes) for key, outcomes in results.items()}
    means = [found[0] for found in cells.values() if found is not None and found[0] > 0]
    low, high = math.floor(math.log10(min(means))), math.ceil(math.log10(max(means)))
    high = max(high, low + 1)

    def x(value: float) -> float:
        share = (math.log10(max(value, 10.0**low)) - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    bottom = top + 20 + ROW * len(STRATEGIES)
    parts = [f'<text x="{LEFT}" y="{top + 12}" font-weight="bold">{metric.title}</text>']
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.1f}" y1="{top + 18}" x2="{at:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{10.0**power:g}</text>')
    for index, strategy in enumerate(STRATEGIES):
        middle = top + 20 + ROW * index + ROW / 2
        colour = COLOURS[strategy]
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{strategy}</text>')
        band = [found for _, scale in SCALES if (found := cells[strategy, scale]) is not None]
        if band:
            first, last = x(min(each[0] for each in band)), x(max(each[0] for each in band))
            size = f'width="{max(last - first, 1):.1f}" height="16" fill="{colour}" fill-opacity="0.25"'
            parts.append(f'<rect x="{first:.1f}" y="{middle - 8:.1f}" {size}/>')
        centre = cells[strategy, "x1"]
        if centre is not None:
            mean, half = centre
            ends = f'x1="{x(mean - half):.1f}" y1="{middle:.1f}" x2="{x(mean + half):.1f}" y2="{middle:.1f}"'
            parts.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
            stroke = f'x1="{x(mean):.1f}" y1="{middle - 8:.1f}" x2="{x(mean):.1f}" y2="{middle + 8:.1f}"'
            parts.append(f'<line {stroke} stroke="{colour}" stroke-width="3"/>')
    return parts


def main() -> None:
    results = run_all()
    (HERE / "rmm-fix.md").write_text(table(results), encoding="utf-8")
    (HERE / "rmm-fix.csv").write_text(rows(results), encoding="utf-8")
    (HERE / "rmm-fix.svg").write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
