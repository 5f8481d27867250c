"""One rollout: takes machines wave by wave, lets each wave bake, asks its gates, holds when too many fail.

The tables are in `orchestrator.firmware.phases`, one machine's way is in `orchestrator.firmware.update`; who begins
when, and what is taken back, in `orchestrator.firmware.rollouts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from cca_machine.commands import Booted
from orchestrator.cluster.schema import Gate, PromqlGate, PythonGate, RolloutEvent
from orchestrator.controller import Decision
from orchestrator.engine.ports import Delivery
from orchestrator.firmware.gates import Answer, GateAsked, GateJudged, Question, Verdict, judge, outside, title
from orchestrator.firmware.phases import COUNTED, ROLLOUT_TABLE, UNDER_WAY, Cue, Input, Phase, Stage
from orchestrator.firmware.records import (
    RolloutAborted,
    RolloutFinished,
    RolloutHeld,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutRetried,
    RolloutStarted,
    RolloutWaiting,
    WaveFinished,
    WaveStarted,
)
from orchestrator.firmware.update import Goal, Update, Updater, answers
from orchestrator.firmware.waves import EVERYBODY, Radius, at_once, next_opening, rollout_order, selected, wave_size
from orchestrator.store import MachineState, Store

ACTIVE = frozenset({Stage.RUNNING, Stage.BAKING, Stage.GATED})
IN_THE_WAY = ACTIVE | {Stage.PAUSED, Stage.ABORTING}
"""Stages in which machines of a wave may be under way: no other rollout begins."""


PENDING = Verdict(Answer.INCONCLUSIVE, "no answer yet")


class RolloutState(Struct):
    """Everything a rollout remembers; machine lists are in rollout order."""

    stage: Stage = Stage.AWAITED
    wave: int = 0
    """Number of the wave under way, from 1; retries of lost machines count on."""
    members: list[str] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)
    """Machines that no wave has taken."""
    returned: list[str] = field(default_factory=list)
    """Machines that were lost and are back, or lost the new firmware by a boot."""
    absent: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Machines that failed, each as often as it did."""
    bake_until_ns: int = 0
    updates: dict[str, Update] = field(default_factory=dict)
    booted: list[str] = field(default_factory=list)
    """Machines that said since the last look that they booted."""
    only: list[str] = field(default_factory=list)
    """The machines that it is for; empty: all."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Restarts of each Realm when the wave began."""
    promoted: bool = False
    """An operator vouches for the wave under way."""
    forgiven: int = 0
    """Failures that an operator has looked over."""
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    """What each gate of the wave said last."""
    open: dict[int, int] = field(default_factory=dict)
    """Number of the question that each outside gate has open."""
    ask_again_ns: int = 0
    held_why: str = ""


