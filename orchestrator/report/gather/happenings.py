"""The bars of the time line: faults, waves, migrations and drains by when they began and ended; operators' inputs."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.gather.bounded import Some

MOST: Final = 300
"""Bars of one lane; what begins later is counted and left out."""


class Bar(Struct):
    """Something that lasted: `until_ns` is the end of the run while it lasts. `where` is its place on the page."""

    lane: str
    name: str
    title: str
    from_ns: int
    until_ns: int | None = None
    tone: str = ""
    where: str = ""
    targets: tuple[str, ...] = ()
    after: str = ""
    """How it ended, when that is worth a word."""


class Asked(Struct, frozen=True):
    """What an operator asked of the live fleet, and what came of it."""

    at_ns: int
    asked: str
    told: str
    accepted: bool


class Happenings:
    """Bars by lane (faults, waves, migrations, drains), and what operators asked."""

    def __init__(self) -> None:
        self.lanes: dict[str, Some[Bar]] = {lane: Some(MOST) for lane in ("faults", "waves", "migrations", "drains")}
        self.skipped: Some[tuple[int, str, str]] = Some(20)
        self.asked: Some[Asked] = Some(200)
        self._open: dict[str, Bar] = {}

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what = line.what
        match line.kind:
            case "fault.injected":
                self._fault(line)
            case "fault.healed":
                self._end(f"fault/{what['fault']}", line.at_ns)
            case "fault.skipped":
                self.skipped.add((line.at_ns, what["kind"], what["why"]))
            case "wave.started":
                count = len(what["machines"])
                title = f"{what['rollout']} wave {what['wave']}: {count} machine{'s' if count != 1 else ''}"
                key = f"{what['rollout']}/{what['wave']}"
                self._begin(
                    f"wave/{key}", Bar("waves", f"wave {what['wave']}", title, line.at_ns, tone="rollout"), what
                )
            case "wave.finished":
                failed = what["failed"] + what["absent"]
                self._end(f"wave/{what['rollout']}/{what['wave']}", line.at_ns, f"{failed} not done" if failed else "")
            case "rollout.held":
                self._end(f"wave/{what['rollout']}/{what['wave']}", line.at_ns, "held", tone="bad")
            case "migration.started":
                title = f"{what['realm']} from {what['source']} to {what['target']} ({what['why']})"
                bar = Bar(
                    "migrations", what["realm"], title, line.at_ns, tone="move", where=f"session-{what['session']}"
                )
                self._begin(f"move/{what['session']}", bar, what)
            case "migration.finished":
                moved = what["outcome"] == "moved"
                tone = "" if moved else "bad"
                self._end(f"move/{what['session']}", line.at_ns, "" if moved else what["outcome"], tone=tone)
            case "drain.started":
                if not what["dry_run"]:
                    title = f"{what['drain']}: {what['realms']} Realms leave {_some(what['machines'])}"
                    self._begin(
                        f"drain/{what['drain']}", Bar("drains", what["drain"], title, line.at_ns, tone="move"), what
                    )
            case "drain.finished":
                blocked = f"{what['blocked']} stay" if what["blocked"] else ""
                self._end(f"drain/{what['drain']}", line.at_ns, blocked)
            case "operator.accepted":
                self.asked.add(Asked(line.at_ns, what["asked"], what["what"], True))
            case "operator.refused":
                self.asked.add(Asked(line.at_ns, what["asked"], what["why"], False))

    def _fault(self, line: Line) -> None:
        what = line.what
        struck = tuple(what["targets"])
        title = f"{what['kind']} strikes {_some(what['targets'])}"
        if what["peers"]:
            title += f" {'towards' if what['one_way'] else 'and'} {_some(what['peers'])}"
        bar = Bar("faults", what["kind"], title, line.at_ns, tone="chaos", where="faults", targets=struck)
        self._begin(f"fault/{what['fault']}", bar, what)

    def _begin(self, key: str, bar: Bar, what: dict[str, Any]) -> None:
        if self.lanes[bar.lane].add(bar):
            if bar.lane == "waves":
                bar.where = f"rollout-{what['rollout']}"
            self._open[key] = bar

    def _end(self, key: str, at_ns: int, after: str = "", tone: str = "") -> None:
        bar = self._open.pop(key, None)
        if bar is not None:
            bar.until_ns, bar.after, bar.tone = at_ns, after, tone or bar.tone


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


KINDS: Final = (
    "fault.injected", "fault.healed", "fault.skipped", "wave.started", "wave.finished", "rollout.held",
    "migration.started", "migration.finished", "drain.started", "drain.finished", "operator.accepted",
    "operator.refused",
)  # fmt: skip
