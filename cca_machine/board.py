"""The wiring of a machine: hardware, monitor, RMM, guests and host around one state, made anew at boot and restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from attestation.keys import SigningKey
from cca_machine.abi.rmi2 import VERSION_2_0
from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.abi.rsi import VERSION_1_0 as RSI_1_0
from cca_machine.abi.rsi2 import VERSION_1_1 as RSI_1_1
from cca_machine.abi.smc import Registers
from cca_machine.commands import MachineSpec, RmiCalls
from cca_machine.costs import CALLS, Meter
from cca_machine.guest.attester import Guests, GuestsState
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.encryption import EncryptionContexts
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.host.buffers import HostMemory
from cca_machine.host.donor import GranulePool
from cca_machine.host.fluid import CONTROL_PES
from cca_machine.host.hosted import HostState
from cca_machine.host.lfa import enumerate_components
from cca_machine.host.work import Site, Work
from cca_machine.migration.desk import MigrationDesk
from cca_machine.migration.rmm_calls import MigrationCalls
from cca_machine.monitor.components import COMPONENTS
from cca_machine.monitor.dispatch import Monitor
from cca_machine.monitor.services import RmmServices
from cca_machine.monitor.state import MonitorState
from cca_machine.rmm.features import EDITION_1_0, EDITION_2_0, RmmFeatures
from cca_machine.rmm.features_2_0 import LaterFeatures
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.quirks import EDITION_QUIRKS
from cca_machine.rmm.record import RecordedDoor
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState
from cca_machine.rmm.token_2_0 import TOKEN_MAKERS
from cca_machine.snapshot import MachineState, Running

DRAM_BASE = 0x8_8000_0000
"""Where the DRAM of every machine begins."""

HOST_SHARE = 32
"""One part in this many of the memory, but at most `HOST_MAX_BYTES`, is the host's own and never lent."""

HOST_MAX_BYTES = 64 << 20
WIDE_VMID_BITS = 16


class RmmSlot:
    """Where EL3 enters the RMM: implements `monitor.ports.RmmPort` around whatever image runs."""

    def __init__(self, rmm: Rmm, services: RmmServices) -> None:
        self.rmm = rmm
        self._services = services
        self._door: Rmm | RecordedDoor = rmm
        self.sink: Callable[[dict[str, Any]], None] | None = None

    @property
    def counters(self) -> dict[tuple[str, str], int]:
        """Calls by (command, status)."""
        return self.rmm.counters

    @property
    def panicked(self) -> bool:
        """Whether the RMM failed on its own."""
        return self.rmm.panicked

    def boot(self, manifest: bytes) -> int:
        """Cold boot of the first image."""
        if self.sink is not None:
            self._door = RecordedDoor(self.rmm, self.sink)
        return BootStatus.OK

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        """One RMI call."""
        return self._door.smc(fid, args, pe)

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        """Up to `count` RMI calls."""
        return self._door.smc_run(fid, args, stride, count, pe)

    def handover(self, image_sequence: int) -> int:
        """A new image takes over the state, and asks EL3 for key and platform token again."""
        self.rmm.take_over(self._services)
        return BootStatus.OK

    def lfa_disallowing(self) -> int:
        """Realms whose owner forbids live activation."""
        return self.rmm.lfa_disallowing

    def fail(self) -> None:
        """The RMM is lost until the next cold boot."""
        self.rmm.fail()


class FirmwareTruth:
    """Implements `host.work.Truth`: looks into firmware state for the sake of the trace."""

    def __init__(self, monitor: MonitorState, rmm: RmmState) -> None:
        self._monitor = monitor
        self._rmm = rmm

    def rim(self, rd: int) -> bytes:
        """RIM of the Realm at `rd`."""
        realm = self._rmm.realms[rd]
        return realm.measurements[RIM][: digest_size(realm.hash_algo)]

    def rak(self) -> bytes:
        """COSE_Key of the RAK."""
        return SigningKey.from_private_bytes(self._monitor.now.launch.rak).public.cose_key()

    def platform_token(self) -> bytes:
        """The platform token of the firmware that runs."""
        return self._monitor.now.launch.platform_token

    def rmm_alive(self) -> bool:
        """Whether there is an RMM."""
        return self._monitor.now.rmm_alive

    def boots(self) -> int:
        """How often the machine has booted."""
        return self._monitor.nonvolatile.boots

    def running(self, component: str) -> tuple[str, int, str]:
        """Version, security version and signer of a component."""
        image = self._monitor.now.launch.running[component]
        return image.version, image.security_version, image.signer.hex()


