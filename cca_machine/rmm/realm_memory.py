"""How a Realm, and the RMM on its behalf, reaches memory through stage 2 (DEN0137 1.0-rel0, section A5.2)."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from cca_machine.abi.guest import RealmAccessFault
from cca_machine.abi.rmi import Ripas
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_MASK
from cca_machine.hardware.gpt import GranuleProtectionFault, World
from cca_machine.rmm.core import Core
from cca_machine.rmm.permissions import granted
from cca_machine.rmm.rtt import (
    ASSIGNED,
    ASSIGNED_NS,
    KIND_MASK,
    PAGE_LEVEL,
    address_of,
    attributes_of,
    ripas_of,
    size,
)
from cca_machine.rmm.state import Realm

S2AP_READ = 1
S2AP_WRITE = 2


class Reach(IntEnum):
    """What stage 2 says about an IPA."""

    PROTECTED = 0
    """Protected memory with RIPAS RAM."""
    SHARED = 1
    """An unprotected mapping to Host memory."""
    EMPTY = 2
    """Protected with RIPAS EMPTY: always an external abort inside the Realm."""
    MISSING = 3
    """Protected, RAM without memory or DESTROYED: the Host must act."""
    UNMAPPED = 4
    """Unprotected without a mapping: a device, as far as the Realm is concerned."""
    BEYOND = 5
    """Outside the IPA space."""


FULL_ACCESS = S2AP_READ | S2AP_WRITE
"""Read, write, and no bit of execute-never."""

NO_PRIVILEGED_EXECUTE = (1, 2)
"""Values of the two execute-never bits above that keep EL1 from executing (DDI0487, S2 descriptors with FEAT_XNX)."""


class Translation(msgspec.Struct, gc=False):
    """Result of a stage 2 translation; `pa` is meaningful for PROTECTED and SHARED, `access` for PROTECTED.

    `mecid` is that of stage 2 (VMECID): protected memory is read and written under it.
    """

    reach: Reach
    level: int
    pa: int = 0
    attributes: int = 0
    access: int = FULL_ACCESS
    mecid: int = 0

    def at(self, offset: int) -> Translation:
        """The same, `offset` bytes further on in the granule."""
        return Translation(self.reach, self.level, self.pa + offset, self.attributes, self.access, self.mecid)


def translate_for(core: Core, realm: Realm, plane: int, ipa: int) -> Translation:
    """Where `ipa` leads for software in `plane`: its own tree or overlay decides, the primary tree knows the RIPAS."""
    found = translate(core, realm, ipa)
    if not realm.planes.overlays or ipa >= realm.half or found.reach is not Reach.PROTECTED:
        return found
    own = core.walk_tree(realm, realm.planes.tree_of(plane), ipa, PAGE_LEVEL)
    if own.entry & KIND_MASK != ASSIGNED:
        return Translation(Reach.MISSING, own.level)
    found.level, found.access = own.level, granted(realm, plane, own.entry)
    return found


def may_execute(found: Translation) -> bool:
    """Whether an instruction fetch at EL1 passes."""
    return found.reach is Reach.PROTECTED and found.access >> 2 not in NO_PRIVILEGED_EXECUTE


def translate(core: Core, realm: Realm, ipa: int) -> Translation:
    """Where `ipa` leads at this moment; reaches `level` on the way."""
    if ipa >> realm.ipa_width:
        return Translation(Reach.BEYOND, realm.rtt_level_start)
    found = core.walk(realm, ipa, PAGE_LEVEL)
    kind = found.entry & KIND_MASK
    pa = address_of(found.entry) + (ipa & size(found.level) - 1)
    if ipa >= realm.half:
        if kind == ASSIGNED_NS:
            return Translation(Reach.SHARED, found.level, pa, attributes_of(found.entry))
        return Translation(Reach.UNMAPPED, found.level)
    ripas = ripas_of(found.entry)
    if ripas == Ripas.EMPTY:
        return Translation(Reach.EMPTY, found.level)
    if kind == ASSIGNED and ripas == Ripas.RAM:
        return Translation(Reach.PROTECTED, found.level, pa, mecid=realm.mecid)
    return Translation(Reach.MISSING, found.level)


def permits(found: Translation, write: bool) -> bool:
    """Whether a data access passes stage 2 permissions."""
    if found.reach is Reach.PROTECTED:
        return bool(found.access & (S2AP_WRITE if write else S2AP_READ))
    return found.reach is Reach.SHARED and bool(found.attributes >> 3 & (S2AP_WRITE if write else S2AP_READ))


def load(core: Core, found: Translation, size_bytes: int) -> bytes:
    """Read within one granule after a permitted translation.

    Raises:
        GranuleProtectionFault: shared memory that left the Non-secure world.
    """
    world = World.REALM if found.reach is Reach.PROTECTED else World.NS
    return core.memory.read(world, found.pa, size_bytes, found.mecid)


def store(core: Core, found: Translation, data: bytes) -> None:
    """Write within one granule after a permitted translation.

    Raises:
        GranuleProtectionFault: shared memory that left the Non-secure world.
    """
    world = World.REALM if found.reach is Reach.PROTECTED else World.NS
    core.memory.write(world, found.pa, data, found.mecid)


def read(core: Core, realm: Realm, ipa: int, count: int, plane: int = 0) -> bytes:
    """`count` bytes as the Realm reads them.

    Raises:
        RealmAccessFault: with the first IPA that cannot be read.
    """
    pieces = []
    for here, span in granules(ipa, count):
        found = translate_for(core, realm, plane, here)
        if not permits(found, False):
            raise RealmAccessFault(here)
        try:
            pieces.append(load(core, found, span))
        except GranuleProtectionFault:
            raise RealmAccessFault(here) from None
    return b"".join(pieces)


def write(core: Core, realm: Realm, ipa: int, data: bytes, plane: int = 0) -> None:
    """Store `data` as the Realm does, all or nothing.

    Raises:
        RealmAccessFault: with the first IPA that cannot be written.
    """
    places = []
    for here, span in granules(ipa, len(data)):
        found = translate_for(core, realm, plane, here)
        world = World.REALM if found.reach is Reach.PROTECTED else World.NS
        if not permits(found, True) or not core.memory.gpt.allows(world, found.pa):
            raise RealmAccessFault(here)
        places.append((found, here - ipa, span))
    for found, offset, span in places:
        store(core, found, data[offset : offset + span])


def granules(ipa: int, count: int) -> list[tuple[int, int]]:
    """(first IPA, bytes) of each granule that `count` bytes at `ipa` touch."""
    pieces = []
    while count > 0:
        span = min(GRANULE_BYTES - (ipa & GRANULE_MASK), count)
        pieces.append((ipa, span))
        ipa += span
        count -= span
    return pieces
