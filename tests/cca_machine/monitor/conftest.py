"""A machine cut down to EL3: real monitor and memory, and an RMM that only remembers how it was entered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec
import pytest

from attestation import firmware
from attestation.firmware_policy import SigningPolicy
from attestation.keys import SigningKey, derive_key
from cca_machine.abi.lfa import CALL_AGAIN, Lfa, LfaStatus
from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.abi.smc import Registers, registers, signed
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.monitor.components import inventory
from cca_machine.monitor.dispatch import Monitor
from cca_machine.monitor.services import RmmServices
from cca_machine.monitor.state import MonitorState

DRAM = Bank(0x8000_0000, 64 << 20)
ENTRY_POINT = DRAM.base + 0x1000


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The members of MachineSpec that EL3 reads."""

    seed: bytes
    firmware: dict[str, bytes]
    anchors: dict[bytes, bytes]
    firmware_policy: SigningPolicy = SigningPolicy()
    implementation_id: bytes = bytes(range(32))
    lifecycle: int = 0x3003
    pes: int = 4
    quirks: str = "suggested"
    token_profile: str = "2023"


class RmmDouble:
    """Stands for the RMM: answers x0 = 0 until argument `limit`, and keeps what EL3 gave it."""

    def __init__(self, services: RmmServices) -> None:
        self.services = services
        self.boot_status = self.handover_status = int(BootStatus.OK)
        self.failures = 0
        self.panicked = False
        self.manifest = b""
        self.calls: list[tuple[int, tuple[int, ...], int]] = []
        self.entries: list[tuple[int, bytes, bytes]] = []
        self.limit = 1 << 64
        self.disallowing = 0

    def boot(self, manifest: bytes) -> int:
        self.manifest = manifest
        self.panicked = False
        self._enter(1)
        return self.boot_status

    def handover(self, image_sequence: int) -> int:
        self._enter(image_sequence)
        return self.handover_status

    def _enter(self, image_sequence: int) -> None:
        self.entries.append((image_sequence, self.services.realm_key(), self.services.platform_token()))

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        self.calls.append((fid, tuple(args), pe))
        return registers([1 if args and args[0] >= self.limit else 0])

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        answer = registers(())
        for done in range(count):
            answer = self.smc(fid, [arg + done * step for arg, step in zip(args, stride, strict=True)], pe)
            if answer[0]:
                return done, answer
        return count, answer

    def lfa_disallowing(self) -> int:
        return self.disallowing

    def fail(self) -> None:
        self.failures += 1
        self.panicked = True


class Rig:
    """A machine with its monitor, and the Host side of LFA in a few words."""

    def __init__(self, spec: Spec, *, boot: bool = True) -> None:
        self.spec = spec
        self.state = MonitorState()
        self.hardware = HardwareState.build((DRAM,), spec.pes)
        self.services = RmmServices(self.state, self.hardware)
        self.rmm = RmmDouble(self.services)
        self.monitor = Monitor(self.state, self.hardware, self.rmm, spec)
        self.ids = {component.name: index for index, component in enumerate(inventory(spec.firmware))}
        if boot:
            self.monitor.boot()

    def reset(self) -> None:
        """Power gone, power back."""
        self.monitor.power_loss()
        self.monitor.boot()

    def lfa(self, fid: Lfa, *args: int, pe: int = 0) -> LfaStatus:
        return LfaStatus(signed(self.monitor.smc(fid, args, pe)[0]))

    def inventory(self, component: str) -> Registers:
        return self.monitor.smc(Lfa.GET_INVENTORY, [self.ids[component]])

    def offer(self, component: str, image: bytes) -> None:
        """Stage an image and let the agent see it."""
        self.monitor.stage(component, image)
        assert self.inventory(component)[0] == 0

    def prime_once(self, component: str) -> tuple[LfaStatus, bool]:
        x0, x1, *_ = self.monitor.smc(Lfa.PRIME, [self.ids[component]])
        return LfaStatus(signed(x0)), bool(x1 & CALL_AGAIN)

    def prime(self, component: str) -> LfaStatus:
        status, again = self.prime_once(component)
        while again:
            status, again = self.prime_once(component)
        return status

    def primed(self, component: str, image: bytes) -> Rig:
        self.offer(component, image)
        assert self.prime(component) is LfaStatus.SUCCESS
        return self

    def arrive(self, component: str, pe: int, flags: int = 0) -> Registers:
        return self.monitor.smc(Lfa.ACTIVATE, [self.ids[component], flags, ENTRY_POINT, 7], pe)

    def activate(self, component: str) -> dict[int, tuple[LfaStatus, int]]:
        """One round: every PE calls; status and x1 by PE."""
        answers: dict[int, Registers] = {}
        for pe, one in enumerate(self.state.now.pes):
            if one.on:
                answer = self.arrive(component, pe)
                if answer:
                    answers[pe] = answer
        answers |= self.monitor.collect()
        return {pe: (LfaStatus(signed(answer[0])), answer[1]) for pe, answer in sorted(answers.items())}

    def digest(self) -> bytes:
        """Over everything that EL3 remembers."""
        return hashlib.sha256(msgspec.msgpack.encode(self.state)).digest()


ImageMaker = Callable[..., bytes]


@pytest.fixture(scope="session")
def vendor() -> SigningKey:
    return derive_key(b"vendor", "firmware")


@pytest.fixture(scope="session")
def owner() -> SigningKey:
    return derive_key(b"owner", "firmware")


@pytest.fixture(scope="session")
def stranger() -> SigningKey:
    return derive_key(b"stranger", "firmware")


@pytest.fixture(scope="session")
def image(vendor: SigningKey) -> ImageMaker:
    """Build a signed image: image("RMM", "1.1.0", security_version=2, payload=..., key=...)."""

    def make(
        component: str,
        version: str = "1.0.0",
        *,
        security_version: int = 1,
        data_format: int = 1,
        payload: bytes | None = None,
        key: SigningKey = vendor,
    ) -> bytes:
        manifest = firmware.FirmwareManifest(
            component=component, version=version, security_version=security_version, data_format=data_format
        )
        return firmware.build(manifest, payload or f"{component} {version}".encode(), key)

    return make


@pytest.fixture(scope="session")
def spec(image: ImageMaker, vendor: SigningKey, owner: SigningKey) -> Spec:
    return Spec(
        seed=hashlib.sha256(b"machine").digest(),
        firmware={name: image(name) for name in ("HES", "BL2", "BL31", "SP1", "RMM")},
        anchors={firmware.signer_id(key.public): key.public.cose_key() for key in (vendor, owner)},
    )


@pytest.fixture
def make_rig(spec: Spec) -> Callable[..., Rig]:
    """A rig whose spec differs in the given members; boot=False leaves it off."""

    def make(*, boot: bool = True, **members: object) -> Rig:
        return Rig(msgspec.structs.replace(spec, **members), boot=boot)

    return make


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()
