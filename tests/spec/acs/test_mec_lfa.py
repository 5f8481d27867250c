"""Scenarios of the compliance suite about memory encryption contexts and live activation, by the names of the suite.

Written from ARM-software/cca-rmm-acs docs/mec_lfa.md; in RMI 2.0 the RMM chooses the context, by a policy of the Host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from spec_door import DRAM
from spec_door_2_0 import SUCCESS, Door2

from attestation import firmware
from attestation.firmware_policy import SigningPolicy
from attestation.keys import derive_key
from cca_machine.abi.guest import Access, Poke
from cca_machine.abi.lfa import VERSION_1_0, Lfa, LfaStatus
from cca_machine.abi.smc import Registers, registers, signed
from cca_machine.hardware.state import HardwareState
from cca_machine.monitor.components import inventory
from cca_machine.monitor.dispatch import Monitor
from cca_machine.monitor.state import MonitorState

PRIVATE = 1 << 7
COMPONENTS = ("HES", "BL2", "BL31", "SP1", "RMM")


def _lives(door: Door2, flags: int) -> int:
    """A Realm with a policy runs and reads what it wrote; its MECID."""
    rd, (rec,) = door.running_realm(flags=flags)
    assert door.enter(rec, [Poke(0x1000, b"secret"), Access(ipa=0x1000, register=3)])[0] == SUCCESS
    assert door.guest.gprs[-1][3] & 0xFFFF_FFFF_FFFF == int.from_bytes(b"secret", "little")
    return door.rmm.state.realms[rd].mecid


def test_mec_id_private() -> None:
    door = Door2()
    assert _lives(door, PRIVATE) in door.rmm.state.mec.private


def test_mec_id_shared() -> None:
    door = Door2()
    assert _lives(door, 0) == _lives(door, 0)
    assert door.rmm.state.mec.shared == 2


def test_mec_private_shared() -> None:
    door = Door2(mec_count=3)
    shared = [_lives(door, 0) for _ in range(2)]
    private = [_lives(door, PRIVATE) for _ in range(3)]
    assert len(set(shared)) == 1
    assert len({*shared, *private}) == 4


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a machine's description that EL3 reads."""

    seed: bytes
    firmware: dict[str, bytes]
    anchors: dict[bytes, bytes]
    firmware_policy: SigningPolicy = SigningPolicy()
    implementation_id: bytes = bytes(32)
    lifecycle: int = 0x3003
    pes: int = 1
    quirks: str = "suggested"
    token_profile: str = "2023"


class BootedRmm:
    """An RMM that nobody calls."""

    panicked = False

    def boot(self, manifest: bytes) -> int:
        return 0

    def handover(self, image_sequence: int) -> int:
        return 0

    def smc(self, fid: int, args: Sequence[int], pe: int) -> Registers:
        return registers(())

    def smc_run(
        self, fid: int, args: Sequence[int], stride: Sequence[int], count: int, pe: int
    ) -> tuple[int, Registers]:
        return count, registers(())

    def fail(self) -> None:
        self.panicked = True


def test_lfa_test() -> None:
    """No image waits for the RMM: what the suite asks of its platform holds, PRIME is LFA_WRONG_STATE."""
    vendor = derive_key(b"vendor", "firmware")
    images = {
        name: firmware.build(
            firmware.FirmwareManifest(component=name, version="1.0.0", security_version=1, data_format=1),
            name.encode(), vendor,
        )
        for name in COMPONENTS
    }  # fmt: skip
    anchors = {firmware.signer_id(vendor.public): vendor.public.cose_key()}
    platform = Platform(seed=hashlib.sha256(b"platform").digest(), firmware=images, anchors=anchors)
    monitor = Monitor(MonitorState(), HardwareState.build((DRAM,), 1), BootedRmm(), platform)
    monitor.boot()
    assert monitor.smc(Lfa.VERSION, [])[0] == VERSION_1_0
    x0, count, *_ = monitor.smc(Lfa.GET_INFO, [0])
    assert (x0, count) == (0, len(COMPONENTS))
    listed = [monitor.smc(Lfa.GET_INVENTORY, [index]) for index in range(count)]
    assert all(answer[0] == 0 for answer in listed)
    (rmm,) = [index for index, component in enumerate(inventory(images)) if component.name == "RMM"]
    assert LfaStatus(signed(monitor.smc(Lfa.PRIME, [rmm])[0])) is LfaStatus.WRONG_STATE
