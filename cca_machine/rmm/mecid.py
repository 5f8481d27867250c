"""Memory encryption contexts: who gets which MECID (DEN0137 2.0-bet0; TF-RMM lib/mec).

Id 0 is the RMM's own, id 1 the single one that Realms share, the rest belong to one Realm each; the lowest free one is
taken. Keys are refreshed when a context gets its first and loses its last Realm, if EL3 offers that service.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cca_machine.rmm.core import Core

SYSTEM, SHARED, FIRST_PRIVATE = 0, 1, 2


@runtime_checkable
class MecServices(Protocol):
    """EL3 with RMM_MEC_REFRESH (rmm-el3-comms-spec)."""

    def mec_refresh(self, mecid: int, destroyed: bool) -> int:
        """Give `mecid` a new key; an `El3Status`, which the RMM ignores as TF-RMM does."""
        ...


def allocate(core: Core, rd: int, private: bool) -> int | None:
    """A MECID for a new Realm, or None when no private one is left; 0 on a machine without contexts."""
    mec, count = core.state.mec, core.features.later.mec_count
    if not count:
        return SYSTEM
    if not private:
        mec.shared += 1
        if mec.shared == 1:
            _refresh(core, SHARED, destroyed=False)
        return SHARED
    free = next((mecid for mecid in range(FIRST_PRIVATE, FIRST_PRIVATE + count) if mecid not in mec.private), None)
    if free is not None:
        mec.private[free] = rd
        _refresh(core, free, destroyed=False)
    return free


def release(core: Core, mecid: int) -> None:
    """The Realm that had `mecid` is gone."""
    mec = core.state.mec
    if mecid == SHARED:
        mec.shared -= 1
        if not mec.shared:
            _refresh(core, SHARED, destroyed=True)
    elif mec.private.pop(mecid, None) is not None:
        _refresh(core, mecid, destroyed=True)


def _refresh(core: Core, mecid: int, *, destroyed: bool) -> None:
    if isinstance(core.el3, MecServices):
        core.el3.mec_refresh(mecid, destroyed)
