"""Parameter pages from Host memory, as RMI 1.0 reads them."""

from __future__ import annotations

import struct

import msgspec

from cca_machine.abi.rmi import PAGE_BYTES, RealmParams
from cca_machine.hardware.address import GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm.core import Core
from cca_machine.rmm.edition_1_0.granule import UNDELEGATED, is_in

_WIDE_FIELDS = {"s2sz": 0x08, "sve_vl": 0x10, "num_bps": 0x18, "num_wps": 0x20, "pmu_num_ctrs": 0x28}
_FLAG_DEVICES = 1 << 3
_NUM_AUX_PLANES, _ATS_PLANE, _FLAGS_1 = 0x38, 0x440, 0x820
_FLAG_S2AP_INDIRECT = 1 << 1


def host_page(core: Core, address: int, size: int = PAGE_BYTES) -> bytes | None:
    """The first `size` bytes of a Host page, or None when it is not an accessible NS granule (the NS checks)."""
    if address & GRANULE_MASK or not is_in(core.granules, address, UNDELEGATED):
        return None
    try:
        return core.memory.read(World.NS, address, size)
    except GranuleProtectionFault:
        return None


def realm_params(core: Core, page: bytes) -> RealmParams | None:
    """Parameters of a Realm; None where firmware that already knows RMI 1.1 refuses one of its parameters (F4)."""
    params = RealmParams.decode(page)
    if not core.quirks.later_params_read:
        return params
    planes, ats_plane, flags_1 = (
        struct.unpack_from(code, page, offset)[0]
        for code, offset in (("<I", _NUM_AUX_PLANES), ("<Q", _ATS_PLANE), ("<Q", _FLAGS_1))
    )
    if params.flags & _FLAG_DEVICES or planes or ats_plane or flags_1 & _FLAG_S2AP_INDIRECT:
        return None
    wide = {name: struct.unpack_from("<I", page, offset)[0] for name, offset in _WIDE_FIELDS.items()}
    return msgspec.structs.replace(params, **wide)
