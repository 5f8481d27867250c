"""Granule states and the transitions between them."""

from __future__ import annotations

from enum import IntEnum

from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.granule_map import OUTSIDE, Bank, GranuleMap


class GranuleState(IntEnum):
    """What the RMM uses a granule for (DEN0137 1.0-rel0, section A2.2; numbers of TF-RMM lib/granule)."""

    UNDELEGATED = 0
    DELEGATED = 1
    RD = 2
    REC = 3
    REC_AUX = 4
    DATA = 5
    RTT = 6
    PARTIAL = 11


TRANSITIONS: dict[tuple[GranuleState, GranuleState], str] = {
    (GranuleState.UNDELEGATED, GranuleState.DELEGATED): "RMI_GRANULE_DELEGATE",
    (GranuleState.DELEGATED, GranuleState.UNDELEGATED): "RMI_GRANULE_UNDELEGATE",
    (GranuleState.DELEGATED, GranuleState.RD): "RMI_REALM_CREATE",
    (GranuleState.RD, GranuleState.DELEGATED): "RMI_REALM_DESTROY",
    (GranuleState.DELEGATED, GranuleState.RTT): "RMI_REALM_CREATE, RMI_RTT_CREATE",
    (GranuleState.RTT, GranuleState.DELEGATED): "RMI_REALM_DESTROY, RMI_RTT_DESTROY, RMI_RTT_FOLD",
    (GranuleState.DELEGATED, GranuleState.REC): "RMI_REC_CREATE",
    (GranuleState.REC, GranuleState.DELEGATED): "RMI_REC_DESTROY",
    (GranuleState.DELEGATED, GranuleState.REC_AUX): "RMI_REC_CREATE",
    (GranuleState.REC_AUX, GranuleState.DELEGATED): "RMI_REC_DESTROY",
    (GranuleState.DELEGATED, GranuleState.DATA): "RMI_DATA_CREATE, RMI_DATA_CREATE_UNKNOWN",
    (GranuleState.DATA, GranuleState.DELEGATED): "RMI_DATA_DESTROY",
    (GranuleState.DELEGATED, GranuleState.PARTIAL): "RMI_REC_CREATE (2.0)",
    (GranuleState.PARTIAL, GranuleState.REC): "RMI_OP_CONTINUE of RMI_REC_CREATE (2.0)",
    (GranuleState.REC, GranuleState.PARTIAL): "RMI_REC_DESTROY (2.0)",
    (GranuleState.PARTIAL, GranuleState.DELEGATED): "RMI_OP_CONTINUE (2.0)",
}
"""Every legal transition and the commands that make it (DEN0137 1.0-rel0, section A2.2.3)."""


def granule_table(*dram: Bank) -> GranuleMap:
    """States of all granules of `dram`, the memory that a Host may delegate: everything UNDELEGATED."""
    return GranuleMap(banks=dram, default=int(GranuleState.UNDELEGATED))


def state_at(granules: GranuleMap, address: int) -> int:
    """State of the granule at `address`; OUTSIDE when it is not a granule's address or not delegable memory."""
    return OUTSIDE if address & GRANULE_MASK else granules.get(address)


def move(granules: GranuleMap, address: int, to: GranuleState) -> None:
    """Change the state of a granule along a row of `TRANSITIONS`.

    Raises:
        KeyError: there is no such row, which is a fault of this model.
    """
    TRANSITIONS[GranuleState(granules.get(address)), to]
    granules.set(address, int(to))
