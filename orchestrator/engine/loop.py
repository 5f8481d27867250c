"""The beat: control plane and machines take turns on a grid of instants, and nothing else decides what comes first.

At each boundary the control plane folds what arrived and gives orders; links decide when these arrive; then all
machines with something to do run to the next boundary, at once and sharing nothing. Boundaries at which nothing is due
are skipped. A run does not depend on where it is paused, on how machines are spread over nodes, or on who answers
first.

Machines that share an open session are coupled: their parcels arrive at the exact instant, also inside a beat. They
are advanced together in windows, each as long as no parcel sent in it can arrive in it: up to the first event of any
of them plus the least latency of its link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.engine.agenda import Agenda
from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.instant import beat_ceil, beat_floor
from orchestrator.engine.journal import ExternalInput, Journal
from orchestrator.engine.ports import (
    APART,
    ControlPort,
    ControlStep,
    Delivery,
    FleetPort,
    LinkPort,
    MachineReport,
    Priority,
    RestPort,
)
from orchestrator.engine.post import Post, operator_delivery
from orchestrator.engine.trace import Trace

CONTROL = "control"
"""Endpoint that external inputs go to."""


class Engine:
    """One run: a fleet, a control plane and the links between them, advanced beat by beat.

    `recorded` are the external inputs of an earlier run, admitted again at their boundaries. With `skip` off, every
    boundary is visited and every machine is run at each; the trace is the same, which is how the skipping is tested.
    `rest` knows the machines whose heartbeats nobody sends; without it, every message is sent.
    """

    def __init__(
        self,
        beat_ns: int,
        fleet: FleetPort,
        control: ControlPort,
        links: LinkPort,
        trace: Trace,
        journal: Journal,
        *,
        skip: bool = True,
        recorded: Iterable[ExternalInput] = (),
        rest: RestPort | None = None,
    ) -> None:
        if beat_ns < 1:
            raise ValueError(f"a beat lasts at least a nanosecond, not {beat_ns}")
        self.now_ns = 0
        """The next boundary; everything before it has happened."""
        self.beats = 0
        """Boundaries visited so far."""
        self.calls = 0
        """Calls of the fleet so far: one per beat with work, more while machines are coupled."""
        self.after_beat: Callable[[], None] | None = None
        """Called after each boundary that was visited; what it admits takes effect at the next one."""
        self._beat_ns = beat_ns
        self._fleet = fleet
        self._control = control
        self._links = links
        self._trace = trace
        self._journal = journal
        self._skip = skip
        self._machines = tuple(fleet.machines())
        self._agenda = Agenda(self._machines)
        self._post = Post(self._machines, self._agenda, links)
        self._control_due_ns: int | None = 0
        self._rest = rest
        self._ran_ns: dict[str, int] = {}
        self._worked_ns: dict[str, int] = {}
        self._idle: dict[str, bool] = {}
        self._sessions: dict[str, tuple[str, str]] = {}
        self._latencies: dict[tuple[str, str], int] = {}
        self._inputs = deque(sorted(recorded, key=lambda entry: (entry.at_ns, entry.number)))
        self._input_number = max((entry.number for entry in self._inputs), default=0)
        self._input_last_ns = self._inputs[-1].at_ns if self._inputs else 0
        self._recorded_last_ns = self._inputs[-1].at_ns if self._inputs else -1

    @property
    def delivered(self) -> int:
        """Messages that links carried so far."""
        return self._post.delivered

    @property
    def lost(self) -> int:
        """Messages that links lost so far."""
        return self._post.lost

    @property
    def replaying(self) -> bool:
        """Whether recorded inputs are still to come, so that no new one may be given."""
        return self.now_ns <= self._recorded_last_ns

    def admit(self, body: Any) -> int:
        """Accept an external input at the next boundary: journaled now, before it takes effect; returns its number.

        To be called between beats: between two calls of `run_until`, or from inside `pace`.
        """
        if self._input_last_ns > self.now_ns:
            raise OrderBroken("operator", "gave a new input while recorded ones are still being replayed", self.now_ns)
        entry = ExternalInput(self._input_number + 1, self.now_ns, body)
        self._journal.admitted(entry)
        self._input_number, self._input_last_ns = entry.number, entry.at_ns
        self._inputs.append(entry)
        return entry.number

    def run_until(self, until_ns: int, pace: Callable[[int], None] | None = None) -> None:
        """Visit every due boundary before `until_ns`; afterwards `now_ns` is the first boundary at or after it.

        `pace` is called with each boundary before it happens, skipped ones included. It may wait for the wall clock,
        and what it admits takes effect at that boundary; it changes nothing else.
        """
        end_ns = beat_ceil(until_ns, self._beat_ns)
        while self.now_ns < end_ns:
            if pace is not None:
                pace(self.now_ns)
            due_ns = self._next_boundary_ns()
            if due_ns is not None and due_ns <= self.now_ns:
                self._beat()
            elif pace is not None:
                self.now_ns += self._beat_ns
            else:
                self.now_ns = end_ns if due_ns is None else min(due_ns, end_ns)

    def step(self) -> int | None:
        """Run the next boundary at which anything is due and return it; None when nothing ever will be."""
        due_ns = self._next_boundary_ns()
        if due_ns is None:
            return None
        self.now_ns = max(self.now_ns, due_ns)
        self._beat()
        return self.now_ns - self._beat_ns

    def finish(self) -> str:
        """Settle the rest of the trace and return the digest of the run."""
        return self._trace.close()

    def _next_boundary_ns(self) -> int | None:
        """The next boundary at which anything is due, or None."""
        if not self._skip:
            return self.now_ns
        wanted = []
        machine_ns = self._agenda.next_machine_ns()
        if machine_ns is not None:
            wanted.append(beat_floor(machine_ns, self._beat_ns))
        for seen_ns in (self._agenda.next_control_ns(), self._control_due_ns):
            if seen_ns is not None:
                wanted.append(beat_ceil(seen_ns, self._beat_ns))
        if self._inputs:
            wanted.append(beat_ceil(self._inputs[0].at_ns, self._beat_ns))
        return max(min(wanted), self.now_ns) if wanted else None

    def _beat(self) -> None:
        """One boundary and the stretch behind it."""
        now_ns = self.now_ns
        end_ns = now_ns + self._beat_ns
        arrived = self._agenda.take_control(now_ns) + self._admitted(now_ns)
        control_due = self._control_due_ns is not None and self._control_due_ns <= now_ns
        if arrived or control_due or not self._skip:
            arrived.sort(key=lambda delivery: delivery.key)
            self._apply(self._control.step(now_ns, arrived), now_ns, end_ns)
        self._trace.settle(now_ns)
        self._advance(end_ns)
        self.now_ns = end_ns
        self.beats += 1
        self._journal.beat(now_ns, self._trace.digest)
        if self.after_beat is not None:
            self.after_beat()

    def _admitted(self, now_ns: int) -> list[Delivery]:
        """External inputs that take effect at this boundary."""
        taken = []
        while self._inputs and self._inputs[0].at_ns <= now_ns:
            entry = self._inputs.popleft()
            taken.append(operator_delivery(entry.number, now_ns, CONTROL, entry.body))
        return taken

    def _apply(self, step: ControlStep, now_ns: int, end_ns: int) -> None:
        """Carry out what the control plane decided at `now_ns`."""
        for entry in step.records:
            if entry.at_ns <= now_ns - self._beat_ns:
                raise OrderBroken(entry.source, f"traced what lies a beat back, at {entry.at_ns} ns", now_ns)
        self._trace.admit(step.records)
        self._couple(step, now_ns)
        for message in step.messages:
            if message.sent_ns < now_ns:
                raise OrderBroken(message.source, f"sent a message in the past, at {message.sent_ns} ns", now_ns)
            lost = self._post.send(message, end_ns, {})
            if lost is not None:
                self._trace.admit([lost])
        for strike in step.strikes:
            self._post.strike(strike, now_ns)
        self._take_rest(step)
        self._control_due_ns = step.next_due_ns

    def _take_rest(self, step: ControlStep) -> None:
        """Let machines rest that have nothing to do, and rouse others; what rests has nothing on the agenda."""
        for machine, due_ns in step.rouse:
            self._agenda.set_due(machine, due_ns)
        if self._rest is not None:
            for machine, since_ns in step.rest:
                if self._still(machine) and self._worked_ns.get(machine, 0) <= since_ns:
                    self._rest.lie_down(machine)
                    self._agenda.set_due(machine, None)
        self._post.imply(step.implied)

    def _still(self, machine: str) -> bool:
        """Whether nothing is on its way to `machine` and nothing but the end of leases is on its agenda."""
        done = self._agenda.due_ns(machine) is None or self._idle.get(machine, False)
        return done and not self._agenda.expects(machine) and not any(machine in pair for pair in self._latencies)

    def _couple(self, step: ControlStep, now_ns: int) -> None:
        """Close and open sessions; what a beat's windows need to know is the least latency of each coupled link."""
        if not step.couple and not step.uncouple:
            return
        for session in step.uncouple:
            self._sessions.pop(session, None)
        for session, one, other in step.couple:
            if one == other or one not in self._machines or other not in self._machines:
                raise OrderBroken("control", f"coupled {one} with {other} for session {session}", now_ns)
            self._sessions[session] = (one, other)
        pairs = {pair for one, other in self._sessions.values() for pair in ((one, other), (other, one))}
        self._latencies = {pair: self._links.latency_min_ns(*pair) for pair in sorted(pairs)}

    def _advance(self, end_ns: int) -> None:
        """Run every machine that has something to do before `end_ns` up to there."""
        due = self._agenda.due_before(end_ns) if self._skip else list(self._machines)
        coupled = sorted({machine for machine, _ in self._latencies})
        loose = [machine for machine in due if machine not in coupled] if coupled else due
        if loose:
            self._run(loose, end_ns, end_ns)
        while coupled:
            horizon_ns = self._horizon_ns(end_ns)
            if self._skip or horizon_ns < end_ns:
                self._run(self._starting_before(coupled, horizon_ns), horizon_ns, end_ns)
            else:
                self._run(coupled, horizon_ns, end_ns)
            if horizon_ns == end_ns:
                break

    def _starting_before(self, machines: Sequence[str], horizon_ns: int) -> list[str]:
        """Those of `machines` with something to do before the horizon."""
        starting = []
        for machine in machines:
            first_ns = self._agenda.first_ns(machine)
            if first_ns is not None and first_ns < horizon_ns:
                starting.append(machine)
        return starting

    def _horizon_ns(self, end_ns: int) -> int:
        """How far coupled machines may run before one of them can hear from another."""
        horizon_ns = end_ns
        for (source, _), latency_ns in self._latencies.items():
            first_ns = self._agenda.first_ns(source)
            if first_ns is not None:
                horizon_ns = min(horizon_ns, first_ns + latency_ns)
        return horizon_ns

    def _run(self, machines: Sequence[str], until_ns: int, end_ns: int) -> None:
        """One call of the fleet, and what follows from its reports, in total order."""
        if not machines:
            return
        inbox = {machine: mail for machine in machines if (mail := self._mail(machine, until_ns))}
        self.calls += 1
        horizons = dict.fromkeys(self._latencies, until_ns)
        for report in self._fleet.advance(until_ns, inbox, machines):
            self._note(report, until_ns)
            self._trace.admit(report.records)
            for message in report.sent:
                lost = self._post.send(message, end_ns, horizons)
                if lost is not None:
                    self._trace.admit([lost])

    def _mail(self, machine: str, until_ns: int) -> list[Delivery]:
        """What `machine` gets before `until_ns`, and first of all what the heartbeats did that nobody sent."""
        mail = self._agenda.take(machine, until_ns)
        if self._rest is None:
            return mail
        due_ns = self._agenda.due_ns(machine)
        works = due_ns is not None and due_ns < until_ns
        if works or any(delivery.message.number < APART for delivery in mail):
            self._worked_ns[machine] = until_ns
            if self._rest.rests(machine):
                raise OrderBroken(machine, "was disturbed in its rest and nobody knew", until_ns)
        kept = self._rest.kept(machine)
        if kept is not None:
            mail.insert(0, Delivery(self._ran_ns.get(machine, 0), Priority.ENVIRONMENT, kept))
        self._ran_ns[machine] = until_ns
        return mail

    def _note(self, report: MachineReport, until_ns: int) -> None:
        """Hold a report to its contract, and note when the machine wants to run again."""
        if report.next_due_ns is not None and report.next_due_ns < until_ns:
            raise OrderBroken(report.machine, f"wants to run at {report.next_due_ns} ns, which is over", until_ns)
        if any(message.sent_ns >= until_ns or message.source != report.machine for message in report.sent):
            raise OrderBroken(report.machine, "sent a message from elsewhere or from the future", until_ns)
        if any(entry.at_ns >= until_ns for entry in report.records):
            raise OrderBroken(report.machine, "traced a record from the future", until_ns)
        self._idle[report.machine] = report.idle
        rests = self._rest is not None and self._rest.rests(report.machine)
        self._agenda.set_due(report.machine, None if rests else report.next_due_ns)
