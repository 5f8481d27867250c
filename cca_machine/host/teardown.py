"""The steps that take a Realm apart, built wholly or in part, and bring every granule back (section 13, row 3).

What is assigned first, then tables from the bottom up, RECs, the Realm, and every granule back to the normal world. A
refusal here is no answer a host could live with: it would leak memory for good, so it stops the run.
"""

from __future__ import annotations

from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import align_down
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import RmiRefusal
from cca_machine.host.footprint import Footprint
from cca_machine.host.fronts.front import Front


def dismantle(front: Front, pool: GranulePool, footprint: Footprint) -> None:
    """Destroy the Realm and return its granules to `pool` at once; the footprint is empty afterwards."""
    release(pool, destroy(front, pool, footprint))


def destroy(front: Front, pool: GranulePool, footprint: Footprint) -> list[tuple[int, int]]:
    """Destroy the Realm; its granules are back in the normal world, wiped by the RMM, and listed for `release`.

    Raises:
        BrokenPromise: the RMM refused a call of the sequence.
    """
    try:
        if footprint.created:
            front.stop(footprint.rd)
            front.take_memory(pool, footprint)
            _destroy_tables(front, footprint)
            for rec in footprint.recs:
                front.destroy_rec(rec.rec)
            front.destroy_realm(footprint.rd)
        for base, count in footprint.delegated.runs:
            front.undelegate(base, count).whole()
    except RmiRefusal as refusal:
        if refusal.x0 == NOT_SUPPORTED:
            raise
        raise BrokenPromise(f"teardown was refused: {refusal}") from refusal
    for span in footprint.shared:
        front.door.wipe(span.pa, span.count)
    granules = list(footprint.taken.runs)
    fresh = Footprint.empty()
    for field in Footprint.__struct_fields__:
        setattr(footprint, field, getattr(fresh, field))
    return granules


def release(pool: GranulePool, granules: list[tuple[int, int]]) -> None:
    """Give runs back to the pool."""
    for base, count in granules:
        pool.give(base, count)


def _destroy_tables(front: Front, footprint: Footprint) -> None:
    for table in sorted(footprint.tables, key=lambda table: (-table.level, table.ipa)):
        base = align_down(table.ipa, 1 << (39 - 9 * (table.level - 1)))
        footprint.spare.append(front.destroy_table(footprint.rd, base, table.level))
    footprint.tables = []
