"""The SMC front door of EL3: which service answers which function id of the Normal world."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from cca_machine.abi.lfa import Lfa
from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.abi.smc import (
    MASK64,
    NOT_SUPPORTED,
    SMCCC_VERSION,
    SMCCC_VERSION_1_2,
    Registers,
    fast64,
    function_id,
    registers,
)
from cca_machine.hardware.state import HardwareState
from cca_machine.monitor.boot import cold_boot
from cca_machine.monitor.image import ImageRefused, accept, mismatch
from cca_machine.monitor.lfa import LfaAgent, commit
from cca_machine.monitor.manifest import boot_manifest
from cca_machine.monitor.ports import Platform, RmmPort
from cca_machine.monitor.psci import psci
from cca_machine.monitor.state import MonitorState

ARGUMENTS = 7
"""x1 to x7."""


class Service(StrEnum):
    """Who answers a call of the Normal world."""

    RMI = "rmi"
    LFA = "lfa"
    PSCI = "psci"
    SMCCC = "smccc"


ROUTES: tuple[tuple[range, Service], ...] = (
    (range(fast64(0x150), fast64(0x190)), Service.RMI),
    (range(fast64(0x1D0), fast64(0x220)), Service.RMI),
    (range(Lfa.VERSION, Lfa.CANCEL + 1), Service.LFA),
    (range(0x8400_0000, 0x8400_0020), Service.PSCI),
    (range(0xC400_0000, 0xC400_0020), Service.PSCI),
    (range(SMCCC_VERSION, SMCCC_VERSION + 1), Service.SMCCC),
)
"""Function ids by service; the second range of RMI belongs to the editions after 1.0.

