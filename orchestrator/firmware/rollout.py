"""The controller of rollouts: takes machines wave by wave, lets each wave bake, holds when too many fail.

One `Rollout` per `RolloutEvent` of the cluster file; at most one of them has a wave under way. The tables are in
`orchestrator.firmware.phases`, one machine's way is in `orchestrator.firmware.update`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct, field

from cca_machine.commands import Booted
from cca_machine.costs import reference_timing
from orchestrator.cluster.schema import RolloutEvent, Wave
from orchestrator.controller import Decision
from orchestrator.engine.ports import Delivery
from orchestrator.firmware.phases import COUNTED, ROLLOUT_TABLE, SETTLED, UNDER_WAY, Cue, Input, Phase, Stage
from orchestrator.firmware.records import (
    RolloutAborted,
    RolloutFinished,
    RolloutHeld,
    RolloutPaused,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
    RolloutWaiting,
    WaveFinished,
    WaveStarted,
)
from orchestrator.firmware.update import Goal, Update, Updater, answers
from orchestrator.firmware.waves import at_once, next_opening, rollout_order, wave_size
from orchestrator.store import MachineState, Store

BOOTS = 3
"""Boots that a machine is given to come back: into the new slot, back into the old one, and one to spare."""

ACTIVE = frozenset({Stage.RUNNING, Stage.BAKING})
IN_THE_WAY = ACTIVE | {Stage.PAUSED, Stage.ABORTING}
"""Stages in which machines of a wave may be under way: no other rollout begins."""


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


class Rollout:
    """One release on its way through the fleet."""

    def __init__(self, event: RolloutEvent, goal: Goal) -> None:
        self.event = event
        self.goal = goal
        self.state = RolloutState()
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
        return sum(self.state.updates[machine].phase in UNDER_WAY for machine in self.state.members)

    def cue(self, cue: Cue, store: Store, decision: Decision) -> None:
        """Take one row of the table and act on it."""
        self.state.stage, act = ROLLOUT_TABLE[self.state.stage, cue]
        _ACTS[act](self, store, decision)

    def advance(self, store: Store, decision: Decision) -> None:
        """Step the machines of the wave and then the rollout itself, until nothing more follows."""
        while True:
            self._step_machines(store, decision)
            cue = self._next_cue(store)
            if cue is None:
                break
            self.cue(cue, store, decision)
        if self.state.stage is Stage.BAKING:
            decision.due(self.state.bake_until_ns)
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
        if state.stage is not Stage.RUNNING or len(state.failures) > self.event.max_failures:
            return
        room = at_once(self.event, len(state.members)) - self.under_way
        for update in self._waiting():
            if room <= 0 or next_opening(self.event, store.now_ns) != store.now_ns:
                return
            heard = answers(store.machines[update.machine])
            why = "" if heard else "silent when its turn came"
            self._move(update, Input.TAKEN if heard else Input.LOST, why, store, decision)
            room -= heard

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
        for machine in [m for m in state.absent if answers(store.machines[m])]:
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
        if state.stage in ACTIVE and len(state.failures) > self.event.max_failures:
            return Cue.TOO_MANY
        if state.stage in (Stage.RUNNING, Stage.ABORTING):
            waiting = state.stage is Stage.RUNNING and self._waiting()
            return None if self.under_way or waiting else Cue.SETTLED
        if state.stage is Stage.BAKING and store.now_ns >= state.bake_until_ns:
            return self._after_bake()
        if state.stage is Stage.WAITING:
            return Cue.RETURNED if state.returned else None if state.absent else Cue.COMPLETE
        return None

    def _after_bake(self) -> Cue:
        state = self.state
        planned = state.wave < len(self.event.waves) and bool(state.remaining)
        if planned or state.returned:
            return Cue.NEXT_WAVE
        return Cue.MISSING if state.absent else Cue.COMPLETE

    def start(self, store: Store, decision: Decision) -> None:
        """Queue all machines and take the canary."""
        state = self.state
        state.remaining = rollout_order({name: view.rack for name, view in store.machines.items()})
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
        limit = wave_size(self.event.waves[state.wave - 1], len(waiting)) if planned else len(waiting)
        state.members, left = [], []
        for machine in waiting:
            heard = answers(store.machines[machine])
            if not heard:
                self._move(state.updates[machine], Input.LOST, "silent when its wave came", store, decision)
            elif len(state.members) < limit:
                state.members.append(machine)
            else:
                left.append(machine)
        if planned:
            state.remaining = left
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
        state, failed = self.state, self.state.failures[-1]
        why = f"{failed}: {state.updates[failed].why}"
        waiting = len(state.remaining) + len(state.returned)
        decision.records.append(
            RolloutHeld(self.goal.rollout, state.wave, len(state.failures), self.event.max_failures, why, waiting)
        )

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


class Rollouts:
    """The firmware controller: all rollouts of the cluster file in order of their instants, then those of operators.

    `image` gives the signed image of (release, component). A rollout that is due waits while another has a wave under
    way or is paused; one that is held, finished or waiting for lost machines stands in nobody's way.
    """

    name = "firmware"

    def __init__(self, events: Sequence[RolloutEvent], store: Store, image: Callable[[str, str], bytes]) -> None:
        self._image = image
        self._cued: list[tuple[Rollout, Cue]] = []
        self._rolled_back: list[str] = []
        self.rollouts: list[Rollout] = []
        for event in sorted(events, key=lambda event: event.at):
            self.add(event, store)

    def add(self, event: RolloutEvent, store: Store) -> Rollout:
        """Take one more rollout on; it begins at its instant, at the present boundary if that is over."""
        rollout = Rollout(event, _goal(f"rollout-{len(self.rollouts) + 1}", event, store, self._image))
        self.rollouts.append(rollout)
        return rollout

    def request(self, rollout: Rollout, cue: Cue) -> bool:
        """Have an operator's cue taken at the next look; False when the rollout's stage has no row for it."""
        if (rollout.state.stage, cue) not in ROLLOUT_TABLE:
            return False
        self._cued.append((rollout, cue))
        return True

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Hand what arrived to the rollouts."""
        for rollout in self.rollouts:
            if rollout.state.stage is not Stage.AWAITED:
                rollout.fold(delivery)

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Begin what is due, advance what is under way."""
        decision = Decision()
        cued, self._cued = self._cued, []
        for rollout, cue in cued:
            if (rollout.state.stage, cue) in ROLLOUT_TABLE:  # two cues of one boundary may exclude each other
                rollout.cue(cue, store, decision)
        for rollout in self.rollouts:
            if rollout.state.stage is Stage.AWAITED:
                self._begin(rollout, store, now_ns, decision)
            if rollout.state.stage is not Stage.AWAITED:
                rollout.advance(store, decision)
        for rollout in [one for one in self.rollouts if one.event.rollback and one.state.stage is Stage.HELD]:
            if rollout.goal.rollout not in self._rolled_back and not rollout.under_way:
                self._rolled_back.append(rollout.goal.rollout)
                self._roll_back(rollout, store, decision)
        return decision

    def _roll_back(self, held: Rollout, store: Store, decision: Decision) -> None:
        """Start the rollout that undoes one which holds, unless a security counter has burnt the way back."""
        release, refused = way_back(held.event, store)
        name = ""
        if not refused:
            everybody = [Wave.model_validate({"share": "100%"})]
            changes = {"release": release, "at": store.now_ns, "rollback": False, "waves": everybody}
            name = self.add(held.event.model_copy(update=changes), store).goal.rollout
            decision.due(store.now_ns + 1)
        decision.records.append(RolloutRolledBack(held.goal.rollout, name, release, refused))

    def _begin(self, rollout: Rollout, store: Store, now_ns: int, decision: Decision) -> None:
        if now_ns < rollout.event.at:
            decision.due(rollout.event.at)
        elif not any(other.state.stage in IN_THE_WAY for other in self.rollouts):
            for other in self.rollouts:
                if other.state.stage is Stage.WAITING:
                    other.cue(Cue.SUPERSEDED, store, decision)
            rollout.cue(Cue.DUE, store, decision)

    @property
    def idle(self) -> bool:
        """Whether every rollout has ended or holds."""
        return all(rollout.state.stage in SETTLED for rollout in self.rollouts)


def way_back(event: RolloutEvent, store: Store) -> tuple[str, str]:
    """The release that a fleet booted before the rollout, and why it cannot go back to it; empty when it can."""
    firmware, name = store.cluster.firmware, event.component
    booted = sorted({profile.firmware for profile in store.cluster.profiles.values()})
    if len(booted) != 1:
        return "", f"machines came from {len(booted)} releases ({', '.join(booted)}): there is no one way back"
    old = firmware.releases[booted[0]].components[name]
    new = firmware.releases[event.release].components[name]
    if (name, old.version) in store.revoked_firmware:
        return booted[0], f"{name} {old.version} is revoked: nobody would trust a machine that runs it"
    if old.security_version < new.security_version:
        why = f"{name} {old.version} has security version {old.security_version}, and {new.security_version} is burnt"
        return booted[0], f"{why} wherever {new.version} ran: such a machine refuses it"
    return booted[0], ""


def _goal(name: str, event: RolloutEvent, store: Store, image: Callable[[str, str], bytes]) -> Goal:
    version = store.cluster.firmware.releases[event.release].components[event.component].version
    control, timing = store.cluster.control, store.cluster.timing
    boot = reference_timing(timing.scale, timing.override)
    takes_ns = sum(cost_ns for cost, cost_ns in boot.items() if cost.startswith("boot."))
    return Goal(
        name,
        event.release,
        event.component,
        version,
        image(event.release, event.component),
        control.order_timeout,
        event.strategy,
        BOOTS * takes_ns + control.order_timeout,
    )


_ACTS = {act: getattr(Rollout, act.value) for _, act in ROLLOUT_TABLE.values()}
