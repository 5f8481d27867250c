"""The rows of the time line: what each machine and each Realm went through, for those that went through most.

Every machine and Realm has a small row of its own while the trace is read. When all rows together hold too many spans,
those with least to tell forget theirs: memory stays bounded, and the page says how many rows it leaves out.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.report.availability import Cause, Gap

MACHINE_ROWS: Final = 40
REALM_ROWS: Final = 80
"""Rows that the page draws at most."""

STRUCK: Final = 10
"""Weight from which a row has more to tell than that the fleet's firmware was renewed under it."""
CALM_ROWS: Final = 12
"""Rows without that which are drawn where not all are."""

MOST_SPANS: Final = 24_000
"""Spans that all rows of a kind hold together before those with least to tell forget theirs."""
MOST_ROW_SPANS: Final = 150
"""Spans of one row; what comes after is not drawn."""


class Span(Struct, frozen=True):
    """A stretch of a row in one state, [from_ns, until_ns); `note` is a name or version that goes with it."""

    from_ns: int
    until_ns: int
    state: str
    note: str = ""


class Row(Struct):
    """One machine or Realm. `weight` says how much happened to it; a row that forgot its spans is not drawn."""

    name: str
    order: int
    spans: list[Span] = []
    beliefs: list[Span] = []
    """Of a machine: what the control plane held of it, where that was not `good`."""
    weight: int = 0
    state: str = ""
    since_ns: int = 0
    note: str = ""
    forgotten: bool = False
    cut_short: bool = False

    def turn(self, at_ns: int, state: str, note: str = "") -> bool:
        """From `at_ns` on it is in `state`; says whether a span was added."""
        if (state, note) == (self.state, self.note):
            return False
        added = self._add(at_ns)
        self.state, self.since_ns, self.note = state, at_ns, note
        return added

    def _add(self, at_ns: int) -> bool:
        if not self.state or at_ns <= self.since_ns or self.forgotten:
            return False
        if len(self.spans) >= MOST_ROW_SPANS:
            self.cut_short = True
            return False
        self.spans.append(Span(self.since_ns, at_ns, self.state, self.note))
        return True


class Rows:
    """Rows by name, held to `MOST_SPANS`."""

    def __init__(self, drawn: int) -> None:
        self._drawn = drawn
        self._rows: dict[str, Row] = {}
        self._spans = 0

    def row(self, name: str) -> Row:
        """The row of that name, made when it is first asked for."""
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = Row(name, len(self._rows))
        return row

    def turn(self, name: str, at_ns: int, state: str, note: str = "") -> None:
        """The named one is in `state` from `at_ns` on; no state ends its row there."""
        self._spans += self.row(name).turn(at_ns, state, note)
        if self._spans > MOST_SPANS:
            self._forget()

    def close(self, end_ns: int) -> None:
        """The run ends: what lasts is drawn up to here."""
        for row in self._rows.values():
            row.turn(end_ns, "")

    def chosen(self) -> list[Row]:
        """The rows to draw: those with most weight, a few calm ones besides, in the order in which they came."""
        able = sorted((row for row in self._rows.values() if not row.forgotten), key=_rank)
        if len(able) > self._drawn:
            struck = sum(row.weight >= STRUCK for row in able)
            able = able[: min(self._drawn, struck + CALM_ROWS)]
        return sorted(able, key=lambda row: row.order)

    @property
    def count(self) -> int:
        """How many there are in all."""
        return len(self._rows)

    def _forget(self) -> None:
        """Halve what is held: all rows that are drawn fit into a half, however many spans they have."""
        kept = 0
        for row in sorted((row for row in self._rows.values() if row.spans), key=_rank):
            if kept + len(row.spans) <= MOST_SPANS // 2:
                kept += len(row.spans)
            else:
                row.spans, row.forgotten = [], True
        self._spans = kept


def _rank(row: Row) -> tuple[int, int]:
    return (-row.weight, row.order)


