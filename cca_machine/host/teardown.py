"""The RMI calls that take a Realm apart, built wholly or in part, and bring every granule back (section 13, row 3).

DATA_DESTROY over what is assigned, led by the `top` that the RMM answers; blocks are unfolded first. Then tables from
the bottom up, RECs, the Realm, and every granule back to the normal world. A refusal here is no answer a host could
live with: it would leak memory for good, so it stops the run.
"""

from __future__ import annotations

from cca_machine.abi.rmi import Rmi
from cca_machine.abi.smc import NOT_SUPPORTED, Registers
from cca_machine.errors import BrokenPromise
from cca_machine.hardware.address import GRANULE_BYTES, align_down
from cca_machine.host.donor import GranulePool
from cca_machine.host.door import Door, RmiRefusal, missing_level
from cca_machine.host.footprint import BLOCK_BYTES, PAGE_LEVEL, Footprint, Span


def dismantle(door: Door, pool: GranulePool, footprint: Footprint) -> None:
    """Destroy the Realm and return its granules to `pool` at once; the footprint is empty afterwards."""
    release(pool, destroy(door, pool, footprint))


def destroy(door: Door, pool: GranulePool, footprint: Footprint) -> list[tuple[int, int]]:
    """Destroy the Realm; its granules are back in the normal world, wiped by the RMM, and listed for `release`.

    Raises:
        BrokenPromise: the RMM refused a call of the sequence.
    """
    try:
        if footprint.created:
            for span in list(footprint.data):
                _destroy_data(door, pool, footprint, span)
            _destroy_tables(door, footprint)
            for rec in footprint.recs:
                door.rmi(Rmi.REC_DESTROY, rec.rec)
            door.rmi(Rmi.REALM_DESTROY, footprint.rd)
        for base, count in footprint.delegated.runs:
            door.rmi_run(Rmi.GRANULE_UNDELEGATE, (base,), (GRANULE_BYTES,), count)
    except RmiRefusal as refusal:
        if refusal.x0 == NOT_SUPPORTED:
            raise
        raise BrokenPromise(f"teardown was refused: {refusal}") from refusal
    for span in footprint.shared:
        door.wipe(span.pa, span.count)
    granules = list(footprint.taken.runs)
    fresh = Footprint.empty()
    for field in Footprint.__struct_fields__:
        setattr(footprint, field, getattr(fresh, field))
    return granules


def release(pool: GranulePool, granules: list[tuple[int, int]]) -> None:
    """Give runs back to the pool."""
    for base, count in granules:
        pool.give(base, count)


def _destroy_data(door: Door, pool: GranulePool, footprint: Footprint, span: Span) -> None:
    ipa = span.ipa
    while ipa < span.top:
        count = (span.top - ipa) // GRANULE_BYTES
        done, last = door.ask_run(Rmi.DATA_DESTROY, (footprint.rd, ipa), (0, GRANULE_BYTES), count)
        ipa += done * GRANULE_BYTES
        if done == count:
            return
        top = last[2]
        if missing_level(last[0]) is None:
            raise RmiRefusal(Rmi.DATA_DESTROY, last[0], (footprint.rd, ipa))
        ipa = _destroy_blocks(door, pool, footprint, ipa, span.top) if top == ipa else max(top, ipa + GRANULE_BYTES)


def _destroy_blocks(door: Door, pool: GranulePool, footprint: Footprint, ipa: int, top: int) -> int:
    """Unfold the run of blocks at `ipa`, as many as there are granules for tables, and destroy all of it."""
    per_block = BLOCK_BYTES // GRANULE_BYTES
    if ipa % BLOCK_BYTES:
        raise BrokenPromise(f"a block begins inside IPA {ipa:#x}")
    wanted = (top - ipa) // BLOCK_BYTES
    tables, count = _granules_for_tables(door, pool, footprint, wanted)
    args = (footprint.rd, tables, ipa, PAGE_LEVEL)
    made, last = door.ask_run(Rmi.RTT_CREATE, args, (0, GRANULE_BYTES, BLOCK_BYTES, 0), count)
    if not made:
        raise RmiRefusal(Rmi.RTT_CREATE, last[0], args)
    door.rmi_run(Rmi.DATA_DESTROY, (footprint.rd, ipa), (0, GRANULE_BYTES), made * per_block)
    door.rmi_run(Rmi.RTT_DESTROY, (footprint.rd, ipa, PAGE_LEVEL), (0, BLOCK_BYTES, 0), made)
    return ipa + made * BLOCK_BYTES


def _granules_for_tables(door: Door, pool: GranulePool, footprint: Footprint, wanted: int) -> tuple[int, int]:
    """A delegated run for up to `wanted` tables: free memory if there is some, else the one spare granule kept back."""
    count = wanted
    while count > 1:
        base = pool.take(count)
        if base is not None:
            footprint.taken.give(base, count)
            door.rmi_run(Rmi.GRANULE_DELEGATE, (base,), (GRANULE_BYTES,), count)
            footprint.delegated.give(base, count)
            return base, count
        count //= 2
    if not footprint.spare:
        raise BrokenPromise("no granule is left to unfold a block with")
    return footprint.spare[-1], 1


def _destroy_tables(door: Door, footprint: Footprint) -> None:
    for table in sorted(footprint.tables, key=lambda table: (-table.level, table.ipa)):
        base = align_down(table.ipa, 1 << (39 - 9 * (table.level - 1)))
        result: Registers = door.rmi(Rmi.RTT_DESTROY, footprint.rd, base, table.level)
        footprint.spare.append(result[1])
    footprint.tables = []
