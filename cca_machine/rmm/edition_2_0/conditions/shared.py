"""Conditions that many commands of RMI 2.0 share: life cycle of the RMM, contexts of operations, address lists."""

from __future__ import annotations

from cca_machine.abi.rmi2 import AddressType
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import World
from cca_machine.rmm import address_list, sro
from cca_machine.rmm.conditions import Check, Look
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from cca_machine.rmm.state import RealmState

GATE = Check("rmm_state", "RMM_ACTIVATE has not been called", lambda c: not c.core.state.active, True)
GATE_BEFORE = Check("rmm_state", "RMM_ACTIVATE has been called", lambda c: c.core.state.active, True)
HANDLES = Check(
    "handles", "every context for stateful operations is taken", lambda c: sro.free_handle(c.core) is None, True
)
REALM_IS_OPEN = Check(
    "realm_state",
    "the Realm is neither NEW nor ACTIVE",
    lambda c: c.realm.state not in (RealmState.NEW, RealmState.ACTIVE),
)
SIZE = Check("size_valid", "top is not above base", lambda c: c["top"] <= c["base"], True)
TOP_ALIGN = Check("top_gran_align", "top is not aligned to 4 KiB", lambda c: bool(c["top"] & GRANULE_MASK), True)


def kind_of_list(look: Look) -> int:
    """How output addresses are given."""
    return look["flags"] & 3


def is_list(look: Look) -> bool:
    """Whether output addresses are given as a list."""
    return kind_of_list(look) == AddressType.LIST


def slots(look: Look) -> int:
    """Descriptors of the list that lie in its granule."""
    return address_list.usable_slots(look["oaddr"], look["flags"] >> 2 & 0x3FFF)


def list_page_is_missing(look: Look, name: str) -> bool:
    """Whether the Host's list is not in an accessible NS granule."""
    page = look[name] & -GRANULE_BYTES
    return look.state(page) != GranuleState.UNDELEGATED or not look.core.memory.gpt.allows(World.NS, page)


def descriptors(look: Look) -> list[int]:
    """Descriptors that a map command gives."""
    if not is_list(look):
        return [look["oaddr"]]
    return address_list.read(look.core, look["oaddr"], slots(look)) or []


def first_level(look: Look) -> int:
    """Level at which the range is to be mapped."""
    return address_list.level_of(descriptors(look)[0])


def outside(name: str) -> Check:
    """The condition that an IPA lies beyond the Realm's IPA space."""
    return Check(f"{name}_bound", f"{name} is not in the IPA space", lambda c: bool(c[name] >> c.realm.ipa_width))


def aligned(name: str, what: str = "") -> Check:
    """The condition that an IPA is not granule aligned; `what` names it otherwise than the argument."""
    return Check(f"{what or name}_align", f"{name} is not aligned to 4 KiB", lambda c: bool(c[name] & GRANULE_MASK))


def entry_step(look: Look) -> int:
    """Bytes under the entry where the walk for `base` ends."""
    return size(look.walk(PAGE_LEVEL, "base").level)


ENTRY_ALIGN = Check("entry_align", "base is inside the entry", lambda c: bool(c["base"] & entry_step(c) - 1))


def crosses_top(look: Look) -> bool:
    """Whether the first entry reaches beyond top."""
    return look["base"] + entry_step(look) > look["top"]


NO_PROGRESS = Check("no_progress", "the first entry reaches beyond top", crosses_top)
