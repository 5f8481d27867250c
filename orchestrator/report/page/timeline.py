"""The time line: bars of what happened, how many Realms served, and a row for each machine and Realm that is shown.

Everything is drawn here for the whole run, so that it is there on paper and without scripts. `timeline.js` only moves
the window: it sets two numbers of the style sheet and the view of the drawings, whatever they hold. Rows are drawn as
one path per state, each span a horizontal stroke; the script reads the same path to say what lies under the pointer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.report.availability import Cause, cause_of
from orchestrator.report.gather.bounded import Some, Steps
from orchestrator.report.gather.gathering import Gathering
from orchestrator.report.gather.happenings import Bar
from orchestrator.report.gather.rows import Row, Span
from orchestrator.report.page import charts, words
from orchestrator.report.page.markup import Markup, el, join
from orchestrator.report.page.palette import SERIES, series

UNITS: Final = 1 << 22
"""Width of the drawings in units of their own: whole numbers that single precision holds exactly."""

MACHINE_PX: Final = 17
REALM_PX: Final = 12
LEVEL_PX: Final = 21
MOST_LEVELS: Final = 5
SERVING_PX: Final = 64

LANES: Final = (("faults", "Faults"), ("waves", "Rollout waves"), ("drains", "Drains"), ("migrations", "Migrations"))


PAUSES: Final = {Cause.MIGRATION: "moving", Cause.ACTIVATION: "activating"}
"""Pauses that are meant: everything else that stands still was struck by something."""


def timeline(gathered: Gathering) -> Markup:
    """The whole time line, with a legend and a sentence on what it leaves out."""
    end_ns = max(gathered.end_ns, 1)
    machines, realms = gathered.machines.rows.chosen(), gathered.realms.rows.chosen()
    versions = _versions(machines)
    lanes = [_lane(title, gathered.happenings.lanes[lane], end_ns) for lane, title in LANES]
    drawn = el(
        "div",
        _ticks(end_ns),
        _serving(gathered, end_ns),
        [lane for lane in lanes if lane is not None],
        _rows("machines", "Machines", machines, _machine_paths(machines, versions, end_ns), MACHINE_PX),
        _rows("realms", "Realms", realms, _realm_paths(realms, end_ns), REALM_PX),
        el("div", class_="brush", hidden=True),
        class_="plot",
        tabindex=0,
        role="application",
        data_end=end_ns,
        data_units=UNITS,
        aria_label="Time line. Arrow keys move it, plus and minus zoom, zero shows the whole run.",
        style=f"--a:0;--k:{_share(100 * words.S, end_ns)}",
    )
    return join(_controls(end_ns), drawn, _key(versions), _left_out(gathered, machines, realms))


def _controls(end_ns: int) -> Markup:
    buttons = [
        el("button", sign, type="button", data_zoom=verb, aria_label=told, title=told)
        for sign, verb, told in (
            ("−", "out", "Zoom out"),
            ("+", "in", "Zoom in"),
            ("←", "left", "Earlier"),
            ("→", "right", "Later"),
            ("whole run", "all", "Show the whole run"),
        )
    ]
    window = f"{words.clock(0)} to {words.clock(end_ns)}"
    hint = "Drag across it to zoom, shift and drag to move, Ctrl and wheel to zoom at the pointer."
    return el(
        "div",
        buttons,
        el("output", window, class_="window", aria_live="polite"),
        el("span", hint, class_="hint"),
        class_="controls",
    )


def _ticks(end_ns: int) -> Markup:
    shown = [
        el("span", charts.short(at_ns, end_ns), style=f"--f:{_seconds(at_ns)}") for at_ns in charts.ticks(end_ns, 11)
    ]
    return el("div", shown, class_="ticks", aria_hidden="true")


def _serving(gathered: Gathering, end_ns: int) -> Markup:
    wanted, serving = gathered.service.wanted, gathered.service.serving
    most = max((value for _, value in [*wanted.points(), *serving.points()]), default=0) or 1
    paths = [
        el("path", d=_outline(wanted, end_ns, most, closed=True), class_="wanted"),
        el("path", d=_outline(serving, end_ns, most, closed=True), class_="fill"),
        el("path", d=_outline(serving, end_ns, most, closed=False), class_="edge"),
    ]
    drawing = el(
        "svg",
        paths,
        viewBox=f"0 0 {UNITS} {SERVING_PX}",
        preserveAspectRatio="none",
        height=SERVING_PX,
        data_most=most,
        role="img",
        aria_label=f"Realms that serve over time; at most {most} were wanted at once.",
    )
    return _band("Realms serving", drawing, f"of {most:,}", "serving")


def _outline(steps: Steps, end_ns: int, most: int, *, closed: bool) -> str:
    points = steps.points()
    if not points:
        return ""
    parts = []
    for place, (at_ns, value) in enumerate(points):
        y = round((SERVING_PX - 6) * (1 - value / most)) + 4
        parts.append(f"{'V' if place else 'M' + str(_x(at_ns, end_ns)) + ' '}{y}")
        until_ns = points[place + 1][0] if place + 1 < len(points) else end_ns
        parts.append(f"H{_x(until_ns, end_ns)}")
    return "".join(parts) + (f"V{SERVING_PX}H{_x(points[0][0], end_ns)}Z" if closed else "")


def _lane(title: str, bars: Some[Bar], end_ns: int) -> Markup | None:
    if not bars.count:
        return None
    levels: list[int] = []
    shown = []
    for bar in bars.kept:
        until_ns = end_ns if bar.until_ns is None else bar.until_ns
        wide_ns = max(until_ns, bar.from_ns + end_ns // 200)
        level = next((place for place, free_ns in enumerate(levels) if free_ns <= bar.from_ns), len(levels))
        if level >= MOST_LEVELS:
            level = min(range(MOST_LEVELS), key=lambda place: levels[place])
        levels[level : level + 1] = [wide_ns]
        shown.append(_bar(bar, until_ns, level, still_open=bar.until_ns is None))
    more = f"{bars.left_out} more" if bars.left_out else ""
    return _band(title, el("div", shown, class_="bars", style=f"height:{len(levels) * LEVEL_PX}px"), more, "lane")


def _bar(bar: Bar, until_ns: int, level: int, *, still_open: bool) -> Markup:
    lasted = "until the end of the run" if still_open else words.duration(until_ns - bar.from_ns)
    told = f"{bar.title} · {words.clock(bar.from_ns)}, {lasted}{f' · {bar.after}' if bar.after else ''}"
    style = f"--f:{_seconds(bar.from_ns)};--u:{_seconds(until_ns)};--l:{level}"
    label = bar.name + (f" ({bar.after})" if bar.after else "")
    return el(
        "a",
        el("b", label),
        href=f"#{bar.where}" if bar.where else "#timeline",
        class_=f"span {bar.tone}",
        style=style,
        title=told,
        aria_label=told,
    )


def _band(title: str, content: Markup, note: str, class_: str) -> Markup:
    told = el("div", el("b", title), el("small", note) if note else None, class_="label")
    return el("div", told, el("div", content, class_="track"), class_=f"band {class_}")


# -- rows --------------------------------------------------------------------------------------------------------------


def _rows(class_: str, title: str, rows: Sequence[Row], paths: Iterable[Markup], height_px: int) -> Markup | None:
    if not rows:
        return None
    names = [el("div", row.name, title=row.name, style=f"height:{height_px}px") for row in rows]
    drawing = el(
        "svg",
        list(paths),
        viewBox=f"0 0 {UNITS} {height_px * len(rows)}",
        preserveAspectRatio="none",
        height=height_px * len(rows),
        data_row=height_px,
        role="img",
        aria_label=f"{title}: one row each, in tables below as numbers.",
    )
    return el(
        "div",
        el("h3", title),
        el("div", el("div", names, class_="names"), el("div", drawing, class_="track"), class_="rows"),
        class_=f"group {class_}",
    )


class _Strokes:
    """Spans of one state over all rows as one path, with the notes that go with them."""

    def __init__(self, class_: str, told: str, colour: str = "") -> None:
        self.class_, self.told, self.colour = class_, told, colour
        self._parts: list[str] = []
        self._notes: list[str] = []

    def add(self, span: Span, y: int, end_ns: int) -> None:
        from_x, until_x = _x(span.from_ns, end_ns), _x(span.until_ns, end_ns)
        self._parts.append(f"M{from_x} {y}h{max(until_x - from_x, 1)}")
        self._notes.append(span.note)

    def path(self) -> Markup | None:
        if not self._parts:
            return None
        names = sorted(set(self._notes))
        places = {name: place for place, name in enumerate(names)}
        notes = None
        if names != [""]:
            notes = json.dumps([names, [places[note] for note in self._notes]], separators=(",", ":"))
        style = f"stroke:{self.colour}" if self.colour else None
        return el(
            "path", d="".join(self._parts), class_=self.class_, data_state=self.told, data_notes=notes, style=style
        )


def _machine_paths(rows: Sequence[Row], versions: Sequence[str], end_ns: int) -> list[Markup]:
    up = {name: _Strokes("m-up", "up, RMM", series(place)) for place, name in enumerate(versions)}
    other = {
        "lost": _Strokes("m-lost", "lost:"),
        "frozen": _Strokes("m-frozen", "frozen, RMM"),
        "suspect": _Strokes("m-suspect", "suspect in the eyes of the control plane"),
        "down": _Strokes("m-down", "down in the eyes of the control plane"),
        "distrusted": _Strokes("m-distrusted", "refused by the verifier"),
    }
    for place, row in enumerate(rows):
        top = place * MACHINE_PX
        for span in row.spans:
            strokes = up[span.note] if span.state == "up" else other[span.state]
            strokes.add(span, top + 7, end_ns)
        for span in row.beliefs:
            other[span.state].add(span, top + 14, end_ns)
    return [path for strokes in [*up.values(), *other.values()] if (path := strokes.path()) is not None]


def _realm_paths(rows: Sequence[Row], end_ns: int) -> list[Markup]:
    strokes = {
        "serving": _Strokes("r-serving", "serving on"),
        "starting": _Strokes("r-starting", "there, not yet serving, on"),
        "bring-up": _Strokes("r-bring-up", "wanted, not there yet:"),
        "waiting": _Strokes("r-waiting", "stands still:"),
        "moving": _Strokes("r-moving", "stands still:"),
        "activating": _Strokes("r-activating", "stands still:"),
        "twice": _Strokes("r-twice", "ALIVE TWICE, on"),
    }
    for place, row in enumerate(rows):
        y = place * REALM_PX + REALM_PX // 2
        for span in row.spans:
            state = span.state
            if state == "waiting" and span.note == "bring-up":
                state = "bring-up"
            elif state == "waiting":
                state = PAUSES.get(cause_of(span.note), "waiting")
            strokes[state].add(span, y, end_ns)
    return [path for one in strokes.values() if (path := one.path()) is not None]


def _versions(machines: Sequence[Row]) -> list[str]:
    """RMM versions in the order in which the fleet came to them."""
    spans = sorted((span.from_ns, span.note) for row in machines for span in row.spans if span.state == "up")
    return list(dict.fromkeys(note for _, note in spans))


# -- around it ---------------------------------------------------------------------------------------------------------


def _key(versions: Sequence[str]) -> Markup:
    own = [
        el("span", el("i", class_="k-up", style=f"background:{series(place)}"), f"RMM {name}")
        for place, name in enumerate(versions[: len(SERIES)])
    ]
    fixed = [
        el("span", el("i", class_=f"k-{key}"), told)
        for key, told in (
            ("lost", "machine lost"),
            ("frozen", "frozen"),
            ("suspect", "believed suspect"),
            ("down", "believed down"),
            ("serving", "Realm serves"),
            ("starting", "starts"),
            ("waiting", "stands still"),
            ("moving", "stands still to move"),
            ("activating", "for an activation"),
            ("twice", "alive twice"),
        )
    ]
    return el("p", own, fixed, class_="legend key")


def _left_out(gathered: Gathering, machines: Sequence[Row], realms: Sequence[Row]) -> Markup | None:
    told = []
    for drawn, count, word in (
        (len(machines), gathered.machines.rows.count, "machines"),
        (len(realms), gathered.realms.rows.count, "Realms"),
    ):
        if drawn < count:
            told.append(f"{drawn:,} of {count:,} {word} are shown, those to which most happened")
    if any(row.cut_short for row in [*machines, *realms]):
        told.append("rows with very many changes are cut short")
    thinned = [steps for steps in (gathered.service.serving, gathered.service.wanted) if steps.thinned]
    if thinned:
        grain = words.duration(max(steps.grain_ns for steps in thinned))
        told.append(f"Realms serving are drawn in steps of {grain}")
    return el("p", "Bounded: " + "; ".join(told) + ". The numbers below count all.", class_="note") if told else None


def _x(at_ns: int, end_ns: int) -> int:
    return min(at_ns, end_ns) * UNITS // end_ns


def _seconds(at_ns: int) -> str:
    """Seconds, exact to a microsecond, without needless zeros."""
    text = f"{at_ns // 1000 / 1_000_000:.6f}".rstrip("0")
    return text.removesuffix(".") or "0"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.9f}".rstrip("0").removesuffix(".")
