"""The controller of rollouts: begins what is due, takes operators' cues and gates' answers, takes held ones back.

One `Rollout` per `RolloutEvent` of the cluster file, and one per rollback; at most one of them has a wave under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.commands import Reboot
from cca_machine.costs import reference_timing
from orchestrator.cluster.schema import RolloutEvent, SteerEvent
from orchestrator.controller import Decision, Order
from orchestrator.engine.ports import Delivery
from orchestrator.firmware import undo
from orchestrator.firmware.gates import Question, Verdict
from orchestrator.firmware.image import build_images
from orchestrator.firmware.phases import AT_REST, ROLLOUT_TABLE, Cue, Phase, Stage
from orchestrator.firmware.records import RolloutRolledBack, RolloutSteered
from orchestrator.firmware.rollout import IN_THE_WAY, Rollout
from orchestrator.firmware.update import Goal
from orchestrator.firmware.waves import EVERYBODY
from orchestrator.store import Store

BOOTS = 3
"""Boots that a machine is given to come back: into the new slot, back into the old one, and one to spare."""


class Rollouts:
    """The firmware controller: all rollouts of the cluster file in order of their instants, then those of operators.

    `image` gives the signed image of (release, component). A rollout that is due waits while another has a wave under
    way or is paused; one that is held, finished or waiting for lost machines stands in nobody's way.
    """

    name = "firmware"

    def __init__(
        self,
        events: Sequence[RolloutEvent],
        store: Store,
        image: Callable[[str, str], bytes],
        steering: Sequence[SteerEvent] = (),
    ) -> None:
        self._image = image
        self._firmware = store.cluster.firmware
        self._cued: list[tuple[Rollout, Cue]] = []
        self._answers: list[tuple[Rollout, int, int, Verdict]] = []
        self._rolled_back: list[tuple[str, int]] = []
        self._steering = sorted(steering, key=lambda event: event.at)
        self.rollouts: list[Rollout] = []
        for event in sorted(events, key=lambda event: event.at):
            self.add(event, store)

    def add(self, event: RolloutEvent, store: Store, only: Sequence[str] = ()) -> Rollout:
        """Take one more rollout on, for all machines or `only` some; it begins at its instant, now if that is over."""
        if store.cluster.firmware is not self._firmware:  # an operator brought further releases
            self._firmware = store.cluster.firmware
            self._image = build_images(store.cluster, store.seed).image
        rollout = Rollout(event, _goal(f"rollout-{len(self.rollouts) + 1}", event, store, self._image), only)
        self.rollouts.append(rollout)
        return rollout

    def request(self, rollout: Rollout, cue: Cue) -> bool:
        """Have an operator's cue taken at the next look; False when the rollout's stage has no row for it."""
        if not self._may(rollout, cue):
            return False
        self._cued.append((rollout, cue))
        return True

    def _may(self, rollout: Rollout, cue: Cue) -> bool:
        """Whether its table knows the cue, and no other rollout would then have machines under way as well."""
        others = [other for other in self.rollouts if other is not rollout and other.state.stage in IN_THE_WAY]
        revives = rollout.state.stage is Stage.HELD and cue in (Cue.RETRY, Cue.PROMOTE)
        return (rollout.state.stage, cue) in ROLLOUT_TABLE and not (revives and others)

    def take_questions(self) -> list[Question]:
        """What the outside is asked since the last call."""
        asked = [question for rollout in self.rollouts for question in rollout.questions]
        for rollout in self.rollouts:
            rollout.questions = []
        return asked

    def answer(self, name: str, gate: int, number: int, verdict: Verdict) -> bool:
        """Take an answer of the outside at the next look; False when nothing of the kind is asked."""
        for rollout in self.rollouts:
            asked = rollout.state.stage is Stage.GATED and rollout.state.open.get(gate) == number
            if rollout.goal.rollout == name and asked:
                self._answers.append((rollout, gate, number, verdict))
                return True
        return False

    def fold(self, store: Store, delivery: Delivery) -> None:
        """Hand what arrived to the rollouts."""
        for rollout in self.rollouts:
            if rollout.state.stage is not Stage.AWAITED:
                rollout.fold(delivery)

    def decide(self, store: Store, now_ns: int) -> Decision:
        """Begin what is due, advance what is under way."""
        decision = Decision()
        self._steer(now_ns, decision)
        cued, self._cued = self._cued, []
        for rollout, cue in cued:
            if self._may(rollout, cue):  # two cues of one boundary may exclude each other
                rollout.cue(cue, store, decision)
        answers, self._answers = self._answers, []
        for rollout, gate, number, verdict in answers:
            rollout.answer_gate(gate, number, verdict, store, decision)
        for rollout in self.rollouts:
            if rollout.state.stage is Stage.AWAITED:
                self._begin(rollout, store, now_ns, decision)
            if rollout.state.stage is not Stage.AWAITED:
                rollout.advance(store, decision)
        for rollout in [one for one in self.rollouts if one.event.rollback and one.state.stage is Stage.HELD]:
            time = (rollout.goal.rollout, rollout.state.wave)
            if time not in self._rolled_back and not rollout.under_way:
                self._rolled_back.append(time)
                self._roll_back(rollout, store, decision)
        return decision

    def _steer(self, now_ns: int, decision: Decision) -> None:
        """Take the operators' events that are due."""
        while self._steering and self._steering[0].at <= now_ns:
            event = self._steering.pop(0)
            found = next((one for one in self.rollouts if one.goal.rollout == event.rollout), None)
            if found is None:
                refused = "there is no such rollout"
            elif self.request(found, Cue(event.do)):
                refused = ""
            else:
                refused = f"a rollout that is {found.state.stage} cannot {event.do}"
            decision.records.append(RolloutSteered(event.rollout, event.do, refused))
        if self._steering:
            decision.due(self._steering[0].at)

    def _roll_back(self, held: Rollout, store: Store, decision: Decision) -> None:
        """Take back what one that holds has done, machine by machine, unless a security counter has burnt the way."""
        event, name = held.event, held.goal.rollout
        concerned = undo.concerned(event, held.state.wave, list(held.state.updates.values()))
        stuck = undo.stuck(concerned, store)
        if stuck:
            machines = tuple(update.machine for update in stuck)
            decision.orders += [Order(update.machine, Reboot(update.boot)) for update in stuck]
            decision.records.append(RolloutRolledBack(name, "", "", "", machines))
        for way in undo.ways_back(event, concerned, store):
            begun = ""
            if not way.refused:
                strategy = "reboot" if any(store.machines[one].rmm_dead for one in way.machines) else event.strategy
                changes = {
                    "release": way.release,
                    "at": store.now_ns,
                    "strategy": strategy,
                    "rollback": False,
                    "gates": [],
                    "after": None,
                    "waves": [EVERYBODY],
                }
                begun = self.add(event.model_copy(update=changes), store, way.machines).goal.rollout
                decision.due(store.now_ns + 1)
            decision.records.append(RolloutRolledBack(name, begun, way.release, way.refused, way.machines))

    def _begin(self, rollout: Rollout, store: Store, now_ns: int, decision: Decision) -> None:
        if now_ns < rollout.event.at:
            decision.due(rollout.event.at)
        elif not self._came_through(rollout.event.after):
            return
        elif not any(other.state.stage in IN_THE_WAY for other in self.rollouts):
            for other in self.rollouts:
                if other.state.stage is Stage.WAITING:
                    other.cue(Cue.SUPERSEDED, store, decision)
            rollout.cue(Cue.DUE, store, decision)

    def _came_through(self, name: str | None) -> bool:
        """Whether the rollout of that name has brought every machine to its release; True without a name."""
        if name is None:
            return True
        before = next((one for one in self.rollouts if one.goal.rollout == name), None)
        if before is None or before.state.stage is not Stage.FINISHED:
            return False
        return all(update.phase is Phase.DONE for update in before.state.updates.values())

    @property
    def idle(self) -> bool:
        """Whether every rollout has ended or holds."""
        return all(rollout.state.stage in AT_REST for rollout in self.rollouts)


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
