"""Copies of Realms on machines: where they execute and serve, which memory they hold, what they served.

A copy executes from `realm.live` until `realm.still` or its destruction, or until its machine freezes, is lost or
boots; a thaw continues what the freeze interrupted. The definition is that of `orchestrator.chaos.history.lives`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from orchestrator.chaos.history import Line
from orchestrator.metrics.fleet_facts import FleetFacts
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.folds.service import Service, cause_of
from orchestrator.metrics.tally import Tally
from orchestrator.report.availability import Cause

GRANULE_BYTES = 4096

Name: TypeAlias = tuple[str, int]
"""(realm, incarnation)."""


class _Copy(Struct):
    """A copy that executes; `serving_ns` is when it began to serve in this stretch, None when it does not."""

    serving_ns: int | None = None


class Copies:
    """Live copies by machine, and what follows from their coming and going."""

    def __init__(self, tally: Tally, facts: FleetFacts, service: Service) -> None:
        self._tally = tally
        self._service = service
        self._live: dict[str, dict[Name, _Copy]] = {}
        self._frozen: dict[str, dict[Name, bool]] = {}
        self._bytes: dict[str, dict[Name, int]] = {}
        self._served: dict[tuple[str, Name], int] = {}
        for name in facts.machines:
            tally.set("machine_live_realms", 0, name)
            tally.set("machine_realm_memory_bytes", 0, name)

    def handlers(self) -> Handlers:
        return {
            "realm.built": self._built,
            "realm.live": self._began,
            "realm.still": self._ended,
            "realm.destroyed": self._destroyed,
            "machine.lost": self._lost,
            "machine.booted": self._booted,
            "machine.frozen": self._machine_frozen,
            "machine.thawed": self._machine_thawed,
            "firmware.activated": self._activated,
        }

    # -- execution -------------------------------------------------------------------------------------------------

    def _began(self, line: Line) -> None:
        self._begin(line, line.incarnation, line.what["serving"])

    def _begin(self, line: Line, name: Name, serving: bool) -> None:
        here = self._live.setdefault(line.source, {})
        copy = here.get(name)
        if copy is None:
            copy = here[name] = _Copy()
            self._count(line.source, "waiting", 1)
        if serving and copy.serving_ns is None:
            copy.serving_ns = line.at_ns
            self._count(line.source, "waiting", -1)
            self._count(line.source, "serving", 1)
            self._service.began(name[0], line.at_ns)

    def _end(self, line: Line, name: Name, cause: Cause) -> None:
        copy = self._live.get(line.source, {}).pop(name, None)
        if copy is None:
            return
        self._count(line.source, "waiting" if copy.serving_ns is None else "serving", -1)
        if copy.serving_ns is not None:
            self._service.ended(name[0], line.at_ns, cause)

    def _end_all(self, line: Line, cause: Cause) -> None:
        for name in list(self._live.get(line.source, {})):
            self._end(line, name, cause)
        self._frozen.pop(line.source, None)

    def _ended(self, line: Line) -> None:
        self._end(line, line.incarnation, cause_of(line.what["why"]))
        self._frozen.get(line.source, {}).pop(line.incarnation, None)
        copy, served = (line.source, line.incarnation), line.what["served"]
        self._tally.add("realm_requests_total", max(served - self._served.get(copy, 0), 0))
        self._served[copy] = max(served, self._served.get(copy, 0))

    def _destroyed(self, line: Line) -> None:
        self._end(line, line.incarnation, Cause.RESTART)
        self._frozen.get(line.source, {}).pop(line.incarnation, None)
        self._hold(line.source, line.incarnation, 0)

    def _lost(self, line: Line) -> None:
        self._end_all(line, Cause.MACHINE_LOST)
        self._release_all(line.source)

    def _booted(self, line: Line) -> None:
        self._end_all(line, Cause.MACHINE_LOST)
        self._release_all(line.source)

    def _machine_frozen(self, line: Line) -> None:
        here = self._live.get(line.source, {})
        interrupted = {name: copy.serving_ns is not None for name, copy in here.items()}
        self._end_all(line, Cause.FREEZE)
        self._frozen[line.source] = interrupted

    def _machine_thawed(self, line: Line) -> None:
        for name, serving in self._frozen.pop(line.source, {}).items():
            self._begin(line, name, serving)

    def _activated(self, line: Line) -> None:
        """The record stands where the PEs go on; copies whose stretch spans the pause were not recorded as still."""
        pause_ns = line.what["pause_ns"]
        for (realm, _), copy in self._live.get(line.source, {}).items():
            alone = self._service.serving(realm) == 1
            if pause_ns and alone and copy.serving_ns is not None and copy.serving_ns < line.at_ns - pause_ns:
                self._service.paused(realm, pause_ns)

    def _count(self, machine: str, doing: str, by: int) -> None:
        self._tally.add("live_realms", by, doing)
        self._tally.add("machine_live_realms", by, machine)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _built(self, line: Line) -> None:
        self._hold(line.source, line.incarnation, _size(line.what["granules"]))

    def _release_all(self, machine: str) -> None:
        for name in list(self._bytes.get(machine, {})):
            self._hold(machine, name, 0)

    def _hold(self, machine: str, name: Name, size_bytes: int) -> None:
        here = self._bytes.setdefault(machine, {})
        before = here.pop(name, 0)
        if size_bytes:
            here[name] = size_bytes
        self._tally.add("realm_memory_bytes", size_bytes - before)
        self._tally.add("machine_realm_memory_bytes", size_bytes - before, machine)


def _size(runs: Iterable[tuple[int, int]]) -> int:
    """Bytes of granules given as [base, count] runs."""
    return sum(count for _, count in runs) * GRANULE_BYTES
