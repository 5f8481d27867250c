"""Failure conditions of commands on granules, mappings, RIPAS and permissions."""

from __future__ import annotations

from cca_machine.abi.rmi import DATA_FLAG_MEASURE, Ripas
from cca_machine.abi.rmi2 import AddressType, Rmi2
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import Gpi
from cca_machine.hardware.granule_map import OUTSIDE
from cca_machine.rmm import address_list
from cca_machine.rmm.conditions import (
    RD,
    REALM_IS_NEW,
    REC,
    Check,
    Look,
    accessible,
    granule,
    page_level,
    protected_page,
    reaches,
    wide,
)
from cca_machine.rmm.edition_2_0.checks import MAX_PA_WITHOUT_LPA2
from cca_machine.rmm.edition_2_0.conditions import shared
from cca_machine.rmm.edition_2_0.conditions.shared import ENTRY_ALIGN, HANDLES, NO_PROGRESS, REALM_IS_OPEN, SIZE
from cca_machine.rmm.edition_2_0.mapping import MEMATTR_RESERVED
from cca_machine.rmm.edition_2_0.ripas import COOKIE_TREE_MASK, references_in
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED,
    DRAINING,
    KIND_MASK,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    UNASSIGNED,
    UNASSIGNED_NS,
    Walk,
    address_of,
    assigned_ns,
    ripas_of,
    size,
)


def _range_state(look: Look) -> int:
    devices = look.core.state.device_granules
    known = devices if devices is not None and devices.contains(look["base"]) else look.core.granules
    return known.get(look["base"] & -GRANULE_BYTES)


def _range(state: GranuleState) -> tuple[Check, ...]:
    return (
        Check("base_align", "base is not aligned to 4 KiB", lambda c: bool(c["base"] & GRANULE_MASK), True),
        Check("top_align", "top is not aligned to 4 KiB", lambda c: bool(c["top"] & GRANULE_MASK), True),
        SIZE,
        Check("base_bound", "base is no delegable memory", lambda c: _range_state(c) == OUTSIDE),
        Check("gran_state", f"the first granule is not {state.name}", lambda c: _range_state(c) != state),
    )


def _first_block(look: Look) -> int:
    return next(address_list.blocks(shared.descriptors(look)))[0]


def _mapped_at(look: Look) -> Walk:
    return look.walk(shared.first_level(look), "base")


def _is_protected(look: Look) -> bool:
    return look["base"] < look.realm.half and look["top"] - GRANULE_BYTES < look.realm.half


def _list(look: Look, holds: bool) -> bool:
    return shared.is_list(look) and holds


def _mapping(*, protected: bool) -> tuple[Check, ...]:
    """Arguments of a map command."""
    state = Check(
        "desc_state", "the memory is not said to be delegated",
        lambda c: protected and address_list.state_of(shared.descriptors(c)[0]) != address_list.DELEGATED,
    )  # fmt: skip
    half = "protected" if protected else "unprotected"
    return (
        *RD,
        REALM_IS_OPEN,
        SIZE,
        Check(
            "oaddr_type", "output addresses are neither one range nor a list",
            lambda c: shared.kind_of_list(c) not in (AddressType.SINGLE, AddressType.LIST), True,
        ),
        Check("list_align", "the list is not aligned to 8 bytes", lambda c: _list(c, bool(c["oaddr"] % 8))),
        Check("list_count", "the list is empty", lambda c: _list(c, not shared.slots(c))),
        Check(
            "list_state", "the list is not in an NS granule",
            lambda c: _list(c, shared.list_page_is_missing(c, "oaddr")),
        ),
        *((state,) if protected else ()),
        Check(
            "desc_level", "blocks of this level cannot be mapped",
            lambda c: shared.first_level(c) < max(MIN_BLOCK_LEVEL, c.realm.rtt_level_start),
        ),
        Check(
            "base_align", "base is not aligned to the blocks",
            lambda c: bool(c["base"] & size(shared.first_level(c)) - 1),
        ),
        shared.outside("base"),
        Check("top_align", "top is not aligned to 4 KiB", lambda c: bool(c["top"] & GRANULE_MASK)),
        Check(
            "top_bound", "top is not in the IPA space",
            lambda c: bool(c["top"] - GRANULE_BYTES >> c.realm.ipa_width),
        ),
        Check("range_half", f"the range is not {half}", lambda c: _is_protected(c) != protected),
        Check(
            "range_level", "the range is smaller than a block",
            lambda c: c["top"] - c["base"] < size(shared.first_level(c)),
        ),
    )  # fmt: skip


