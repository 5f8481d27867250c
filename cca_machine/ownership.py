"""Who owns which granule: Realms, their trees and RECs, and stateful operations, read from the RMM's state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_SHIFT
from cca_machine.rmm.address_list import granules_of
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.operation import Operation, Stage
from cca_machine.rmm.rtt import ENTRIES, Kind, Table, address_of, kind_of, size, table_entry
from cca_machine.rmm.state import Realm, RmmState


class Leaf(NamedTuple):
    """A run of equal entries of a Realm's tree: `entries` entries at `level` from `ipa`, the first being `entry`."""

    ipa: int
    level: int
    entries: int
    entry: int


def leaves(state: RmmState, realm: Realm, tree: int = 0) -> Iterator[Leaf]:
    """All runs of one of a Realm's trees that are not tables themselves, in order of IPA per table."""
    for entry in _entries(state, realm, tree):
        if kind_of(entry.entry) is not Kind.TABLE:
            yield entry


def _entries(state: RmmState, realm: Realm, tree: int) -> Iterator[Leaf]:
    """Leaves, and entries that point to tables one by one."""
    level = realm.rtt_level_start
    for index in range(realm.rtt_num_start):
        root = state.tables[realm.root_of(tree) + index * GRANULE_BYTES]
        yield from _below(state, root, index * ENTRIES * size(level))


def _below(state: RmmState, table: Table, ipa: int) -> Iterator[Leaf]:
    step = size(table.level)
    for first, end, entry in table.runs():
        if kind_of(entry) is not Kind.TABLE:
            yield Leaf(ipa + first * step, table.level, end - first, entry)
            continue
        for index in range(first, end):
            child = address_of(entry) + (index - first) * GRANULE_BYTES
            yield Leaf(ipa + index * step, table.level, 1, table_entry(child))
            yield from _below(state, state.tables[child], ipa + index * step)


def trees_of(realm: Realm) -> range:
    """Numbers of a Realm's trees: 0, and one for each auxiliary plane that has its own."""
    return range(1 + len(realm.planes.aux_rtt_base))


def owners(state: RmmState) -> Iterator[tuple[int, int, GranuleState]]:
    """(PA, granules, state that they must be in) for everything that Realms and stateful operations own.

    The unprotected part of an auxiliary tree is the primary one's, and what it maps is the primary tree's too.
    """
    for rd, realm in state.realms.items():
        yield rd, 1, GranuleState.RD
        for tree in trees_of(realm):
            yield realm.root_of(tree), realm.rtt_num_start, GranuleState.RTT
            for entry in _entries(state, realm, tree):
                kind = kind_of(entry.entry)
                if kind is Kind.TABLE and not (tree and entry.ipa >= realm.half):
                    yield address_of(entry.entry), 1, GranuleState.RTT
                elif kind is Kind.ASSIGNED and not tree:
                    yield address_of(entry.entry), entry.entries * size(entry.level) >> GRANULE_SHIFT, GranuleState.DATA
    for pa, rec in state.recs.items():
        yield pa, 1, GranuleState.REC
        for aux in rec.aux:
            yield aux, 1, GranuleState.REC_AUX
    for operation in state.operations.values():
        yield from _held(operation)


def _held(operation: Operation) -> Iterator[tuple[int, int, GranuleState]]:
    """What a stateful operation owns between two of its steps (RMI 2.0)."""
    if operation.obj:
        yield operation.obj, 1, GranuleState.PARTIAL
        for aux in operation.granules[operation.moved if operation.stage >= Stage.RECLAIM else 0 :]:
            yield aux, 1, GranuleState.REC_AUX
    if operation.mapping is not None and operation.mapping.done:
        yield operation.mapping.pa, operation.mapping.done >> GRANULE_SHIFT, GranuleState.DATA
    if operation.unmapping is not None and operation.unmapping.protected:
        for pa in islice(granules_of(operation.descriptors), operation.unmapping.drained, None):
            yield pa, 1, GranuleState.DATA
