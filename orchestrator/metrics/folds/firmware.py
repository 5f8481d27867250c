"""Firmware: which versions run, live activations, and rollouts wave by wave."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.chaos.history import Line
from orchestrator.firmware.phases import Phase, Stage
from orchestrator.metrics.folds.handler import Handlers
from orchestrator.metrics.labels import ROLLOUT_STAGE, SUCCESS
from orchestrator.metrics.tally import Tally


class Firmware:
    """Running versions by machine (machines that are up only), and the phases of machines in each rollout."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._versions: dict[str, dict[str, str]] = {}
        self._phases: dict[str, dict[str, Phase]] = {}

    def handlers(self) -> Handlers:
        return {
            "machine.booted": self._booted,
            "machine.lost": self._lost,
            "firmware.activated": self._activated,
            "firmware.refused": self._refused,
            "rollout.started": self._started,
            "wave.started": self._wave,
            "rollout.machine": self._machine,
            "rollout.held": self._held,
            "rollout.paused": self._paused,
            "rollout.resumed": self._resumed,
            "rollout.promoted": self._resumed,
            "rollout.retried": self._resumed,
            "gate.judged": self._gate,
            "rollout.aborted": self._aborted,
            "rollout.waiting": self._waiting,
            "rollout.finished": self._finished,
            "tcb.revoked": self._revoked,
            "trust.lost": self._trust_lost,
            "trust.regained": self._trust_back,
            "trust.ended": self._trust_back,
        }

    # -- versions ------------------------------------------------------------------------------------------------------

    def _booted(self, line: Line) -> None:
        self._run(line.source, line.what["versions"])

    def _lost(self, line: Line) -> None:
        self._run(line.source, {})

    def _run(self, machine: str, versions: Mapping[str, str]) -> None:
        for component, version in self._versions.get(machine, {}).items():
            self._tally.add("firmware_machines", -1, component, version)
        self._versions[machine] = dict(versions)
        for component, version in versions.items():
            self._tally.add("firmware_machines", 1, component, version)

    def _activated(self, line: Line) -> None:
        component = line.what["component"]
        self._run(line.source, {**self._versions.get(line.source, {}), component: line.what["version"]})
        self._tally.add("activations_total", 1, component, SUCCESS)
        self._tally.observe("activation_pause_seconds", line.what["pause_ns"])

    def _refused(self, line: Line) -> None:
        self._tally.add("activations_total", 1, line.what["component"], line.what["status"])

    # -- trust -------------------------------------------------------------------------------------------------------

    def _revoked(self, line: Line) -> None:
        self._tally.add("firmware_revocations_total", 1)

    def _trust_lost(self, line: Line) -> None:
        self._tally.add("realms_without_trust", 1)

    def _trust_back(self, line: Line) -> None:
        self._tally.add("realms_without_trust", -1)

    # -- rollouts ------------------------------------------------------------------------------------------------------

    def _started(self, line: Line) -> None:
        rollout = line.what["rollout"]
        self._stage(line, Stage.RUNNING)
        self._tally.set("rollout_wave", 0, rollout)
        for phase in Phase:
            self._tally.set("rollout_machines", 0, rollout, phase)
        self._tally.set("rollout_machines", line.what["machines"], rollout, Phase.QUEUED)
        self._phases[rollout] = {}

    def _wave(self, line: Line) -> None:
        self._stage(line, Stage.RUNNING)
        self._tally.set("rollout_wave", line.what["wave"], line.what["rollout"])

    def _machine(self, line: Line) -> None:
        rollout, machine, phase = line.what["rollout"], line.what["machine"], Phase(line.what["phase"])
        phases = self._phases.setdefault(rollout, {})
        self._tally.add("rollout_machines", -1, rollout, phases.get(machine, Phase.QUEUED))
        self._tally.add("rollout_machines", 1, rollout, phase)
        phases[machine] = phase

    def _held(self, line: Line) -> None:
        self._stage(line, Stage.HELD)

    def _paused(self, line: Line) -> None:
        self._stage(line, Stage.PAUSED)

    def _resumed(self, line: Line) -> None:
        self._stage(line, Stage.RUNNING)

    def _gate(self, line: Line) -> None:
        self._tally.add("rollout_gates_total", 1, line.what["answer"])

    def _aborted(self, line: Line) -> None:
        self._stage(line, Stage.ABORTING)

    def _waiting(self, line: Line) -> None:
        self._stage(line, Stage.WAITING)

    def _finished(self, line: Line) -> None:
        self._stage(line, Stage.FINISHED)

    def _stage(self, line: Line, stage: Stage) -> None:
        for one in ROLLOUT_STAGE.values:
            self._tally.set("rollout_stage", int(one == stage), line.what["rollout"], one)