_PLACE = (
    Check(
        "rtt_walk", "there is no table of the blocks' level for base",
        lambda c: _mapped_at(c).level != shared.first_level(c),
    ),
    Check(
        "desc_empty", "the descriptors give no block",
        lambda c: next(address_list.blocks(shared.descriptors(c)), None) is None,
    ),
    Check(
        "oaddr_align", "the first block is not aligned to its size",
        lambda c: bool(_first_block(c) & size(shared.first_level(c)) - 1),
    ),
    Check(
        "oaddr_bound2", "the first block reaches above 2^48 and the Realm has no LPA2",
        lambda c: _first_block(c) + size(shared.first_level(c)) > MAX_PA_WITHOUT_LPA2 and not c.realm.lpa2,
    ),
)  # fmt: skip


def _taken_elsewhere(look: Look) -> bool:
    entry = _mapped_at(look).entry
    mapped_here = entry & KIND_MASK == ASSIGNED and address_of(entry) == _first_block(look)
    return not mapped_here and entry & KIND_MASK not in (UNASSIGNED, DRAINING)


def _shared_otherwise(look: Look) -> bool:
    s2ap, entry = look["flags"] >> 19 & 0xF, _mapped_at(look).entry
    access = s2ap if look.realm.planes.indirect else (s2ap >> 1 & 1) | (s2ap & 1) << 1
    new = assigned_ns(_first_block(look), (look["flags"] >> 16 & 7) | access << 3)
    return entry & KIND_MASK != UNASSIGNED_NS and entry != new


def _unmapping(*, protected: bool) -> tuple[Check, ...]:
    half = "protected" if protected else "unprotected"
    return (
        HANDLES,
        *RD,
        shared.aligned("base"),
        shared.aligned("top"),
        SIZE,
        shared.outside("base"),
        Check(
            "top_bound", "top is not in the IPA space",
            lambda c: bool(c["top"] - GRANULE_BYTES >> c.realm.ipa_width),
        ),
        Check(
            "range_half", f"the range is not {half}",
            lambda c: {c["base"] < c.realm.half, c["top"] - GRANULE_BYTES < c.realm.half} != {protected},
        ),
        Check("oaddr_type", "reserved way of giving addresses", lambda c: shared.kind_of_list(c) > AddressType.LIST),
        Check(
            "oaddr_sbz", "an address or a count without a list",
            lambda c: not shared.is_list(c) and bool(c["oaddr"] or c["flags"] >> 2 & 0x3FFF),
        ),
        Check("list_count", "the list has no room", lambda c: _list(c, not c["flags"] >> 2 & 0x3FFF)),
        Check("list_align", "the list is not aligned to 8 bytes", lambda c: _list(c, bool(c["oaddr"] % 8))),
        Check(
            "list_state", "the list is not in an NS granule",
            lambda c: _list(c, c.state(c["oaddr"]) != GranuleState.UNDELEGATED),
        ),
        ENTRY_ALIGN,
        NO_PROGRESS,
    )  # fmt: skip


def _aux_mapped(look: Look) -> bool:
    found = look.walk(PAGE_LEVEL, "base")
    return found.entry & KIND_MASK == ASSIGNED and references_in(look.core, found.entry, found.level) is not None


def _empties_aux(look: Look) -> bool:
    request, entry = look.rec().ripas, look.walk(PAGE_LEVEL, "base").entry
    emptied = request is not None and request.ripas == Ripas.EMPTY and ripas_of(entry) == Ripas.RAM
    return emptied and look.realm.planes.tree_per_plane and _aux_mapped(look) and not shared.crosses_top(look)


_REQUEST = (
    SIZE,
    shared.TOP_ALIGN,
    *RD,
    *REC,
    Check("rec_state", "the REC is running", lambda c: c.rec().running),
    Check("rec_owner", "the REC belongs to another Realm", lambda c: c.rec().rd != c["rd"]),
)


def _s2ap_walk(look: Look) -> Walk:
    request = look.rec().permissions
    cookie = request.cookie if request is not None else 0
    tree = cookie & COOKIE_TREE_MASK if look.realm.planes.tree_per_plane else 0
    return look.core.walk_tree(look.realm, tree, look["base"], PAGE_LEVEL)


def _is_changeable(look: Look) -> bool:
    entry = look.walk(PAGE_LEVEL, "base").entry
    return entry & KIND_MASK in (UNASSIGNED, ASSIGNED) and ripas_of(entry) != Ripas.DESTROYED


