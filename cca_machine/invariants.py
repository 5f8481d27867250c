"""Truths about a machine that no sequence of calls may break, as one list (DEN0137 1.0-rel0 and 2.0-bet0, part A).

`violations` looks at one moment, `regressions` at two moments in order. Both are for tests, checkers and chaos runs:
they read everything, and cost accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from cca_machine.abi.rmi import Ripas
from cca_machine.hardware.address import GRANULE_BYTES, GRANULE_SHIFT, ZERO_GRANULE
from cca_machine.hardware.gpt import Gpi
from cca_machine.hardware.state import HardwareState
from cca_machine.ownership import leaves, owners, trees_of
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.mecid import FIRST_PRIVATE, SHARED
from cca_machine.rmm.rtt import (
    LIVE,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    Kind,
    address_of,
    kind_of,
    ripas_of,
    size,
    walk,
)
from cca_machine.rmm.state import Realm, RealmState, RmmState


class Violation(NamedTuple):
    """A broken invariant and where."""

    invariant: str
    what: str


Check = Callable[[RmmState, HardwareState], Iterator[str]]
Regression = Callable[[RmmState, RmmState], Iterator[str]]


def violations(state: RmmState, hardware: HardwareState) -> list[Violation]:
    """Every invariant that does not hold now."""
    return [Violation(name, what) for name, check in INVARIANTS.items() for what in check(state, hardware)]


def regressions(before: RmmState, after: RmmState) -> list[Violation]:
    """Every invariant about time that `after` breaks, given that it follows `before`."""
    return [Violation(name, what) for name, check in REGRESSIONS.items() for what in check(before, after)]


def _one_world_per_granule(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    realm_runs = [(base, count) for base, count, gpi in hardware.gpt.granules.runs() if gpi == Gpi.REALM]
    for base, count, value in state.granules.runs():
        if hardware.gpt.run_length(base, Gpi.REALM, count) != count:
            yield f"{count} granules at {base:#x} are {GranuleState(value).name} but not all in the Realm world"
    for base, count in realm_runs:
        if state.granules.run_length(base, GranuleState.UNDELEGATED, 1):
            yield f"granule {base:#x} of a run of {count} is in the Realm world but UNDELEGATED"
    delegated = sum(count for _, count, _ in state.granules.runs())
    if delegated != sum(count for _, count in realm_runs):
        yield "the granule table and the GPT count different numbers of Realm granules"


def _one_owner_per_granule(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    seen: dict[int, int] = {}
    owned = 0
    for base, count, expected in owners(state):
        owned += count
        if state.granules.run_length(base, expected, count) != count:
            yield f"{count} granules at {base:#x} should be {expected.name}"
        for pa in range(base, base + count * GRANULE_BYTES, GRANULE_BYTES):
            seen[pa] = seen.get(pa, 0) + 1
            if seen[pa] == 2:
                yield f"granule {pa:#x} has two owners"
    in_use = sum(count for _, count, value in state.granules.runs() if value != GranuleState.DELEGATED)
    if in_use != owned:
        yield f"{in_use} granules are in use, {owned} are owned"


def _delegated_is_empty(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for granule, page in hardware.memory.contents.items():
        pa = granule << GRANULE_SHIFT
        if state.granules.get(pa) == GranuleState.DELEGATED and page != ZERO_GRANULE:
            yield f"DELEGATED granule {pa:#x} still has contents"


def _vmids_are_unique(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    held = [(vmid, rd) for rd, realm in state.realms.items() for vmid in realm.planes.vmids or [realm.vmid]]
    if dict(held) != state.vmids or len(state.vmids) != len(held):
        yield "VMIDs in use are not those of the Realms and their planes, one each"


def _contexts_are_private(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    private = {realm.mecid: rd for rd, realm in state.realms.items() if realm.mecid >= FIRST_PRIVATE}
    own = [realm for realm in state.realms.values() if realm.mecid >= FIRST_PRIVATE]
    if private != state.mec.private or len(private) != len(own):
        yield "private MECIDs in use are not those of the Realms, one each"
    if state.mec.shared != sum(realm.mecid == SHARED for realm in state.realms.values()):
        yield f"{state.mec.shared} Realms are counted in the shared memory encryption context"


def _auxiliary_trees_follow(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    counted: dict[int, int] = {}
    for rd, realm in state.realms.items():
        for tree in trees_of(realm)[1:]:
            for leaf in leaves(state, realm, tree):
                if kind_of(leaf.entry) is not Kind.ASSIGNED:
                    continue
                for offset in range(0, leaf.entries * size(leaf.level), GRANULE_BYTES):
                    ipa, pa = leaf.ipa + offset, address_of(leaf.entry) + offset
                    counted[pa] = counted.get(pa, 0) + 1
                    first = walk(state.tables, realm.rtt_base, realm.rtt_level_start, ipa, PAGE_LEVEL)
                    mapped = address_of(first.entry) + (ipa & size(first.level) - 1)
                    if kind_of(first.entry) is not Kind.ASSIGNED or mapped != pa:
                        yield f"tree {tree} of Realm {rd:#x} maps {pa:#x} at IPA {ipa:#x}, the primary tree does not"
    if counted != state.references:
        yield "references to DATA granules are not those of auxiliary trees"


def _held_entries_have_an_operation(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for pa, table in state.tables.items():
        for first, _, entry in table.runs():
            if kind_of(entry) not in (Kind.DRAINING, Kind.DRAINING_NS):
                continue
            operation = state.operations.get(address_of(entry) >> GRANULE_SHIFT)
            work = None if operation is None else operation.mapping or operation.unmapping
            if work is None or work.table_pa != pa:
                yield f"entry {first} of table {pa:#x} is held by no operation"


def _recs_are_counted(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for rd, realm in state.realms.items():
        indices = [rec.index for rec in state.recs.values() if rec.rd == rd]
        if len(indices) != realm.num_recs or len(set(indices)) != len(indices):
            yield f"Realm {rd:#x} counts {realm.num_recs} RECs and has indices {sorted(indices)}"
        if any(index >= realm.rec_index for index in indices):
            yield f"Realm {rd:#x} has a REC beyond index {realm.rec_index}"
    for pa, rec in state.recs.items():
        if rec.rd not in state.realms:
            yield f"REC {pa:#x} belongs to no Realm"
        if rec.running:
            yield f"REC {pa:#x} is running although no call is under way"


def _requests_stay_in_range(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for pa, rec in state.recs.items():
        request = rec.ripas
        if request is not None and not request.base <= request.address <= request.top:
            yield f"REC {pa:#x} has a RIPAS request at {request.address:#x} outside its range"
        wanted = rec.permissions
        if wanted is not None and not 0 <= wanted.base <= wanted.top:
            yield f"REC {pa:#x} has a permission request at {wanted.base:#x} outside its range"
        if rec.active_plane >= max(state.realms[rec.rd].planes.count, 1) or rec.active_plane in rec.planes:
            yield f"REC {pa:#x} runs plane {rec.active_plane}, which is not there or waits"
        if rec.psci_pending and rec.host_call_ipa is not None:
            yield f"REC {pa:#x} waits for two answers"


def _entries_fit_their_place(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for rd, realm in state.realms.items():
        for leaf in (leaf for tree in trees_of(realm) for leaf in leaves(state, realm, tree)):
            kind, where = kind_of(leaf.entry), f"Realm {rd:#x} at IPA {leaf.ipa:#x}"
            shared = kind in (Kind.UNASSIGNED_NS, Kind.ASSIGNED_NS, Kind.DRAINING_NS)
            top = leaf.ipa + leaf.entries * size(leaf.level)
            if leaf.ipa < 1 << realm.ipa_width and shared != (leaf.ipa >= realm.half):
                yield f"{where}: {kind.name} on the wrong side"
            if not shared and top > realm.half:
                yield f"{where}: protected entries reach into the unprotected half"
            if kind in (Kind.ASSIGNED, Kind.ASSIGNED_NS):
                if not MIN_BLOCK_LEVEL <= leaf.level <= PAGE_LEVEL or address_of(leaf.entry) % size(leaf.level):
                    yield f"{where}: no block of level {leaf.level} at {address_of(leaf.entry):#x}"
                if not realm.lpa2 and address_of(leaf.entry) >> 48:
                    yield f"{where}: address wider than 48 bits"


def _tables_are_counted(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    aux_roots = {
        base + index * GRANULE_BYTES
        for realm in state.realms.values()
        for base in realm.planes.aux_rtt_base
        for index in range(realm.rtt_num_start)
    }
    for pa, table in state.tables.items():
        runs = list(table.runs())
        live = sum(end - first for first, end, entry in runs if LIVE[kind_of(entry)])
        if pa in aux_roots:  # a block of Host memory that is shared with the primary tree counts there
            live += sum(end - first for first, end, entry in runs if kind_of(entry) is Kind.ASSIGNED_NS)
        if live != table.live:
            yield f"table {pa:#x} counts {table.live} live entries and has {live}"
        for (first, _, entry), (second, _, following) in pairwise(runs):
            if entry + (second - first) * table.step(entry) == following:
                yield f"table {pa:#x} has a run cut at entry {second}"
        if table.level == PAGE_LEVEL and any(kind_of(entry) is Kind.TABLE for _, _, entry in runs):
            yield f"table {pa:#x} of the last level points to tables"


def _measurements_are_padded(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for rd, realm in state.realms.items():
        for index, register in enumerate(realm.measurements):
            if len(register) != 64 or register[digest_size(realm.hash_algo) :].strip(b"\0"):
                yield f"measurement {index} of Realm {rd:#x} is not a padded digest"


def _realms_move_forward(before: RmmState, after: RmmState) -> Iterator[str]:
    for rd, old, new in _surviving(before, after):
        if new.state < old.state:
            yield f"Realm {rd:#x} went from {old.state.name} back to {new.state.name}"
        if new.rec_index < old.rec_index:
            yield f"Realm {rd:#x} forgot RECs"


def _rim_is_frozen(before: RmmState, after: RmmState) -> Iterator[str]:
    for rd, old, new in _surviving(before, after):
        if old.state is not RealmState.NEW and old.measurements[RIM] != new.measurements[RIM]:
            yield f"RIM of Realm {rd:#x} changed after activation"


def _parameters_never_change(before: RmmState, after: RmmState) -> Iterator[str]:
    fixed = ("ipa_width", "flags", "hash_algo", "rtt_base", "rtt_level_start", "rtt_num_start", "rpv", "vmid")
    for rd, old, new in _surviving(before, after):
        for name in fixed:
            if getattr(old, name) != getattr(new, name):
                yield f"{name} of Realm {rd:#x} changed"


def _ram_is_never_given_by_the_host(before: RmmState, after: RmmState) -> Iterator[str]:
    waiting = {rec.rd for rec in before.recs.values() if rec.ripas is not None}
    for rd, old, new in _surviving(before, after):
        if old.state is RealmState.NEW or rd in waiting:
            continue
        grown = _ram_bytes(after, new) - _ram_bytes(before, old)
        if grown > 0:
            yield f"{grown} bytes of Realm {rd:#x} became RAM without being asked for"


def _ram_bytes(state: RmmState, realm: Realm) -> int:
    protected = (Kind.UNASSIGNED, Kind.ASSIGNED, Kind.DRAINING)
    return sum(
        leaf.entries * size(leaf.level)
        for leaf in leaves(state, realm)
        if kind_of(leaf.entry) in protected and ripas_of(leaf.entry) == Ripas.RAM
    )


def _surviving(before: RmmState, after: RmmState) -> Iterator[tuple[int, Realm, Realm]]:
    for rd, old in before.realms.items():
        new = after.realms.get(rd)
        if new is not None:
            yield rd, old, new


INVARIANTS: dict[str, Check] = {
    "one-world-per-granule": _one_world_per_granule,
    "one-owner-per-granule": _one_owner_per_granule,
    "delegated-is-empty": _delegated_is_empty,
    "vmids-are-unique": _vmids_are_unique,
    "contexts-are-private": _contexts_are_private,
    "auxiliary-trees-follow": _auxiliary_trees_follow,
    "held-entries-have-an-operation": _held_entries_have_an_operation,
    "recs-are-counted": _recs_are_counted,
    "requests-stay-in-range": _requests_stay_in_range,
    "entries-fit-their-place": _entries_fit_their_place,
    "tables-are-counted": _tables_are_counted,
    "measurements-are-padded": _measurements_are_padded,
}
"""What holds whenever no call is under way."""

REGRESSIONS: dict[str, Regression] = {
    "realms-move-forward": _realms_move_forward,
    "rim-is-frozen": _rim_is_frozen,
    "parameters-never-change": _parameters_never_change,
    "ram-is-never-given-by-the-host": _ram_is_never_given_by_the_host,
}
"""What holds from one moment to a later one; the earlier state must be a copy. Pairs should be one call apart."""