class MachineRows:
    """What is true of each machine (up, frozen, lost, and the RMM it runs), and what the control plane believed."""

    def __init__(self) -> None:
        self.rows = Rows(MACHINE_ROWS)
        self._beliefs: dict[str, tuple[int, str]] = {}

    def take(self, line: Line) -> None:
        """The next record of `KINDS`."""
        what, at_ns = line.what, line.at_ns
        match line.kind:
            case "machine.booted":
                self.rows.turn(line.source, at_ns, "up", what["versions"].get("RMM", ""))
            case "machine.lost":
                self._weigh(line.source, 1000)
                self.rows.turn(line.source, at_ns, "lost", what["why"])
            case "machine.rebooting":
                self._weigh(line.source, 20)
                self.rows.turn(line.source, at_ns, "lost", "reboot")
            case "machine.frozen" | "machine.hung":
                self._weigh(line.source, 1000)
                self.rows.turn(line.source, at_ns, "frozen", self.rows.row(line.source).note)
            case "machine.thawed":
                self.rows.turn(line.source, at_ns, "up", self.rows.row(line.source).note)
            case "firmware.activated":
                self._weigh(line.source, 1)
                if what["component"] == "RMM" and self.rows.row(line.source).state == "up":
                    self.rows.turn(line.source, at_ns, "up", what["version"])
            case "firmware.refused":
                self._weigh(line.source, 50)
            case "machine.suspect" | "machine.down" | "machine.distrusted":
                self._weigh(what["machine"], 100)
                self._believe(what["machine"], at_ns, line.kind.removeprefix("machine."))
            case "machine.back" | "machine.admitted":
                self._believe(what["machine"], at_ns, "")
            case "migration.started":
                self._weigh(what["source"], 2)
                self._weigh(what["target"], 2)

    def close(self, end_ns: int) -> None:
        """The run ends."""
        for machine in list(self._beliefs):
            self._believe(machine, end_ns, "")
        self.rows.close(end_ns)

    def _weigh(self, machine: str, by: int) -> None:
        self.rows.row(machine).weight += by

    def _believe(self, machine: str, at_ns: int, state: str) -> None:
        before = self._beliefs.pop(machine, None)
        row = self.rows.row(machine)
        if before is not None and at_ns > before[0] and len(row.beliefs) < MOST_ROW_SPANS:
            row.beliefs.append(Span(before[0], at_ns, before[1]))
        if state:
            self._beliefs[machine] = (at_ns, state)


MACHINE_KINDS: Final = (
    "machine.booted", "machine.lost", "machine.rebooting", "machine.frozen", "machine.hung", "machine.thawed",
    "firmware.activated", "firmware.refused", "machine.suspect", "machine.down", "machine.distrusted", "machine.back",
    "machine.admitted", "migration.started",
)  # fmt: skip


class RealmRows:
    """What each Realm was doing: starting, serving (and where), standing still (and why), alive twice.

    Listens to `Presence` for copies and to `Service` for gaps, which weigh.
    """

    def __init__(self) -> None:
        self.rows = Rows(REALM_ROWS)
        self._copies: dict[str, list[tuple[str, bool]]] = {}
        self._why: dict[str, str] = {}

    def wants(self, line: Line) -> None:
        """`realm.wanted`: from here on it is missed."""
        realm = line.what["realm"]
        if not self.rows.row(realm).state:
            self._why[realm] = "bring-up"
            self.rows.turn(realm, line.at_ns, "waiting", "bring-up")

    def changed(self, line: Line) -> None:
        """`realm.state`: an operator stops it for good."""
        if line.what["state"] in ("stopping", "stopped"):
            self.rows.turn(line.what["realm"], line.at_ns, "")
            self._copies.pop(line.what["realm"], None)

    def executes(self, at_ns: int, realm: str, machine: str) -> None:
        self._copies.setdefault(realm, []).append((machine, False))
        self._show(at_ns, realm)

    def serves(self, at_ns: int, realm: str, machine: str) -> None:
        copies = self._copies.get(realm, [])
        if (machine, False) in copies:
            copies[copies.index((machine, False))] = (machine, True)
        self._show(at_ns, realm)

    def ends(self, at_ns: int, realm: str, machine: str, served: bool, why: str) -> None:
        copies = self._copies.get(realm, [])
        if (machine, served) in copies:
            copies.remove((machine, served))
        if served:
            self._why[realm] = why
        self._show(at_ns, realm)

    def pauses(self, at_ns: int, realm: str, machine: str, pause_ns: int) -> None:
        """Too short to be drawn: the machine's row shows the activation."""

    def gap(self, gap: Gap) -> None:
        """A gap in its service: the longer, the more there is to see."""
        row = self.rows.row(gap.realm)
        if gap.cause is Cause.ACTIVATION:
            row.weight += 1
        elif gap.cause is not Cause.BRING_UP:
            row.weight += 1000 + gap.duration_ns // 1_000_000

    def _show(self, at_ns: int, realm: str) -> None:
        row, copies = self.rows.row(realm), self._copies.get(realm, [])
        if not row.state:
            return
        if len(copies) > 1:
            row.weight += 1_000_000
            self.rows.turn(realm, at_ns, "twice", " and ".join(machine for machine, _ in copies))
        elif copies:
            machine, serving = copies[0]
            self.rows.turn(realm, at_ns, "serving" if serving else "starting", machine)
        else:
            self.rows.turn(realm, at_ns, "waiting", self._why.get(realm, ""))

    def close(self, end_ns: int) -> None:
        """The run ends."""
        self.rows.close(end_ns)