MEMORY: dict[Rmi2, tuple[Check, ...]] = {
    Rmi2.GRANULE_RANGE_DELEGATE: (
        *_range(GranuleState.UNDELEGATED),
        Check(
            "gran_gpt", "the first granule is not NS",
            lambda c: c.core.memory.gpt.gpi(c["base"]) != Gpi.NON_SECURE,
        ),
    ),
    Rmi2.GRANULE_RANGE_UNDELEGATE: _range(GranuleState.DELEGATED),
    Rmi2.RTT_DATA_MAP_INIT: (
        Check("flags", "a reserved flag is set", lambda c: bool(c["flags"] & ~DATA_FLAG_MEASURE), True),
        Check("alias", "data is the RD", lambda c: c["data"] == c["rd"], True),
        *granule("src", GranuleState.UNDELEGATED),
        *RD,
        REALM_IS_NEW,
        *protected_page(),
        wide("data"),
        reaches(page_level, "there is no level 3 table for ipa"),
        Check(
            "rtte_state", "the page is not VOID",
            lambda c: c.walk(PAGE_LEVEL).entry & KIND_MASK not in (UNASSIGNED, DRAINING),
        ),
        Check(
            "held", "a stateful operation holds the page",
            lambda c: c.walk(PAGE_LEVEL).entry & KIND_MASK == DRAINING,
        ),
        accessible("src", "src"),
        *granule("data", GranuleState.DELEGATED),
    ),
    Rmi2.RTT_DATA_MAP: (
        HANDLES,
        *_mapping(protected=True),
        *_PLACE,
        Check("rtte_state", "the first entry is not VOID", _taken_elsewhere),
        Check(
            "held", "a stateful operation holds the first entry",
            lambda c: _mapped_at(c).entry & KIND_MASK == DRAINING,
        ),
        Check("data_state", "memory of the first block is not DELEGATED", lambda c: True),
    ),
    Rmi2.RTT_UNPROT_MAP: (
        *_mapping(protected=False),
        Check("s2ap", "reserved access permission", lambda c: c["flags"] >> 19 & 0xF > 3),
        *_PLACE,
        Check("memattr", "reserved memory attribute", lambda c: c["flags"] >> 16 & 7 == MEMATTR_RESERVED),
        Check("rtte_state", "the first entry shares something else", _shared_otherwise),
    ),
    Rmi2.RTT_DATA_UNMAP: (
        *_unmapping(protected=True),
        Check("aux_live", "an auxiliary tree maps the first entry too", _aux_mapped),
    ),
    Rmi2.RTT_UNPROT_UNMAP: _unmapping(protected=False),
    Rmi2.RTT_INIT_RIPAS: (
        SIZE,
        *RD,
        shared.aligned("base"),
        shared.aligned("top", "top_gran"),
        Check("base_bound", "base is not in the protected half", lambda c: c["base"] >= c.realm.half),
        Check("top_bound", "top is above the protected half", lambda c: c["top"] - GRANULE_BYTES >= c.realm.half),
        REALM_IS_NEW,
        ENTRY_ALIGN,
        NO_PROGRESS,
        Check("rtte_state", "the first entry is held, or its memory was taken away", lambda c: not _is_changeable(c)),
    ),
    Rmi2.RTT_SET_RIPAS: (
        *_REQUEST,
        Check("request", "the Realm asked for no change", lambda c: c.rec().ripas is None),
        Check(
            "base_bound", "base is not where the Realm's request continues",
            lambda c: (request := c.rec().ripas) is not None and c["base"] != request.address,
        ),
        Check(
            "top_bound", "top is above the Realm's request",
            lambda c: (request := c.rec().ripas) is not None and c["top"] > request.top,
        ),
        ENTRY_ALIGN,
        Check("aux_live", "an auxiliary tree maps the first entry too", _empties_aux),
        NO_PROGRESS,
        Check("rtte_state", "the first entry is held, or may not leave DESTROYED", lambda c: not _is_changeable(c)),
    ),
    Rmi2.RTT_SET_S2AP: (
        *_REQUEST,
        Check("request", "the Realm asked for no change", lambda c: c.rec().permissions is None),
        Check(
            "base_bound", "base is not where the Realm's request continues",
            lambda c: (request := c.rec().permissions) is not None and c["base"] != request.base,
        ),
        Check(
            "top_bound", "top is above the Realm's request",
            lambda c: (request := c.rec().permissions) is not None and c["top"] > request.top,
        ),
        Check("entry_align", "base is inside the entry", lambda c: bool(c["base"] & size(_s2ap_walk(c).level) - 1)),
        Check(
            "no_progress", "the first entry reaches beyond top",
            lambda c: c["base"] + size(_s2ap_walk(c).level) > c["top"],
        ),
    ),
}  # fmt: skip