class Board:
    """Everything that executes in a machine, around the records of its state."""

    def __init__(self, spec: MachineSpec, state: MachineState, running: Running) -> None:
        self.hardware = running.hardware
        self.control_pes = CONTROL_PES
        self.guests = Guests(running.guests, spec.seed, Meter(spec.timing, CALLS[spec.edition]))
        services = RmmServices(state.monitor, running.hardware)
        quirks = EDITION_QUIRKS[spec.edition][spec.quirks]
        maker = TOKEN_MAKERS[spec.token_profile]
        features = features_of(spec)
        rmm = Rmm(running.rmm, running.hardware, services, self.guests, features, quirks, maker=maker)
        self.slot = RmmSlot(rmm, services)
        self.monitor = Monitor(state.monitor, running.hardware, self.slot, spec)
        self.truth = FirmwareTruth(state.monitor, running.rmm)
        bank = running.rmm.granules.banks[0]
        self.site = Site(
            spec,
            running.host,
            self.monitor,
            running.hardware.memory,
            HostMemory(bank.base, host_bytes(bank.size) // GRANULE_BYTES),
            self.guests,
            self.truth,
            {component.uuid_halves: name for name, component in COMPONENTS.items()},
            lambda doomed: setattr(state.monitor, "fail_next_activation", doomed),
        )
        self.migration = MigrationDesk(running.sessions, MigrationCalls(rmm.core, services), state.monitor)

    @classmethod
    def fresh(cls, spec: MachineSpec, state: MachineState) -> Board:
        """A machine after reset: memory zero and non-secure, nothing delegated, no Realm."""
        size = spec.memory_bytes
        bank = Bank(DRAM_BASE, size)
        own = host_bytes(size)
        hardware = HardwareState.build((bank,), spec.pes)
        if spec.mecids:
            hardware.memory.contexts = EncryptionContexts()
        state.running = Running(
            hardware=hardware,
            rmm=RmmState.boot((bank,)),
            host=HostState(pool=GranulePool([(bank.base + own, (size - own) // GRANULE_BYTES)])),
            guests=GuestsState(),
        )
        return cls(spec, state, state.running)

    @classmethod
    def around(cls, spec: MachineSpec, state: MachineState) -> Board:
        """The wiring of a machine that runs already."""
        assert state.running is not None
        return cls(spec, state, state.running)

    def boot(self, sink: Callable[[dict[str, Any]], None] | None) -> RmiCalls | None:
        """Measured boot; then the host looks what firmware there is, and makes the RMM ready; by which RMI calls.

        Raises:
            BootRefused: the machine does not start.
        """
        self.slot.sink = sink
        self.monitor.boot()
        work = Work(self.site, 0, 0)
        enumerate_components(work)
        if self.truth.rmm_alive():
            self.site.state.mec_contexts = work.front.boot()
        return work.rmi_calls()


def features_of(spec: MachineSpec) -> RmmFeatures:
    """What the RMM of this machine offers."""
    common = RmmFeatures(s2sz=spec.ipa_bits, vmid16=spec.vmid_bits == WIDE_VMID_BITS)
    return FEATURES[spec.edition](common, spec)


def _of_1_0(common: RmmFeatures, spec: MachineSpec) -> RmmFeatures:
    return common


def _of_2_0(common: RmmFeatures, spec: MachineSpec) -> RmmFeatures:
    return msgspec.structs.replace(
        common,
        edition=EDITION_2_0,
        rmi_versions=(VERSION_2_0,),
        rsi_versions=(RSI_1_0, RSI_1_1),
        later=LaterFeatures(mec_count=spec.mecids),
    )


FEATURES: dict[str, Callable[[RmmFeatures, MachineSpec], RmmFeatures]] = {EDITION_1_0: _of_1_0, EDITION_2_0: _of_2_0}
"""What an RMM offers besides, by edition."""


def host_bytes(memory_bytes: int) -> int:
    """Memory that the host keeps for itself: whole 2 MiB blocks."""
    return max(min(memory_bytes // HOST_SHARE, HOST_MAX_BYTES) >> 21 << 21, 2 << 20)
