"""Handles: one machine, Realm or rollout of a fleet by name. What they tell is what the control plane believes now.

A handle holds no state of its own. Acts are operators' inputs: each takes one beat of virtual time, and one that the
fleet refuses raises `ActRefused` and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import inputs as i
from orchestrator.firmware.phases import Stage
from orchestrator.firmware.rollout import Rollout
from orchestrator.scripting.errors import UnknownName
from orchestrator.store import MachineView, RealmView

if TYPE_CHECKING:
    from orchestrator.scripting.fleet import Fleet

_ROLLED = frozenset({Stage.FINISHED, Stage.HELD})


class MachineHandle:
    """One simulated server as the control plane believes it."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self.name = name

    @property
    def view(self) -> MachineView:
        """The control plane's own record of it; to be read only."""
        return self._fleet.store.machines[self.name]

    @property
    def state(self) -> str:
        """expected, appraising, admitted, suspect, down or refused."""
        return self.view.state.value

    @property
    def realms(self) -> list[RealmHandle]:
        """Realms whose present copy may exist there."""
        return [RealmHandle(self._fleet, realm.name) for realm in self._fleet.store.realms_on(self.name)]

    def facts(self) -> Mapping[str, Any]:
        """name, rack, zone (power domain), profile, state, RMM version, Realms, cordoned, firmware activity."""
        view = self.view
        return {
            "name": view.name,
            "rack": view.rack,
            "zone": self._fleet.cluster.racks[view.rack].power,
            "profile": view.profile,
            "state": view.state.value,
            "rmm": view.versions.get("RMM", ""),
            "realms": len(view.residents),
            "cordoned": bool(view.cordons),
            "activity": view.activity,
        }

    def cordon(self, why: str = i.OPERATOR) -> MachineHandle:
        """Keep new Realms and migrations away. Raises `ActRefused`."""
        self._fleet.ask(i.CordonMachine(self.name, why))
        return self

    def uncordon(self) -> MachineHandle:
        """Take an operator's cordon back. Raises `ActRefused`."""
        self._fleet.ask(i.UncordonMachine(self.name))
        return self

    def __repr__(self) -> str:
        return f"machine {self.name} ({self.state})"


class RealmHandle:
    """One Realm as the control plane believes it, over all its incarnations."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self.name = name

    @property
    def view(self) -> RealmView:
        """The control plane's own record of it; to be read only."""
        realms = self._fleet.store.realms
        if self.name not in realms:
            raise UnknownName("Realm", self.name, realms)
        return realms[self.name]

    @property
    def state(self) -> str:
        """awaited, wanted, placed, launching, verifying, releasing, serving, migrating, stopped, failed, ..."""
        return self.view.state.value

    @property
    def machine(self) -> str:
        """Where its present copy is; empty when it has none."""
        return self.view.machine

    def facts(self) -> Mapping[str, Any]:
        """name, kind, image, program, state, machine and its rack and zone, incarnation, restarts, failure."""
        view, cluster = self.view, self._fleet.cluster
        kind, machine = cluster.realms[view.kind], self._fleet.store.machines.get(view.machine)
        return {
            "name": view.name,
            "kind": view.kind,
            "image": kind.image,
            "program": kind.program,
            "state": view.state.value,
            "machine": view.machine,
            "rack": "" if machine is None else machine.rack,
            "zone": "" if machine is None else cluster.racks[machine.rack].power,
            "incarnation": view.incarnation,
            "restarts": view.restarts,
            "failure": view.failure,
        }

    def stop(self) -> RealmHandle:
        """Stop it for good. Raises `ActRefused`."""
        self._fleet.ask(i.StopRealm(self.name))
        return self

    def delete(self) -> None:
        """Stop it if it still runs, and show it no more; its name is not used again. Raises `ActRefused`."""
        self._fleet.ask(i.DeleteRealm(self.name))

    def migrate(self, to: MachineHandle | str = "") -> RealmHandle:
        """Move it while it serves (modelled); without `to` the scheduler chooses. Raises `ActRefused`."""
        self._fleet.ask(i.MigrateRealm(self.name, to if isinstance(to, str) else to.name))
        return self

    def __repr__(self) -> str:
        return f"Realm {self.name} ({self.state}{f' on {self.machine}' if self.machine else ''})"


class RolloutHandle:
    """One firmware rollout."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self.name = name

    @property
    def _rollout(self) -> Rollout:
        known = {rollout.goal.rollout: rollout for rollout in self._fleet.run.assembly.rollouts.rollouts}
        if self.name not in known:
            raise UnknownName("rollout", self.name, known)
        return known[self.name]

    @property
    def state(self) -> str:
        """One of `orchestrator.firmware.phases.Stage`: awaited, running, baking, paused, held, finished, ..."""
        return self._rollout.state.stage.value

    @property
    def ended(self) -> bool:
        """Whether nothing further will happen by itself."""
        return self._rollout.state.stage in _ROLLED

    @property
    def machines(self) -> dict[str, str]:
        """Phase of every machine."""
        return {name: update.phase.value for name, update in self._rollout.state.updates.items()}

    def facts(self) -> Mapping[str, Any]:
        """name, release, version, state, wave, waves, failures."""
        state, goal = self._rollout.state, self._rollout.goal
        return {
            "name": self.name,
            "release": goal.release,
            "version": goal.version,
            "state": state.stage.value,
            "wave": state.wave,
            "waves": len(self._rollout.event.waves),
            "failures": len(state.failures),
        }

    def wait(self, within: int | str = "2h") -> RolloutHandle:
        """Let time pass until it has ended; raises `NotReached` when it has not in time."""
        self._fleet.until(lambda fleet: self.ended, within, what=f"{self.name} to end")
        return self

    def pause(self) -> RolloutHandle:
        """Start nothing further until it is resumed. Raises `ActRefused`."""
        self._fleet.ask(i.PauseRollout(self.name))
        return self

    def resume(self) -> RolloutHandle:
        """Let it go on. Raises `ActRefused`."""
        self._fleet.ask(i.ResumeRollout(self.name))
        return self

    def promote(self) -> RolloutHandle:
        """Let it go on without further bake and gates, whatever failed so far. Raises `ActRefused`."""
        self._fleet.ask(i.PromoteRollout(self.name))
        return self

    def retry(self) -> RolloutHandle:
        """Have its failed machines taken again. Raises `ActRefused`."""
        self._fleet.ask(i.RetryRollout(self.name))
        return self

    def abort(self) -> RolloutHandle:
        """Give it up; machines under way come to the end of their own table. Raises `ActRefused`."""
        self._fleet.ask(i.AbortRollout(self.name))
        return self

    def __repr__(self) -> str:
        return f"rollout {self.name} ({self.state})"
