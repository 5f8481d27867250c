"""Pictures as inline SVG, drawn from integers: stacked areas, step curves, distributions, bars over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.report.gather.bounded import EDGES_NS, Histogram
from orchestrator.report.page import words
from orchestrator.report.page.markup import Markup, el, join

WIDTH: Final = 860
LEFT: Final = 64
RIGHT: Final = 14
FLOOR: Final = 24
"""Height of the axis below a picture."""

TIME_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
)  # fmt: skip

Points = Sequence[tuple[int, int]]
"""(instant in ns, value from there on)."""


def frame(height: int, label: str, *parts: Markup) -> Markup:
    """The picture itself; `label` says in words what is seen."""
    return el(
        "svg", el("title", label), *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=label, class_="chart"
    )


def ticks(end_ns: int, most: int = 9) -> list[int]:
    """Round instants in ns, about as many as fit."""
    step_s = next((step for step in TIME_STEPS_S if end_ns <= step * words.S * most), 2_592_000)
    return list(range(0, end_ns + 1, step_s * words.S))


def short(at_ns: int, end_ns: int) -> str:
    """An instant as an axis shows it: as many parts as the whole needs."""
    seconds = at_ns // words.S
    if end_ns >= 48 * 3600 * words.S:
        return f"{seconds // 86_400}d {seconds // 3600 % 24:02d}h"
    if end_ns >= 3600 * words.S:
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}h"
    return f"{seconds // 60}:{seconds % 60:02d}"


def across(at_ns: int, end_ns: int) -> str:
    """Where an instant stands on the axis."""
    return _number(LEFT + (WIDTH - LEFT - RIGHT) * at_ns / max(end_ns, 1))


def time_axis(end_ns: int, top: int, bottom: int) -> Markup:
    """Lines and words at round instants."""
    parts = []
    for at_ns in ticks(end_ns):
        x = across(at_ns, end_ns)
        parts.append(el("line", x1=x, y1=top, x2=x, y2=bottom, class_="grid"))
        parts.append(el("text", short(at_ns, end_ns), x=x, y=bottom + 16, text_anchor="middle"))
    return join(parts)


def value_axis(most: int, top: int, bottom: int) -> Markup:
    """Nothing, half and all of a whole number."""
    parts = []
    for value in sorted({0, most // 2, most}):
        y = _number(bottom - (bottom - top) * value / max(most, 1))
        parts.append(el("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, class_="grid"))
        parts.append(el("text", f"{value:,}", x=LEFT - 8, y=float(y) + 4, text_anchor="end"))
    return join(parts)


def stacked(layers: Sequence[tuple[str, Points]], end_ns: int, label: str, height: int = 210) -> Markup:
    """Layers one upon another, the first at the bottom: (CSS colour, points)."""
    top, bottom = 10, height - FLOOR
    instants = sorted({0, *(at_ns for _, points in layers for at_ns, _ in points)})
    values = [_sampled(points, instants) for _, points in layers]
    most = max((sum(column) for column in zip(*values, strict=True)), default=0) or 1
    parts = [value_axis(most, top, bottom), time_axis(end_ns, top, bottom)]
    below = [0] * len(instants)
    for (colour, _), own in zip(layers, values, strict=True):
        above = [low + value for low, value in zip(below, own, strict=True)]
        if any(own):
            upper = _steps(instants, above, end_ns, most, top, bottom)
            lower = _steps(instants, below, end_ns, most, top, bottom)
            lower.reverse()
            outline = " ".join(f"{x},{y}" for x, y in [*upper, *lower])
            parts.append(el("polygon", points=outline, style=f"fill:{colour}", class_="layer"))
        below = above
    return frame(height, label, *parts)


def curve(points: Points, end_ns: int, most: int, top: int, bottom: int, class_: str) -> Markup:
    """A step curve; the caller draws the axes."""
    instants, values = [at_ns for at_ns, _ in points], [value for _, value in points]
    path = " ".join(f"{x},{y}" for x, y in _steps(instants, values, end_ns, most, top, bottom))
    return el("polyline", points=path, class_=class_, fill="none")


def area(points: Points, end_ns: int, most: int, top: int, bottom: int, class_: str) -> Markup:
    """The area under a step curve."""
    instants, values = [at_ns for at_ns, _ in points], [value for _, value in points]
    line = _steps(instants, values, end_ns, most, top, bottom)
    if not line:
        return join()
    outline = [(line[0][0], str(bottom)), *line, (line[-1][0], str(bottom))]
    return el("polygon", points=" ".join(f"{x},{y}" for x, y in outline), class_=class_)


def bars(
    columns: Sequence[Sequence[int]], classes: Sequence[str], end_ns: int, label: str, height: int = 120
) -> Markup:
    """Counts over time: each column a few numbers, stacked in the order of `classes`."""
    top, bottom = 8, height - FLOOR
    most = max((sum(column) for column in columns), default=0) or 1
    width = (WIDTH - LEFT - RIGHT) / max(len(columns), 1)
    parts = [value_axis(most, top, bottom), time_axis(end_ns, top, bottom)]
    for place, column in enumerate(columns):
        y = float(bottom)
        for class_, value in zip(classes, column, strict=True):
            if value:
                tall = max((bottom - top) * value / most, 1.5)
                y -= tall
                parts.append(
                    el(
                        "rect",
                        x=_number(LEFT + place * width + 0.5),
                        y=_number(y),
                        width=_number(max(width - 1, 1)),
                        height=_number(tall),
                        class_=f"bar {class_}",
                    )
                )
    return frame(height, label, *parts)


ROW: Final = 46


def distributions(named: Sequence[tuple[str, str, Histogram]], label: str) -> Markup:
    """Histograms of durations one below another on one logarithmic axis: (name, CSS class, histogram)."""
    used = sorted({place for _, _, histogram in named for place in histogram.counts})
    first, last = used[0] // 8 * 8, -(-(used[-1] + 1) // 8) * 8
    height = ROW * len(named) + FLOOR + 8
    bottom = height - FLOOR
    left, width = 128, WIDTH - 128 - RIGHT
    bin_width = width / (last - first)
    parts = []
    for place in range(first, last + 1, 8):
        x = _number(left + (place - first) * bin_width)
        told = words.duration(EDGES_NS[place]).replace(".00", "").replace(".0", "")
        parts.append(el("line", x1=x, y1=4, x2=x, y2=bottom, class_="grid"))
        anchor = "end" if place == last else "middle"
        parts.append(el("text", told, x=x, y=bottom + 16, text_anchor=anchor))
    for row, (name, class_, histogram) in enumerate(named):
        base = ROW * (row + 1)
        most = max(histogram.counts.values())
        parts.append(el("text", name, x=left - 12, y=base - 12, text_anchor="end", class_="name"))
        parts.append(el("line", x1=left, y1=base, x2=WIDTH - RIGHT, y2=base, class_="base"))
        for place in sorted(histogram.counts):
            tall = max((ROW - 12) * histogram.counts[place] / most, 2)
            told = f"{words.plural(histogram.counts[place], 'event')} from {words.duration(EDGES_NS[place])}"
            bar = el(
                "rect",
                el("title", f"{name}: {told}"),
                x=_number(left + (place - first) * bin_width + 0.5),
                y=_number(base - tall),
                width=_number(bin_width - 1),
                height=_number(tall),
                rx=1.5,
                class_=f"bar {class_}",
            )
            parts.append(bar)
    return frame(height, label, *parts)


def meter(part: int, whole: int, tone: str) -> Markup:
    """A share as a short bar in a table; the number stands beside it."""
    share = _number(100 * part / whole) if whole else "0"
    return el("span", el("i", style=f"width:{share}%", class_=tone), class_="meter", aria_hidden="true")


def legend(items: Sequence[tuple[str, str]]) -> Markup:
    """Names of series with their colours: (CSS colour, name)."""
    return el("p", [el("span", el("i", style=f"background:{colour}"), name) for colour, name in items], class_="legend")


def _sampled(points: Points, instants: Sequence[int]) -> list[int]:
    """The value at each of some rising instants."""
    values, place, value = [], 0, 0
    for at_ns in instants:
        while place < len(points) and points[place][0] <= at_ns:
            value = points[place][1]
            place += 1
        values.append(value)
    return values


def _steps(
    instants: Sequence[int], values: Sequence[int], end_ns: int, most: int, top: int, bottom: int
) -> list[tuple[str, str]]:
    """Corners of a step line up to the end of the run."""
    line: list[tuple[str, str]] = []
    for place, at_ns in enumerate(instants):
        y = _number(bottom - (bottom - top) * values[place] / max(most, 1))
        until_ns = instants[place + 1] if place + 1 < len(instants) else end_ns
        line += [(across(at_ns, end_ns), y), (across(until_ns, end_ns), y)]
    return line


def _number(value: float) -> str:
    """A coordinate, short: tenths at most."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
