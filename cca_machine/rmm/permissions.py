"""Stage 2 permissions of protected memory: labels, overlays, and what an entry keeps of them (DEN0137 2.0, planes).

An entry keeps seven bits from bit 52 up, zero being read, write and execute for the plane that uses the tree. With
direct encoding they are the effective permissions (read, write, two bits of execute-never); with indirect encoding the
overlay index and the base index. A label is what an overlay register holds for an index.
"""

from __future__ import annotations

from enum import IntEnum

from cca_machine.abi.rmi import Ripas
from cca_machine.abi.rsi2 import Label
from cca_machine.rmm.rtt import unassigned
from cca_machine.rmm.state import Realm

PERMISSION_SHIFT = 52
PERMISSION_MASK = 0x7F << PERMISSION_SHIFT
OVERLAY_INDICES = 15
"""Indices that a Realm may use; the one above is for unprotected memory."""
UNPROTECTED_INDEX = 15
READ, WRITE = 1, 2
_XN_SHIFT = 2
_XU_XP, _XU_XNP, _XNU_XNP, _XNU_XP = range(4)


class Base(IntEnum):
    """Base indices: what the Host side grants."""

    NO_ACCESS = 0
    RO = 1
    WO = 2
    RW = 3
    RW_X = 4


LABELS = frozenset(map(int, Label))
"""Label values that are not reserved."""

_EXECUTE_NEVER = {0: _XNU_XNP, 1: _XU_XNP, 2: _XNU_XP, 3: _XU_XP}
_FULL = READ | WRITE | _XU_XP << _XN_SHIFT


def effective(label: int, base: int) -> int:
    """Read, write and execute-never bits that a label leaves of a base index."""
    if label >= Label.RO:
        overlay = READ | (WRITE if label >= Label.RW else 0)
        never = _EXECUTE_NEVER[label & 3]
    else:
        overlay, never = (WRITE if label == Label.WO else 0), _XNU_XNP
    granted = {Base.RO: READ, Base.WO: WRITE, Base.RW: READ | WRITE, Base.RW_X: READ | WRITE}.get(Base(base), 0)
    return overlay & granted | (never if base == Base.RW_X else _XNU_XNP) << _XN_SHIFT


def label_of(overlay: int, index: int) -> int:
    """Label of `index` in an overlay register."""
    return overlay >> 4 * index & 0xF


def with_label(overlay: int, index: int, label: int) -> int:
    """The overlay register after `index` was given `label`, which spills upward if it is wider than four bits (F6)."""
    return (overlay & ~(0xF << 4 * index) | label << 4 * index) & 0xFFFF_FFFF_FFFF_FFFF


def initial_overlays(planes: int) -> list[int]:
    """Overlay registers by context after REALM_CREATE: P0 may do anything, the others nothing; unprotected is RW."""
    registers = []
    for context in range(planes):
        # Context c serves plane (c - 1) mod planes.
        label = Label.RW_X if (context - 1) % planes == 0 else Label.NO_ACCESS
        register = sum(int(label) << 4 * index for index in range(OVERLAY_INDICES))
        registers.append(register | Label.RW << 4 * UNPROTECTED_INDEX)
    return registers


def entry_bits(realm: Realm, context: int, overlay_index: int, base: int = Base.RW_X) -> int:
    """Permission bits of an entry with these indices in the tree of `context`."""
    if realm.planes.indirect:
        return (overlay_index | (base ^ Base.RW_X) << 4) << PERMISSION_SHIFT
    label = label_of(realm.planes.overlays[context], overlay_index)
    return (effective(label, base) ^ _FULL) << PERMISSION_SHIFT


def default_bits(realm: Realm, context: int = 0) -> int:
    """Permission bits of protected memory that nobody has said anything about: index 0."""
    return entry_bits(realm, context, 0) if realm.planes.overlays else 0


def base_of(entry: int) -> int:
    """Base index in an entry with indirect encoding."""
    return entry >> PERMISSION_SHIFT + 4 & 7 ^ Base.RW_X


def granted(realm: Realm, plane: int, entry: int) -> int:
    """Read, write and execute-never bits that a protected entry leaves to `plane`."""
    bits = entry >> PERMISSION_SHIFT & 0x7F
    if not realm.planes.indirect:
        return bits & 0xF ^ _FULL
    overlay = realm.planes.overlays[realm.planes.context_of(plane)]
    return effective(label_of(overlay, bits & 0xF), base_of(entry))


def destroyed_entry(realm: Realm, context: int = 0) -> int:
    """A protected entry whose memory was taken away: permissions are back to the default."""
    return unassigned(Ripas.DESTROYED) | default_bits(realm, context)
