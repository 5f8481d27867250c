"""What many commands of RMI 2.0 check alike."""

from __future__ import annotations

from cca_machine.abi.rmi import PAGE_BYTES
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm.core import Core
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from cca_machine.rmm.state import Realm

UNDELEGATED, DELEGATED = int(GranuleState.UNDELEGATED), int(GranuleState.DELEGATED)
DATA, RTT_STATE = int(GranuleState.DATA), int(GranuleState.RTT)
MAX_PA_WITHOUT_LPA2 = 1 << 48


def is_in(core: Core, address: int, state: int) -> bool:
    """Whether `address` is a delegable granule's address and that granule is in `state`."""
    return not address & GRANULE_MASK and core.granules.get(address) == state


def host_page(core: Core, address: int, size_bytes: int = PAGE_BYTES) -> bytes | None:
    """The first bytes of a Host page, or None when it is not an accessible NS granule."""
    if not is_in(core, address, UNDELEGATED):
        return None
    try:
        return core.memory.read(World.NS, address, size_bytes)
    except GranuleProtectionFault:
        return None


def is_ipa(realm: Realm, ipa: int, level: int = PAGE_LEVEL) -> bool:
    """Whether `ipa` lies in the IPA space and is aligned to an entry of `level`."""
    return not ipa >> realm.ipa_width and not ipa & size(level) - 1


def is_structure(realm: Realm, ipa: int, level: int) -> bool:
    """Whether there may be a table of `level` for `ipa`: no root, and aligned to the entry above it."""
    return realm.rtt_level_start < level <= PAGE_LEVEL and is_ipa(realm, ipa, level - 1)


def is_protected_range(realm: Realm, base: int, top: int) -> bool:
    """Whether granule aligned `base` to `top` lies in protected memory."""
    return not (base | top) & GRANULE_MASK and base < top and base < realm.half and top - GRANULE_BYTES < realm.half
