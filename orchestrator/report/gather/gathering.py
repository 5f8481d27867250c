"""All that the report keeps of a trace, gathered in one pass over its lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from orchestrator.chaos.history import Line
from orchestrator.report.gather import evidence, happenings, presence, rollouts, rows, sessions, trust, versions
from orchestrator.report.gather.bounded import Some
from orchestrator.report.gather.service import Service

MOST_CALL_NAMES = 200


class Gathering:
    """Give every line of the trace to `take`, in order, then call `close` once."""

    def __init__(self, end_ns: int) -> None:
        self.end_ns = end_ns
        self.records = 0
        self.kinds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        """Firmware calls that hosts made, as far as records count them, by name."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Orders that machines refused, by command and code."""
        self.unplaced: Some[tuple[int, str, dict[str, int]]] = Some(20)
        self.lost_messages: Counter[str] = Counter()
        self.machines = rows.MachineRows()
        self.realms = rows.RealmRows()
        self.rollouts = rollouts.Rollouts()
        self.happenings = happenings.Happenings()
        self.service = Service(self.realms.gap, self.rollouts.gap)
        self.verdicts = evidence.Verdicts(end_ns)
        self.versions = versions.Versions()
        self.sessions = sessions.Sessions()
        self.trust = trust.Trust.new()
        self._presence = presence.Presence(self.service, self.realms, self.rollouts)
        self._takers = self._listeners()

    def _listeners(self) -> dict[str, list[Callable[[Line], None]]]:
        """Who takes records of each kind, in order: first what is wanted, then who executes where, then the rest."""
        takers: dict[str, list[Callable[[Line], None]]] = {}
        for kinds, taker in (
            (("realm.wanted",), self.service.wants),
            (("realm.wanted",), self.realms.wants),
            (("realm.state",), self.service.changed),
            (("realm.state",), self.realms.changed),
            (presence.KINDS, self._presence.take),
            (rows.MACHINE_KINDS, self.machines.take),
            (happenings.KINDS, self.happenings.take),
            (evidence.KINDS, self.verdicts.take),
            (versions.KINDS, self.versions.take),
            (sessions.KINDS, self.sessions.take),
            (rollouts.KINDS, self.rollouts.take),
            (trust.KINDS, self.trust.take),
            (("realm.built", "rmi.calls", "order.refused", "realm.unplaced", "message.lost"), self._count),
        ):
            for kind in kinds:
                takers.setdefault(kind, []).append(taker)
        return takers

    def take(self, line: Line) -> None:
        """The next line of the trace."""
        self.records += 1
        self.kinds[line.kind] += 1
        for taker in self._takers.get(line.kind, ()):
            taker(line)

    def _count(self, line: Line) -> None:
        match line.kind:
            case "realm.built" | "rmi.calls":
                for call, times in line.what["calls"].items():
                    if call in self.calls or len(self.calls) < MOST_CALL_NAMES:
                        self.calls[call] += times
            case "order.refused":
                self.refused[line.what["command"], line.what["code"]] += 1
            case "realm.unplaced":
                self.unplaced.add((line.at_ns, line.what["realm"], line.what["refused"]))
            case "message.lost":
                self.lost_messages[line.source.removeprefix("link:")] += 1

    def close(self) -> Gathering:
        """The run has ended; returns itself."""
        self.service.close(self.end_ns)
        self.machines.close(self.end_ns)
        self.realms.close(self.end_ns)
        self.rollouts.close(self.end_ns)
        self.trust.close(self.end_ns)
        return self


def gather(lines: Iterable[Line], end_ns: int) -> Gathering:
    """Gather a whole trace that ended at `end_ns` (virtual ns)."""
    gathering = Gathering(end_ns)
    for line in lines:
        gathering.take(line)
    return gathering.close()
