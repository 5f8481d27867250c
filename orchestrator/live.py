"""The live mode: a run paced by the wall clock, operators' inputs admitted at its boundaries, its state published.

`LiveSession` owns the engine's side. Other threads only do three things with it: they read `snapshot` (an immutable
record, replaced whole), they read the settled trace (a list that only grows), and they ask (`ask`, `set_pace`, `stop`).
The engine never waits for any of them, so a slow reader slows nobody. Pace and pauses are no inputs: they change when
things happen on the wall, and nothing in the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from orchestrator.api import Run, RunResult
from orchestrator.cluster.schema import Cluster
from orchestrator.engine.trace import MemorySink, TraceLine
from orchestrator.inputs import Input
from orchestrator.metrics.fleet_facts import fleet_facts
from orchestrator.metrics.live import LiveMetrics
from orchestrator.operator_desk import Answer
from orchestrator.outside_verifier import Asking
from orchestrator.serve.views import Pace, Snapshot, snapshot_of

NS_PER_S = 1_000_000_000
PUBLISH_EVERY_S = 0.05
"""Wall time between two snapshots at least; at high speed several beats pass in it."""
REST = 29
"""Rest behind a snapshot, in lengths of it: showing a large fleet may take no more than a thirtieth of the engine."""
STALE_S = 1.0
"""Longest rest all the same."""
LATE_S = 1.0
"""How far behind the wall clock a run may fall before it stops trying to catch up."""
SLOWEST, FASTEST = 0.01, 100_000.0
"""Bounds of the speed, in virtual seconds per wall second."""


class Ask(NamedTuple):
    """An input on its way to the engine, and where its answer goes."""

    body: Input
    answer: Future[Answer]


class LiveSession:
    """One live run: made and run by one thread, watched and asked by others."""

    def __init__(self, run: Run, speed: float = 1.0) -> None:
        self._run = run
        self._sink = MemorySink()
        run.trace.attach(self._sink)
        self._desk = run.assembly.desk
        self._beat_ns = run.cluster.control.beat
        self._asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._open: dict[int, Future[Answer]] = {}
        self._outside = Asking(run.cluster.attestation, self.ask)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._pace = Pace(speed, paused=False, behind_ms=0)
        self._wanted = (speed, False)
        self._publish_again_s = 0.0
        self._lines_seen = 0
        self._shots = 0
        self.metrics = LiveMetrics(fleet_facts(run.cluster, run.seed, "wall"))
        self.seed = run.seed
        self.run_dir = str(run.path)
        self.fleet_kind = run.options.fleet
        self.snapshot: Snapshot
        """The state as last published: replaced whole by the engine's thread, never changed."""
        self._publish()

    # -- for other threads ---------------------------------------------------------------------------------------------

    @property
    def lines(self) -> Sequence[TraceLine]:
        """The settled trace: only ever grows, so any thread may read what is there."""
        return self._sink.lines

    @property
    def cluster(self) -> Cluster:
        """The cluster file as the fleet runs by it now; replaced whole when an operator applies another."""
        return self._run.assembly.control.store.cluster

    @property
    def stopping(self) -> bool:
        """Whether the session is about to end."""
        return self._stopping.is_set()

    @property
    def paused(self) -> bool:
        """Whether time stands still on the wall; inputs then wait."""
        return self._wanted[1]

    def ask(self, body: Input) -> Future[Answer]:
        """Have an input admitted at the next boundary; the answer comes when that boundary has been decided."""
        answer: Future[Answer] = Future()
        self._asks.put(Ask(body, answer))
        return answer

    def set_pace(self, speed: float | None = None, paused: bool | None = None) -> None:
        """Change virtual seconds per wall second, or stop and go on; ValueError when the speed is out of bounds."""
        if speed is not None and not SLOWEST <= speed <= FASTEST:
            raise ValueError(f"a speed lies between {SLOWEST:g} and {FASTEST:g}, not {speed:g}")
        before = self._wanted
        self._wanted = (before[0] if speed is None else speed, before[1] if paused is None else paused)
        self._wake.set()

    def stop(self) -> None:
        """End the session after the beat that is under way; safe in a signal handler."""
        self._stopping.set()
        self._wake.set()

    # -- the engine's thread -------------------------------------------------------------------------------------------

    def run(self, until_ns: int | None = None) -> RunResult:
        """Let time pass until `stop`, or until `until_ns` (virtual ns); then settle, judge and write the run."""
        engine = self._run.engine
        began_s, began_ns = time.monotonic(), engine.now_ns
        while not self.stopping and (until_ns is None or engine.now_ns < until_ns):
            if (self._pace.speed, self._pace.paused) != self._wanted:
                speed, paused = self._wanted
                self._pace = Pace(speed, paused, 0)
                began_s, began_ns = time.monotonic(), engine.now_ns
                self._publish()
            ahead_s = (engine.now_ns - began_ns) / NS_PER_S / self._pace.speed - (time.monotonic() - began_s)
            if self._pace.paused or ahead_s > 0:
                self._wait(None if self._pace.paused else ahead_s)
                continue
            if ahead_s < -LATE_S:
                began_s, began_ns = time.monotonic(), engine.now_ns
            self._pace = Pace(self._pace.speed, paused=False, behind_ms=int(max(-ahead_s, 0) * 1000))
            self.beat()
        return self.finish()

    def beat(self) -> None:
        """Admit what was asked, run to the next boundary, ask outside, publish, answer."""
        engine = self._run.engine
        asked = self._admit()
        self._run.run_until(engine.now_ns + self._beat_ns)
        for question in self._run.assembly.control.take_questions():
            self._outside.put(question)
        # published before it is answered: who asked may look at once for what came of it
        if asked or time.monotonic() >= self._publish_again_s:
            self._publish()
        for answer in self._desk.take_answers():
            waiting = self._open.pop(answer.number, None)
            if waiting is not None:
                waiting.set_result(answer)

    def finish(self) -> RunResult:
        """End the run as finished: whoever still waits for an answer is told that there will be none."""
        self._stopping.set()
        self._outside.close()
        result = self._run.finish()
        self._publish()
        while not self._asks.empty():
            self._asks.get_nowait().answer.cancel()
        for waiting in self._open.values():
            waiting.cancel()
        return result

    def _wait(self, for_s: float | None) -> None:
        self._wake.wait(for_s)
        self._wake.clear()

    def _admit(self) -> bool:
        asked = False
        while not self._asks.empty():
            ask = self._asks.get_nowait()
            if ask.answer.set_running_or_notify_cancel():
                self._open[self._run.engine.admit(ask.body)] = ask.answer
                asked = True
        return asked

    def _publish(self) -> None:
        began_s = time.monotonic()
        lines = self.lines
        fresh, self._lines_seen = lines[self._lines_seen :], len(lines)
        self.metrics.write(fresh)
        engine = self._run.engine
        self.metrics.publish(engine.now_ns, engine.delivered, self._run.process())
        self._shots += 1
        self.snapshot = snapshot_of(self._run.assembly, engine.now_ns, self._shots, self._lines_seen, self._pace)
        now_s = time.monotonic()
        self._publish_again_s = now_s + min(max(PUBLISH_EVERY_S, REST * (now_s - began_s)), STALE_S)
