"""Granules: GRANULE_DELEGATE and GRANULE_UNDELEGATE (DEN0137 1.0-rel0, sections B4.3.5 and B4.3.6)."""

from __future__ import annotations

from cca_machine.abi.smc import Registers
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.granule_map import GranuleMap
from cca_machine.rmm.core import Core, RmmPanicked
from cca_machine.rmm.edition_1_0.answers import INPUT, SUCCESS
from cca_machine.rmm.granule import GranuleState

UNDELEGATED, DELEGATED = int(GranuleState.UNDELEGATED), int(GranuleState.DELEGATED)


def is_in(granules: GranuleMap, address: int, state: int) -> bool:
    """Whether `address` is a delegable granule's address and that granule is in `state`: the group of three checks."""
    return not address & GRANULE_MASK and granules.get(address) == state


def delegate(core: Core, addr: int) -> Registers:
    """GRANULE_DELEGATE: NS to Realm world, wiped; EL3 has the last word."""
    if addr & GRANULE_MASK or not core.granules.swap(addr, UNDELEGATED, DELEGATED):
        return INPUT
    if core.el3.delegate(addr):
        core.granules.set(addr, UNDELEGATED)
        return INPUT
    core.memory.scrub(addr)
    return SUCCESS


def undelegate(core: Core, addr: int) -> Registers:
    """GRANULE_UNDELEGATE: back to the NS world, wiped.

    Raises:
        RmmPanicked: EL3 refuses, so that the GPT and the granule table disagree.
    """
    if addr & GRANULE_MASK or not core.granules.swap(addr, DELEGATED, UNDELEGATED):
        return INPUT
    if core.el3.undelegate(addr):
        core.granules.set(addr, DELEGATED)
        raise RmmPanicked(f"EL3 refuses to undelegate {addr:#x}")
    core.memory.scrub(addr)
    return SUCCESS