class Rollout:
    """One release on its way through the fleet."""

    def __init__(self, event: RolloutEvent, goal: Goal, only: Sequence[str] = ()) -> None:
        self.event = event
        self.goal = goal
        self.state = RolloutState(only=list(only))
        self.questions: list[Question] = []
        """What the outside is asked since somebody last took it; no state: a replay answers from the journal."""
        self._updater = Updater(goal)

    def fold(self, delivery: Delivery) -> None:
        """Learn what a machine answered, or that it booted."""
        update = self.state.updates.get(delivery.message.source)
        if update is None:
            return
        if isinstance(delivery.message.body, Booted):
            self.state.booted.append(update.machine)
        elif update.phase in UNDER_WAY:
            self._updater.answer(update, delivery.message.body)

    @property
    def under_way(self) -> int:
        """Machines of the wave that it waits for."""
        return sum(self._is_under_way(machine) for machine in self.state.members)

    @property
    def _too_many(self) -> bool:
        return len(self.state.failures) - self.state.forgiven > self.event.max_failures

    def _is_under_way(self, machine: str) -> bool:
        return self.state.updates[machine].phase in UNDER_WAY

    def cue(self, cue: Cue, store: Store, decision: Decision) -> None:
        """Take one row of the table and act on it."""
        self.state.stage, act = ROLLOUT_TABLE[self.state.stage, cue]
        _ACTS[act](self, store, decision)

    def advance(self, store: Store, decision: Decision) -> None:
        """Step the machines of the wave and then the rollout itself, until nothing more follows."""
        while True:
            self._step_machines(store, decision)
            if self.state.stage is Stage.GATED:
                self._judge_gates(store, decision)
            cue = self._next_cue(store)
            if cue is None:
                break
            self.cue(cue, store, decision)
        if self.state.stage is Stage.BAKING:
            decision.due(self.state.bake_until_ns)
        if self.state.stage is Stage.GATED:
            decision.due(self.state.ask_again_ns)
        if self.state.stage is Stage.RUNNING and self._waiting():
            decision.due(next_opening(self.event, store.now_ns + 1))

    # -- machines ----------------------------------------------------------------------------------------------------

    def _waiting(self) -> list[Update]:
        """Members of the wave that are not under way yet."""
        updates = (self.state.updates[machine] for machine in self.state.members)
        return [update for update in updates if update.phase is Phase.QUEUED]

    def _take_members(self, store: Store, decision: Decision) -> None:
        """Let members begin: as many at once as may be down, when the calendar allows it, unless too many failed."""
        state = self.state
        if state.stage is not Stage.RUNNING or self._too_many:
            return
        done = [update for update in state.updates.values() if update.strategy == "live"]
        through = [update.phase for update in done if update.phase in (Phase.DONE, Phase.FAILED)]
        self._updater.activations = len(through), through.count(Phase.FAILED)
        room = at_once(self.event, len(state.members)) - self.under_way
        radius = Radius(self.event.blast_radius, store, [m for m in state.members if self._is_under_way(m)])
        for update in self._waiting():
            if room > 0 and not radius.holds(update.machine):
                continue
            if room <= 0 or next_opening(self.event, store.now_ns) != store.now_ns:
                return
            heard = answers(store.machines[update.machine], self.goal.strategy)
            why = "" if heard else "silent when its turn came"
            self._move(update, Input.TAKEN if heard else Input.LOST, why, store, decision)
            room -= heard
            if heard:
                radius.take(update.machine)

    def _step_machines(self, store: Store, decision: Decision) -> None:
        state = self.state
        for machine in state.members:
            update = state.updates[machine]
            before = update.phase
            decision.due(self._updater.step(update, store, decision))
            if before is Phase.DONE and state.stage is Stage.BAKING and self._gone(update, store):
                self._updater.move(update, Input.LOST, "lost while its wave baked", store, decision)
            if update.phase is not before:
                self._settle(update, before)
        self._take_members(store, decision)
        booted, state.booted = state.booted, []
        for machine in booted:
            self._after_boot(state.updates[machine], store, decision)
        for machine in [m for m in state.absent if answers(store.machines[m], self.goal.strategy)]:
            self._come_back(state.updates[machine], store, decision)

    def _gone(self, update: Update, store: Store) -> bool:
        view = store.machines[update.machine]
        return view.state in (MachineState.DOWN, MachineState.REFUSED) or view.boot != update.boot

    def _settle(self, update: Update, was: Phase) -> None:
        """Count what came out for a machine; `was` is its phase before this look."""
        state = self.state
        if update.phase is Phase.ABSENT and update.machine not in state.absent:
            state.absent.append(update.machine)
        if update.phase is Phase.FAILED or (update.phase is Phase.ABSENT and was in COUNTED):
            state.failures.append(update.machine)

    def _after_boot(self, update: Update, store: Store, decision: Decision) -> None:
        if update.phase is Phase.FAILED and store.machines[update.machine].boot != update.boot:
            self._updater.move(update, Input.BACK, "booted", store, decision)
        elif update.phase is Phase.DONE and not self._current(update, store):
            self._updater.move(update, Input.REVERTED, "booted its former firmware", store, decision)
            self.state.returned.append(update.machine)

    def _come_back(self, update: Update, store: Store, decision: Decision) -> None:
        self.state.absent.remove(update.machine)
        if self._current(update, store):
            self._updater.move(update, Input.CURRENT, "is back and runs the release", store, decision)
        else:
            self._updater.move(update, Input.BACK, "is back", store, decision)
            self.state.returned.append(update.machine)

    def _current(self, update: Update, store: Store) -> bool:
        """Whether the machine runs the release, vouched for by a token newer than its last try."""
        view = store.machines[update.machine]
        return view.platform_token_sha256 not in ("", update.token_before) and self._updater.current(view)

    # -- the rollout ---------------------------------------------------------------------------------------------------

    def _next_cue(self, store: Store) -> Cue | None:
        state = self.state
        if state.stage in ACTIVE and self._too_many:
            return Cue.TOO_MANY
        if state.stage in (Stage.RUNNING, Stage.ABORTING):
            waiting = state.stage is Stage.RUNNING and self._waiting()
            return None if self.under_way or waiting else Cue.SETTLED
        if state.stage is Stage.BAKING and store.now_ns >= state.bake_until_ns:
            asks = self.event.gates and state.members and not state.promoted
            return Cue.GATES_ASKED if asks else self._after_bake()
        if state.stage is Stage.GATED:
            return self._after_gates()
        if state.stage is Stage.WAITING:
            return Cue.RETURNED if state.returned else None if state.absent else Cue.COMPLETE
        return None

    def _after_bake(self) -> Cue:
        state = self.state
        planned = state.wave < len(self.event.waves) and bool(state.remaining)
        if planned or state.returned:
            return Cue.NEXT_WAVE
        return Cue.MISSING if state.absent else Cue.COMPLETE

    def _after_gates(self) -> Cue | None:
        answers = {verdict.answer for verdict in self.state.verdicts.values()}
        if self.state.promoted or answers == {Answer.PASS}:
            return self._after_bake()
        return Cue.GATE_FAILED if Answer.FAIL in answers else None

    # -- gates -------------------------------------------------------------------------------------------------------

    def ask_gates(self, store: Store, decision: Decision) -> None:
        """Begin to ask the gates of the wave."""
        self.state.verdicts = dict.fromkeys(range(len(self.event.gates)), PENDING)
        self.state.open = {}
        self.state.ask_again_ns = store.now_ns

    def answer_gate(self, gate: int, number: int, verdict: Verdict, store: Store, decision: Decision) -> bool:
        """Take an answer from outside; False when nobody asked, or not this."""
        state = self.state
        if state.stage is not Stage.GATED or state.open.get(gate) != number:
            return False
        self._judged(gate, verdict, decision)
        return True

    def _judge_gates(self, store: Store, decision: Decision) -> None:
        state, due = self.state, store.now_ns >= self.state.ask_again_ns
        members = [state.updates[machine] for machine in state.members]
        for number, gate in enumerate(self.event.gates):
            if state.verdicts[number].answer is Answer.INCONCLUSIVE and due:
                if outside(gate):
                    self._ask(number, gate, store, decision)
                else:
                    self._judged(number, judge(gate, members, state.restarts, store), decision)
        if due:
            state.ask_again_ns = store.now_ns + self.event.gate_every

    def _judged(self, number: int, verdict: Verdict, decision: Decision) -> None:
        if verdict != self.state.verdicts[number]:
            told = title(self.event.gates[number])
            record = GateJudged(self.goal.rollout, self.state.wave, told, verdict.answer, verdict.why)
            decision.records.append(record)
        self.state.verdicts[number] = verdict

    def _ask(self, number: int, gate: Gate, store: Store, decision: Decision) -> None:
        assert isinstance(gate, PythonGate | PromqlGate)
        state, goal = self.state, self.goal
        asked = state.open[number] = state.open.get(number, 0) + 1
        decision.records.append(GateAsked(goal.rollout, state.wave, title(gate), asked))
        machines = {machine: store.machines[machine].state.value for machine in state.members}
        realms = {name: realm.state.value for name, realm in store.realms.items()}
        where = (goal.rollout, state.wave, number, asked, gate)
        self.questions.append(Question(*where, goal.release, goal.component, goal.version, machines, realms))

    def start(self, store: Store, decision: Decision) -> None:
        """Queue all machines and take the canary."""
        state = self.state
        racks = {name: view.rack for name, view in store.machines.items() if not state.only or name in state.only}
        state.remaining = rollout_order(racks)
        state.updates = {machine: Update(machine) for machine in state.remaining}
        goal = self.goal
        decision.records.append(
            RolloutStarted(
                goal.rollout, goal.release, goal.component, goal.version, len(state.remaining), len(self.event.waves)
            )
        )
        self.take_wave(store, decision)

    def take_wave(self, store: Store, decision: Decision) -> None:
        """Take the next machines that answer; the silent ones are set aside, those that run the release are done."""
        state = self.state
        self._finish_wave(decision)
        state.wave += 1
        planned = state.wave <= len(self.event.waves)
        queue = [*(state.remaining if planned else ()), *state.returned]
        waiting = [machine for machine in queue if not self._already(state.updates[machine], store, decision)]
        wave = self.event.waves[state.wave - 1] if planned else EVERYBODY
        eligible = [machine for machine in waiting if selected(wave, machine, store)]
        limit = wave_size(wave, len(eligible))
        state.members, left = [], [machine for machine in waiting if machine not in eligible]
        state.promoted = False
        state.restarts = {name: realm.restarts for name, realm in store.realms.items()} if self.event.gates else {}
        for machine in eligible:
            heard = answers(store.machines[machine], self.goal.strategy)
            if not heard:
                self._move(state.updates[machine], Input.LOST, "silent when its wave came", store, decision)
            elif len(state.members) < limit:
                state.members.append(machine)
            else:
                left.append(machine)
        if planned:
            state.remaining = rollout_order({machine: store.machines[machine].rack for machine in left})
        state.returned = []
        if state.members:
            decision.records.append(WaveStarted(self.goal.rollout, state.wave, tuple(state.members), not planned))
        for machine in state.members:
            state.updates[machine].wave = state.wave
        self._take_members(store, decision)

    def _already(self, update: Update, store: Store, decision: Decision) -> bool:
        if not self._current(update, store):
            return False
        self._move(update, Input.CURRENT, "runs the release already", store, decision)
        return True

    def _move(self, update: Update, happened: Input, why: str, store: Store, decision: Decision) -> None:
        was = update.phase
        self._updater.move(update, happened, why, store, decision)
        self._settle(update, was)

    def bake(self, store: Store, decision: Decision) -> None:
        """Start the wave's time to prove itself; an empty wave has nothing to prove."""
        self.state.bake_until_ns = store.now_ns + (self.event.bake if self.state.members else 0)

    def hold(self, store: Store, decision: Decision) -> None:
        """Start nothing further; what is under way ends by its own table."""
        state = self.state
        failing = [number for number, verdict in state.verdicts.items() if verdict.answer is Answer.FAIL]
        if failing and not self._too_many:
            why = f"gate {title(self.event.gates[failing[0]])}: {state.verdicts[failing[0]].why}"
        else:
            why = f"{state.failures[-1]}: {state.updates[state.failures[-1]].why}"
        state.verdicts = {}
        waiting = len(state.remaining) + len(state.returned)
        decision.records.append(
            RolloutHeld(self.goal.rollout, state.wave, len(state.failures), self.event.max_failures, why, waiting)
        )

    def promote(self, store: Store, decision: Decision) -> None:
        """Go on without further bake and gates, whatever failed so far."""
        state = self.state
        state.promoted, state.forgiven = True, len(state.failures)
        state.bake_until_ns = store.now_ns
        decision.records.append(RolloutPromoted(self.goal.rollout, state.wave))
        decision.due(store.now_ns + 1)

    def retry(self, store: Store, decision: Decision) -> None:
        """Take the failed machines again, those of this wave in this wave."""
        state = self.state
        failed = [update for update in state.updates.values() if update.phase is Phase.FAILED]
        for update in failed:
            self._updater.move(update, Input.RETRIED, "an operator has it tried again", store, decision)
        state.returned += [update.machine for update in failed if update.machine not in state.members]
        state.failures, state.forgiven = [], 0
        names = tuple(update.machine for update in failed)
        decision.records.append(RolloutRetried(self.goal.rollout, state.wave, names))
        decision.due(store.now_ns + 1)

    def pause(self, store: Store, decision: Decision) -> None:
        """Say that an operator paused it."""
        decision.records.append(RolloutPaused(self.goal.rollout, self.state.wave, self.under_way))

    def resume(self, store: Store, decision: Decision) -> None:
        """Say that it goes on."""
        decision.records.append(RolloutResumed(self.goal.rollout, self.state.wave))

    def abort(self, store: Store, decision: Decision) -> None:
        """Say that an operator gave it up."""
        decision.records.append(RolloutAborted(self.goal.rollout, self.state.wave, self.under_way))

    def call_off(self, store: Store, decision: Decision) -> None:
        """End it before it began."""
        self.abort(store, decision)
        self.finish(store, decision)

    def await_lost(self, store: Store, decision: Decision) -> None:
        """All waves are through; wait for the machines that were lost."""
        self._finish_wave(decision)
        decision.records.append(RolloutWaiting(self.goal.rollout, tuple(sorted(self.state.absent))))

    def finish(self, store: Store, decision: Decision) -> None:
        """Say how it ended."""
        self._finish_wave(decision)
        phases = [update.phase for update in self.state.updates.values()]
        done, failed, absent = (phases.count(phase) for phase in (Phase.DONE, Phase.FAILED, Phase.ABSENT))
        left = len(phases) - done - failed - absent
        decision.records.append(RolloutFinished(self.goal.rollout, done, failed, absent, left))

    def _finish_wave(self, decision: Decision) -> None:
        state = self.state
        if not state.members:
            return
        phases = [state.updates[machine].phase for machine in state.members]
        done, failed = phases.count(Phase.DONE), phases.count(Phase.FAILED)
        decision.records.append(WaveFinished(self.goal.rollout, state.wave, done, failed, len(phases) - done - failed))
        state.members = []


_ACTS = {act: getattr(Rollout, act.value) for _, act in ROLLOUT_TABLE.values()}
