"""The LFA agent: replaces running firmware without a reset, at the request of the Host.

How a Host drives it (each call is an SMC on `Monitor.smc`; `x1` is the sequence id of the component):

1. `Monitor.stage(component, image)` is no call: it is the update agent (BMC) that puts a signed image into flash.
2. `LFA_GET_INFO(0)`, then `LFA_GET_INVENTORY(id)` for each id: the UUID tells which component it is, and only this call
   makes the agent see what was staged. Without it PRIME answers WRONG_STATE.
3. `LFA_PRIME(id)` until x1 bit 0 (call again) is clear. Any error leaves the component primed halfway: after it comes
   `LFA_CANCEL(id)`, or the same PRIME again, from the start, once the cause is gone.
4. `LFA_ACTIVATE(id, 0, entry point, context)` on every PE that is on. All but the last get NO_RETURN (no registers):
   they are held in the pen and execute nothing. The last one leads: it runs the activator and returns; the answers of
   the others are then in `Monitor.collect()`. Every PE of a round gets the same status. x1 bit 0 asks for another
   round. With x2 bit 0 (skip) one PE activates alone, if the component allows it.
5. After success: step 2 again; the RMM that runs now is asked for its version, Realms go on.

What is refused where: PRIME authenticates (AUTH_ERROR: malformed, stranger, tampered, signed by too few, revoked, other
signer than the slot's, lower security counter), asks the RMM whether a Realm forbids it (WRONG_STATE), and compares the
data format of the image with that of the running one (DEVICE_ERROR). A new RMM that cannot read the state of the old is
thus known before any PE is held; real firmware finds out only when the new image runs, which costs the machine its
Realms. ACTIVATE refuses bytes other than the primed ones (COMPONENT_WRONG_STATE), and gives up a round in which they
were exchanged while PEs gathered (ACTIVATION_FAILED).

An activation is committed when its round ends well: the image moves to the boot slot and the security counter is
raised. With `MonitorState.hold_commits` that waits for `Monitor.commit()`, and a power cut in between boots the old
firmware.

Source: DEN0147 1.0 through TF-A services/std_svc/lfa; the table is in `lfa_states`, the activators in `activators`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cca_machine.abi.lfa import CALL_AGAIN, SKIP_RENDEZVOUS, VERSION_1_0, Lfa, LfaStatus
from cca_machine.abi.smc import Registers, registers
from cca_machine.hardware.gpt import Gpi
from cca_machine.hardware.state import HardwareState
from cca_machine.monitor.activators import Activators, StepResult
from cca_machine.monitor.components import RESERVED_BYTES, RMM, FirmwareComponent, inventory
from cca_machine.monitor.image import AcceptedImage, ImageRefused, accept, image_digest, mismatch
from cca_machine.monitor.lfa_states import LfaEffect, LfaInput, advance
from cca_machine.monitor.ports import Platform, RmmPort
from cca_machine.monitor.psci import NO_RETURN
from cca_machine.monitor.state import Activation, LfaState, MonitorState

LOAD_BYTES_PER_CALL = 128 << 10
"""How much one PRIME call copies from flash before it asks to be called again (modelled)."""

INSTRUCTION_BYTES = 4

_PRIME_INPUTS = (LfaInput.PRIME, LfaInput.PRIME_OTHER)
_ACTIVATE_INPUTS = (LfaInput.ACTIVATE, LfaInput.ACTIVATE_OTHER)
_SKIP_INPUTS = (LfaInput.ACTIVATE_SKIP, LfaInput.ACTIVATE_OTHER)
_CANCEL_INPUTS = (LfaInput.CANCEL, LfaInput.CANCEL_OTHER)
_STEP_INPUTS = {
    StepResult.DONE: LfaInput.STEP_DONE,
    StepResult.AGAIN: LfaInput.STEP_AGAIN,
    StepResult.FAILED: LfaInput.STEP_FAILED,
    StepResult.BROKEN: LfaInput.STEP_FAILED,
}
_STEP_ANSWERS = {
    StepResult.DONE: (LfaStatus.SUCCESS, 0),
    StepResult.AGAIN: (LfaStatus.SUCCESS, CALL_AGAIN),
    StepResult.FAILED: (LfaStatus.ACTIVATION_FAILED, 0),
    StepResult.BROKEN: (LfaStatus.CRITICAL_ERROR, 0),
}


class LfaAgent:
    """One per machine; all it remembers is in the state of the monitor."""

    def __init__(self, state: MonitorState, hardware: HardwareState, rmm: RmmPort, platform: Platform) -> None:
        self._state = state
        self._hardware = hardware
        self._rmm = rmm
        self._platform = platform
        self._activators = Activators(state, rmm, platform)
        self._components = inventory(platform.firmware)
        self._calls: dict[int, Callable[[Sequence[int], int], Registers]] = {
            Lfa.VERSION: self._version,
            Lfa.FEATURES: self._features,
            Lfa.GET_INFO: self._get_info,
            Lfa.GET_INVENTORY: self._get_inventory,
            Lfa.PRIME: self._prime,
            Lfa.ACTIVATE: self._activate,
            Lfa.CANCEL: self._cancel,
        }

    @property
    def _record(self) -> Activation:
        return self._state.now.activation

    def call(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        """One LFA call on PE `pe`; NO_RETURN when the PE is held in the pen."""
        if self._state.now.broken:
            return registers([LfaStatus.CRITICAL_ERROR])
        return self._calls[fid](args, pe)

    def _version(self, args: Sequence[int], pe: int) -> Registers:
        return registers([VERSION_1_0])

    def _features(self, args: Sequence[int], pe: int) -> Registers:
        return registers([LfaStatus.SUCCESS if args[0] in self._calls else LfaStatus.NOT_SUPPORTED])

    def _get_info(self, args: Sequence[int], pe: int) -> Registers:
        if args[0] != 0:
            return registers([LfaStatus.INVALID_PARAMETERS])
        return registers([LfaStatus.SUCCESS, len(self._components), 0])

    def _get_inventory(self, args: Sequence[int], pe: int) -> Registers:
        """UUID, flags, and the running and staged version as (major << 32) + minor."""
        component = self._component(args[0])
        if component is None:
            return registers([LfaStatus.INVALID_PARAMETERS])
        now = self._state.now
        staged = self._state.nonvolatile.staged.get(component.name)
        running = now.launch.running[component.name]
        pending = staged is not None and image_digest(staged) != running.image_digest
        now.pending[component.name] = pending
        return registers(
            [
                LfaStatus.SUCCESS,
                *component.uuid_halves,
                component.flags(pending=pending),
                packed_version(running.version),
                packed_version(self._staged_version(component)) if pending else 0,
            ]
        )

    def _prime(self, args: Sequence[int], pe: int) -> Registers:
        """Checks in the order of TF-A's lfa_prime: range, pending, activator, record."""
        component = self._component(args[0])
        if component is None:
            return registers([LfaStatus.INVALID_PARAMETERS])
        if not self._state.now.pending.get(component.name, False):
            return registers([LfaStatus.WRONG_STATE])
        if not component.capable:
            return registers([LfaStatus.NOT_SUPPORTED])
        if self._disallowed(component):
            return registers([LfaStatus.WRONG_STATE])
        answer = self._feed(self._input(component, _PRIME_INPUTS))
        if isinstance(answer, LfaStatus):
            return registers([answer])
        if answer is LfaEffect.LOAD_BESIDE:
            return registers([self._check(component, self._staged(component))])
        return self._load(component, fresh=answer is LfaEffect.LOAD_FRESH)

    def _load(self, component: FirmwareComponent, *, fresh: bool) -> Registers:
        staged = self._staged(component)
        record = self._record
        if fresh:
            record.component = component.name
            record.loaded_bytes = 0
        if record.loaded_bytes == 0:
            record.bound_digest = image_digest(staged)
        record.loaded_bytes = min(record.loaded_bytes + LOAD_BYTES_PER_CALL, len(staged))
        if len(staged) <= RESERVED_BYTES and record.loaded_bytes < len(staged):
            self._feed(LfaInput.LOAD_AGAIN)
            return registers([LfaStatus.SUCCESS, CALL_AGAIN])
        whole = image_digest(staged) == record.bound_digest
        status = self._check(component, staged) if whole else LfaStatus.DEVICE_ERROR
        if status is not LfaStatus.SUCCESS:
            record.loaded_bytes = 0
        self._feed(LfaInput.LOAD_DONE if status is LfaStatus.SUCCESS else LfaInput.LOAD_FAILED)
        return registers([status])

    def _check(self, component: FirmwareComponent, staged: bytes) -> LfaStatus:
        """Whether the agent would run these bytes as this component."""
        if not staged:
            return LfaStatus.DEVICE_ERROR
        if len(staged) > RESERVED_BYTES:
            return LfaStatus.NO_MEMORY
        running = self._state.now.launch.running[component.name]
        try:
            new = self._accept(component, staged).image
        except ImageRefused:
            return LfaStatus.AUTH_ERROR
        if new.signer != running.signer:
            # the measurement register of a component belongs to one signer until the next reset
            return LfaStatus.AUTH_ERROR
        if mismatch({**self._state.now.launch.running, component.name: new}):
            return LfaStatus.DEVICE_ERROR
        return LfaStatus.SUCCESS if new.data_format == running.data_format else LfaStatus.DEVICE_ERROR

    def _accept(self, component: FirmwareComponent, staged: bytes) -> AcceptedImage:
        """Open an image against the stored counter, and what runs: an activation not yet committed counts too."""
        name = component.name
        stored = self._state.nonvolatile.counters.get(name, 0)
        floor = max(stored, self._state.now.launch.running[name].security_version)
        return accept(name, staged, self._platform.anchors, self._platform.firmware_policy, floor)

    def _activate(self, args: Sequence[int], pe: int) -> Registers:
        """Checks in the order of TF-A's lfa_activate_prepare; the first PE asks the platform."""
        component = self._component(args[0])
        if component is None:
            return registers([LfaStatus.INVALID_PARAMETERS])
        skip = bool(args[1] & SKIP_RENDEZVOUS)
        given = self._input(component, _SKIP_INPUTS if skip else _ACTIVATE_INPUTS)
        if self._record.state is LfaState.COMPLETE and given is not LfaInput.ACTIVATE_OTHER:
            refusal = self._first_refusal(component, skip=skip, entry_point=args[2])
            if refusal is not LfaStatus.SUCCESS:
                return registers([refusal])
        answer = self._feed(given)
        if isinstance(answer, LfaStatus):
            return registers([answer])
        return self._hold(component, pe) if answer is LfaEffect.HOLD else self._step(component, [])

    def _first_refusal(self, component: FirmwareComponent, *, skip: bool, entry_point: int) -> LfaStatus:
        """What keeps the first PE of a round out of the pen."""
        if self._disallowed(component):
            return LfaStatus.WRONG_STATE
        if image_digest(self._staged(component)) != self._record.bound_digest:
            return LfaStatus.COMPONENT_WRONG_STATE
        if skip and not component.rendezvous_optional:
            return LfaStatus.INVALID_PARAMETERS
        if component.may_reset_cpu and not self._usable(entry_point):
            return LfaStatus.INVALID_ADDRESS
        lost = component.name == RMM and (self._rmm.panicked or not self._state.now.rmm_alive)
        if self._state.fail_next_activation or lost:
            self._state.fail_next_activation = False
            self._feed(LfaInput.NOTIFY_FAILED)
            return LfaStatus.ACTIVATION_FAILED
        return LfaStatus.SUCCESS

    def _disallowed(self, component: FirmwareComponent) -> bool:
        """Whether a Realm that exists forbids this activation: asked at PRIME, by the first PE, and by the leader.

        A Realm created after PRIME thus wins against the activation (modelled: DEN0137 2.0 leaves the means open).
        """
        return component.in_realm_tcb and self._state.now.rmm_alive and self._rmm.lfa_disallowing() > 0

    def _usable(self, entry_point: int) -> bool:
        return entry_point % INSTRUCTION_BYTES == 0 and self._hardware.gpt.gpi(entry_point) is Gpi.NON_SECURE

    def _hold(self, component: FirmwareComponent, pe: int) -> Registers:
        """Take the PE into the pen; the last running one leads (TF-A lfa_holding_pen.c)."""
        now = self._state.now
        now.activation.pen.append(pe)
        if len(now.activation.pen) < sum(one.on for one in now.pes):
            return NO_RETURN
        followers = now.activation.pen[:-1]
        self._feed(LfaInput.LAST_ARRIVED)
        return self._step(component, followers)

    def _step(self, component: FirmwareComponent, followers: list[int]) -> Registers:
        record = self._record
        staged = self._staged(component)
        if image_digest(staged) == record.bound_digest and not self._disallowed(component):
            result = self._activators.step(component, self._accept(component, staged), record.steps_done)
        else:
            result = StepResult.FAILED
        record.steps_done += 1
        answer = registers(list(_STEP_ANSWERS[result]))
        self._release(followers, answer)
        self._feed(_STEP_INPUTS[result])
        if result is not StepResult.AGAIN:
            self._state.now.activation = Activation()
        if result is StepResult.DONE:
            self._finish(component)
        return answer

    def _finish(self, component: FirmwareComponent) -> None:
        now = self._state.now
        now.pending[component.name] = False
        now.uncommitted[component.name] = self._staged(component)
        if not self._state.hold_commits:
            commit(self._state)

    def _release(self, pes: list[int], answer: Registers) -> None:
        self._record.pen = []
        for pe in pes:
            self._state.now.released[pe] = answer

    def _cancel(self, args: Sequence[int], pe: int) -> Registers:
        component = self._component(args[0])
        if component is None:
            return registers([LfaStatus.INVALID_PARAMETERS])
        answer = self._feed(self._input(component, _CANCEL_INPUTS))
        if isinstance(answer, LfaStatus):
            return registers([answer])
        if answer is LfaEffect.ABANDON:
            self._release(self._record.pen, registers([LfaStatus.ACTIVATION_FAILED]))
        self._state.now.activation = Activation()
        return registers([LfaStatus.SUCCESS])

    def _component(self, sequence_id: int) -> FirmwareComponent | None:
        sequence_id &= 0xFFFF_FFFF
        return self._components[sequence_id] if sequence_id < len(self._components) else None

    def _input(self, component: FirmwareComponent, choices: tuple[LfaInput, LfaInput]) -> LfaInput:
        same, other = choices
        return same if component.name == self._record.component else other

    def _feed(self, given: LfaInput) -> LfaEffect | LfaStatus:
        return advance(self._record, given, as_tf_a=self._platform.quirks == "tf-rmm")

    def _staged(self, component: FirmwareComponent) -> bytes:
        return self._state.nonvolatile.staged.get(component.name, b"")

    def _staged_version(self, component: FirmwareComponent) -> str:
        try:
            return self._accept(component, self._staged(component)).image.version
        except ImageRefused:
            return "0"


def packed_version(version: str) -> int:
    """A dotted version as GET_INVENTORY reports it: (major << 32) + minor; what is no number counts as 0."""
    numbers = [int(part) if part.isdecimal() else 0 for part in (*version.split("."), "0")]
    return numbers[0] << 32 | numbers[1] & 0xFFFF_FFFF


def commit(state: MonitorState) -> tuple[str, ...]:
    """Make what was activated permanent: boot slot, security counter, staging area; the components concerned."""
    now, flash = state.now, state.nonvolatile
    done = tuple(sorted(now.uncommitted))
    for name in done:
        image = now.uncommitted.pop(name)
        flash.boot_slots[name] = image
        if flash.staged.get(name) == image:
            del flash.staged[name]
        counter = now.launch.running[name].security_version
        flash.counters[name] = max(flash.counters.get(name, 0), counter)
    return done
