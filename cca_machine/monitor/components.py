"""The firmware components of a machine: which there are, where they are measured, and how each can be activated live.

Only `RMM` and `BL31` have activators, and `SP1` where a machine runs a secure partition. BL2 and the firmware of the
hardware enforced security subsystem (HES) run before EL3 exists and change at a cold boot only.
Sources: TF-A services/std_svc/lfa (UUIDs, flags), include/tools_share/firmware_image_package.h (UUID of BL2),
plat/arm/board/neoverse_rd (slots of RD-V3). There is no public LFA UUID for HES firmware: that one is modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cca_machine.abi.lfa import InventoryFlags

RESERVED_BYTES = 4 << 20
"""Memory that EL3 reserves at boot for the image of one component; a larger image finds no memory (modelled)."""


class FirmwareComponent(NamedTuple):
    """One row of the table; `activation_steps` is 0 for a component without activator."""

    name: str
    uuid: str
    slot: int
    activation_steps: int = 0
    may_reset_cpu: bool = False
    rendezvous_optional: bool = False

    @property
    def capable(self) -> bool:
        """Whether the component can be activated live."""
        return self.activation_steps > 0

    @property
    def in_realm_tcb(self) -> bool:
        """Whether Realms trust it; a secure partition is outside (DEN0137 2.0 A3.14)."""
        return self.name != SP1

    @property
    def uuid_halves(self) -> tuple[int, int]:
        """The UUID as GET_INVENTORY returns it in x1 and x2: its bytes in order, read as two little-endian words."""
        data = bytes.fromhex(self.uuid.replace("-", ""))
        return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")

    def flags(self, *, pending: bool) -> InventoryFlags:
        """x3 of GET_INVENTORY."""
        flags = InventoryFlags(0)
        if self.capable:
            flags |= InventoryFlags.CAPABLE
        if pending:
            flags |= InventoryFlags.PENDING
        if self.may_reset_cpu:
            flags |= InventoryFlags.MAY_RESET_CPU
        if self.rendezvous_optional:
            flags |= InventoryFlags.RENDEZVOUS_OPTIONAL
        return flags


BL31 = "BL31"
RMM = "RMM"
SP1 = "SP1"

COMPONENTS: dict[str, FirmwareComponent] = {
    component.name: component
    for component in (
        FirmwareComponent("HES", "a0833d87-9c6a-07b8-268e-4f3523ae6fe5", 2),
        FirmwareComponent("BL2", "5ff9ec0b-4d22-3e4d-a544-c39d81c73f0a", 10),
        FirmwareComponent(BL31, "47d4086d-4cfe-9846-9b95-2950cbbd5a00", 11, 1, may_reset_cpu=True),
        # a partition is stopped by one message and started by another (FF-A 1.3), so it takes two steps
        FirmwareComponent(SP1, "f07b2a96-1d47-4d17-9ec8-86a64e253e5c", 15, 2, rendezvous_optional=True),
        FirmwareComponent(RMM, "6c0762a6-12f2-4b56-92cb-ba8f633606d9", 14, 1),
    )
}
"""In the order in which they are loaded and measured at a cold boot."""

REQUIRED = (BL31, RMM)
"""A machine without these does not boot as a CCA server."""


def inventory(firmware: Mapping[str, bytes]) -> tuple[FirmwareComponent, ...]:
    """The components of a machine in boot order; the position is the LFA sequence id."""
    return tuple(component for name, component in COMPONENTS.items() if name in firmware)
