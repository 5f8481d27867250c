"""Failure conditions of commands on granules, pages and RIPAS."""

from __future__ import annotations

from cca_machine.abi.rmi import (
    DATA_FLAG_MEASURE,
    Ripas,
    Rmi,
)
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import Gpi
from cca_machine.rmm.conditions import (
    RD,
    REALM_IS_NEW,
    REC,
    Check,
    Look,
    accessible,
    granule,
    kind,
    page_level,
    protected_page,
    reaches,
    wide,
)
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import (
    ASSIGNED,
    PAGE_LEVEL,
    UNASSIGNED,
    ripas_of,
    size,
)

NO_PAGE_TABLE = reaches(page_level, "there is no level 3 table for ipa")

PLACE = (*protected_page(), wide("data"), NO_PAGE_TABLE, kind(page_level, UNASSIGNED, "the page is not UNASSIGNED"))


def _base_step(look: Look) -> int:
    return size(look.walk(PAGE_LEVEL, "base").level)


def _crosses(look: Look) -> bool:
    return (look["base"] & -_base_step(look)) + _base_step(look) > look["top"]


def _ripas_stop(look: Look) -> bool:
    request, entry = look.rec().ripas, look.walk(PAGE_LEVEL, "base").entry
    return request is not None and ripas_of(entry) == Ripas.DESTROYED and not request.change_destroyed


MEMORY: dict[Rmi, tuple[Check, ...]] = {
    Rmi.GRANULE_DELEGATE: (
        *granule("addr", GranuleState.UNDELEGATED),
        Check("gran_gpt", "the granule is not NS", lambda c: c.core.memory.gpt.gpi(c["addr"]) != Gpi.NON_SECURE),
    ),
    Rmi.GRANULE_UNDELEGATE: granule("addr", GranuleState.DELEGATED),
    Rmi.DATA_CREATE: (
        Check(
            "flags", "a reserved flag is set",
            lambda c: bool(c["flags"] & ~DATA_FLAG_MEASURE) and not c.core.quirks.reserved_flags_ignored, True,
        ),
        *granule("src", GranuleState.UNDELEGATED),
        *granule("data", GranuleState.DELEGATED),
        *RD,
        REALM_IS_NEW,
        *PLACE,
        accessible("src", "src"),
    ),
    Rmi.DATA_CREATE_UNKNOWN: (*granule("data", GranuleState.DELEGATED), *RD, *PLACE),
    Rmi.DATA_DESTROY: (
        *RD, *protected_page(), NO_PAGE_TABLE, kind(page_level, ASSIGNED, "the page is not ASSIGNED"),
    ),
    Rmi.RTT_INIT_RIPAS: (
        Check("size_valid", "top is not above base", lambda c: c["top"] <= c["base"], True),
        *RD,
        Check("top_gran_align", "top is not aligned to 4 KiB", lambda c: bool(c["top"] & GRANULE_MASK)),
        Check("top_bound", "top is above the protected half", lambda c: c["top"] - GRANULE_BYTES >= c.realm.half),
        Check(
            "base_gran_align", "base is not aligned to 4 KiB (D5)",
            lambda c: bool(c["base"] & GRANULE_MASK) and not c.core.quirks.init_ripas_rtt_on_unaligned_base,
        ),
        REALM_IS_NEW,
        Check("base_align", "base is inside the entry", lambda c: bool(c["base"] & _base_step(c) - 1)),
        Check("no_progress", "the first entry reaches beyond top", _crosses),
        Check("rtte_state", "the first entry is not UNASSIGNED with RIPAS EMPTY or RAM", lambda c: True),
    ),
    Rmi.RTT_SET_RIPAS: (
        Check("size_valid", "top is not above base", lambda c: c["top"] <= c["base"], True),
        Check(
            "top_gran_align", "top is not aligned to 4 KiB",
            lambda c: bool(c["top"] & GRANULE_MASK) and not c.core.quirks.set_ripas_top_unchecked, True,
        ),
        *RD,
        *REC,
        Check("rec_state", "the REC is running", lambda c: c.rec().running),
        Check("rec_owner", "the REC belongs to another Realm", lambda c: c.rec().rd != c["rd"]),
        Check(
            "base_bound", "base is not where the Realm's request continues",
            lambda c: c["base"] != (request.address if (request := c.rec().ripas) else 0),
        ),
        Check(
            "top_bound", "top is above the Realm's request, or there is none",
            lambda c: c["top"] > (request.top if (request := c.rec().ripas) else 0),
        ),
        Check("base_align", "base is inside the entry", lambda c: bool(c["base"] & _base_step(c) - 1)),
        Check("no_progress", "the page is DESTROYED and the Realm does not permit that change", _ripas_stop),
        Check("no_progress", "the first entry reaches beyond top", lambda c: True),
    ),
}  # fmt: skip
