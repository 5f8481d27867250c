"""What the leader of an activation runs, per component, once every PE is held.

Source: TF-A services/std_svc/rmmd (RMM), bl31_lfa.c (BL31), services/std_svc/spmd (secure partitions, FF-A 1.3).
"""

from __future__ import annotations

from enum import Enum

from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.monitor.boot import next_launch
from cca_machine.monitor.components import BL31, RMM, FirmwareComponent
from cca_machine.monitor.image import AcceptedImage
from cca_machine.monitor.ports import Platform, RmmPort
from cca_machine.monitor.state import MonitorState


class StepResult(Enum):
    """How one step of an activator ended."""

    DONE = "done"
    """The new image runs."""
    AGAIN = "again"
    """The component needs another round."""
    FAILED = "failed"
    """The new image does not run; whether the old one does depends on the component."""
    BROKEN = "broken"
    """EL3 itself crashed: the machine needs a reset."""


class Activators:
    """Runs the steps; a failed one leaves measurements, keys and token as they were."""

    def __init__(self, state: MonitorState, rmm: RmmPort, platform: Platform) -> None:
        self._state = state
        self._rmm = rmm
        self._platform = platform

    def step(self, component: FirmwareComponent, image: AcceptedImage, steps_done: int) -> StepResult:
        """Run the step after `steps_done` others; the last one switches to `image`."""
        if steps_done + 1 < component.activation_steps:
            return StepResult.AGAIN
        before = self._state.now.launch
        self._state.now.launch = next_launch(self._platform, self._state.nonvolatile.boots, before, image)
        result = self._enter(component, image)
        if result is not StepResult.DONE:
            self._state.now.launch = before
        return result

    def _enter(self, component: FirmwareComponent, image: AcceptedImage) -> StepResult:
        if component.name == RMM:
            return self._enter_rmm(image)
        if not image.panics:
            return StepResult.DONE
        if component.name == BL31:
            self._state.now.broken = True
            self._lose_rmm()
            return StepResult.BROKEN
        return StepResult.FAILED

    def _enter_rmm(self, image: AcceptedImage) -> StepResult:
        """Enter the new RMM by the cold boot protocol; if it fails there is no RMM any more."""
        now = self._state.now
        entered = not image.panics and self._rmm.handover(now.launch.rmm_sequence) == BootStatus.OK
        if not entered:
            self._lose_rmm()
            return StepResult.FAILED
        for pe in now.pes:
            if pe.on:
                pe.rmm_sequence = now.launch.rmm_sequence
        return StepResult.DONE

    def _lose_rmm(self) -> None:
        self._state.now.rmm_alive = False
        self._rmm.fail()