RSI and the RMM's own calls to EL3 are not here: from the Normal world they are unknown (rmm-el3-comms-spec).
"""

_SERVICE_OF = {fid: service for fids, service in ROUTES for fid in fids}


class HeldPe(Exception):
    """A PE that is off, or held in EL3, was made to execute: a fault of the caller."""


class Monitor:
    """EL3 of one machine; all it remembers is in `state`, so the object can be made again at any time."""

    def __init__(self, state: MonitorState, hardware: HardwareState, rmm: RmmPort, platform: Platform) -> None:
        self.state = state
        self._hardware = hardware
        self._rmm = rmm
        self._platform = platform
        self._lfa = LfaAgent(state, hardware, rmm, platform)

    def boot(self) -> None:
        """Cold boot: firmware is checked and measured, then the RMM is entered on the first PE.

        A machine whose RMM does not come up still boots, as a plain server: every RMI is unknown.

        Raises:
            BootRefused: an image is not acceptable; the machine stays off.
        """
        self.state.volatile = None
        self.state.volatile = cold_boot(self._platform, self.state.nonvolatile)
        manifest = boot_manifest(self._hardware.gpt.granules.banks)
        if self._rmm.boot(manifest) != BootStatus.OK:
            self.fail_rmm()

    def smc(self, fid: int, args: Sequence[int] = (), pe: int = 0) -> Registers:
        """One SMC of the Normal world on PE `pe`, `args` being x1 and up; x0 to x7 in return.

        NO_RETURN (no registers) says that the PE did not come back: it turned itself off, or LFA_ACTIVATE holds it.

        Raises:
            PoweredOff: the machine is off.
            HeldPe: the PE is not executing.
        """
        self._must_execute(pe)
        fid = function_id(fid)
        service = _SERVICE_OF.get(fid)
        if service is Service.RMI:
            return self._rmm.smc(fid, args, pe) if self.state.now.rmm_alive else registers([NOT_SUPPORTED])
        arguments = (*args, *(0,) * (ARGUMENTS - len(args)))
        if service is Service.LFA:
            return self._lfa.call(fid, arguments, pe)
        if service is Service.PSCI:
            return psci(self.state.now, fid, arguments, pe)
        return registers([SMCCC_VERSION_1_2 if service is Service.SMCCC else NOT_SUPPORTED])

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int = 0
    ) -> tuple[int, Registers]:
        """`count` calls of `smc`, adding `stride` to the arguments after each, up to the first refusal.

        Answers how many succeeded and the registers of the last call; the RMM may take a shorter way to the same end.
        """
        self._must_execute(pe)
        if _SERVICE_OF.get(function_id(fid)) is Service.RMI and self.state.now.rmm_alive:
            return self._rmm.smc_run(function_id(fid), args, stride, count, pe)
        answer = registers(())
        steps = (*stride, *(0,) * len(args))[: len(args)]
        for done in range(count):
            here = [arg + done * step & MASK64 for arg, step in zip(args, steps, strict=True)]
            answer = self.smc(fid, here, pe)
            if not answer or answer[0] != 0:
                return done, answer
        return count, answer

    def stage(self, component: str, image: bytes) -> None:
        """Put a signed image into flash for `component`, as the update agent does; nothing is judged here."""
        self.state.nonvolatile.staged[component] = image

    def unstage(self, component: str) -> None:
        """Take what is staged for `component` out of flash, if anything is."""
        self.state.nonvolatile.staged.pop(component, None)

    def stage_for_boot(self, component: str, image: bytes) -> str:
        """Put a signed image into the other boot slot, for the next cold boot to try once; empty, or why not.

        The update agent asks what that boot will ask (PSA Firmware Update 1.0, psa_fwu_finish; modelled). What would be
        refused changes nothing.
        """
        flash, platform = self.state.nonvolatile, self._platform
        if component not in platform.firmware:
            return "the machine has no such component"
        floor = flash.counters.get(component, 0)
        try:
            new = accept(component, image, platform.anchors, platform.firmware_policy, floor)
            tried = {
                name: accept(name, other, platform.anchors, platform.firmware_policy, 0).image
                for name, other in flash.trial.items()
            }
        except ImageRefused as refusal:
            return refusal.why
        why = mismatch({**self.state.now.launch.running, **tried, component: new.image})
        if why:
            return f"the images would not work together: {why}"
        flash.trial[component] = image
        return ""

    def unstage_for_boot(self, component: str) -> None:
        """Empty the other boot slot of `component`, if something stands there."""
        self.state.nonvolatile.trial.pop(component, None)

    def collect(self) -> dict[int, Registers]:
        """The answers of the PEs that left the pen since the last time, by PE; from here on they execute again."""
        answers = self.state.now.released
        self.state.now.released = {}
        return dict(sorted(answers.items()))

    def commit(self) -> tuple[str, ...]:
        """Make what was activated live permanent where `hold_commits` kept it back; the components concerned."""
        return commit(self.state)

    def fail_rmm(self) -> None:
        """The RMM crashed, or never came up: EL3 does not enter it again before the next cold boot."""
        self.state.now.rmm_alive = False
        self._rmm.fail()

    def power_loss(self) -> None:
        """Power is gone: what is not in flash is forgotten."""
        self.state.power_loss()

    @property
    def held(self) -> tuple[int, ...]:
        """PEs in the pen, in the order of their arrival."""
        return tuple(self.state.now.activation.pen)

    @property
    def rmm_alive(self) -> bool:
        """Whether RMI calls are answered."""
        return self.state.now.rmm_alive and not self._rmm.panicked

    @property
    def versions(self) -> dict[str, str]:
        """Version of each running component."""
        return {name: image.version for name, image in self.state.now.launch.running.items()}

    def _must_execute(self, pe: int) -> None:
        now = self.state.now
        if pe in now.activation.pen or pe in now.released:
            raise HeldPe(f"PE {pe} is held in EL3 by LFA_ACTIVATE")
        if not (0 <= pe < len(now.pes) and now.pes[pe].on):
            raise HeldPe(f"PE {pe} is off or does not exist")
