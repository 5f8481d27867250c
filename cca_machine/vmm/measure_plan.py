"""The RIM of a Realm as the host of a machine would build it, on an RMM of its own: no EL3 secrets, no guest."""

from __future__ import annotations

from cca_machine.abi.rmi2 import VERSION_2_0
from cca_machine.costs import CALLS, Meter, reference_timing
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.state import HardwareState
from cca_machine.host.buffers import HostMemory
from cca_machine.host.build import Builder
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door
from cca_machine.host.fronts.choice import FRONTS
from cca_machine.layout import LoadPlan
from cca_machine.rmm.features import EDITION_2_0, RmmFeatures
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.quirks import EDITION_QUIRKS
from cca_machine.rmm.replay_ports import FixedLengthTokens, ReplayEl3, ScriptedGuest
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import RmmState

DRAM_BASE = 0x8_8000_0000
HOST_BYTES = 2 << 20
ROOM_BYTES = 64 << 20
"""Room for tables, RECs and whatever else a Realm takes besides its memory."""

VMID = 1


def measure_plan(plan: LoadPlan, edition: str, quirks: str) -> bytes:
    """RIM of the Realm of `plan` under an RMM of this edition and quirk set, at its digest's length.

    Raises:
        Refusal: that RMM does not build such a Realm.
    """
    bank = Bank(DRAM_BASE, HOST_BYTES + plan.ram_bytes + ROOM_BYTES)
    hardware, state = HardwareState.build((bank,)), RmmState.boot((bank,))
    features = RmmFeatures(edition=EDITION_2_0, rmi_versions=(VERSION_2_0,)) if edition == EDITION_2_0 else None
    rmm = Rmm(
        state, hardware, ReplayEl3(hardware), ScriptedGuest(hardware), features, EDITION_QUIRKS[edition][quirks],
        FixedLengthTokens((0, 0, 0)),
    )  # fmt: skip
    buffers = HostMemory(bank.base, HOST_BYTES // GRANULE_BYTES)
    pool = GranulePool([(bank.base + HOST_BYTES, (bank.size - HOST_BYTES) // GRANULE_BYTES)])
    front = FRONTS[edition](Door(rmm, hardware.memory, Meter(reference_timing(), CALLS[edition])), buffers)
    front.boot()
    realm = state.realms[Builder(front, pool, buffers, plan, VMID).build().rd]
    return realm.measurements[RIM][: digest_size(realm.hash_algo)]
