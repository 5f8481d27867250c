"""Truths about a machine that no sequence of calls may break, as one list (DEN0137 1.0-rel0, part A).

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
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.rtt import (
    ENTRIES,
    LIVE,
    MIN_BLOCK_LEVEL,
    PAGE_LEVEL,
    Kind,
    Table,
    address_of,
    kind_of,
    ripas_of,
    size,
)
from cca_machine.rmm.state import Realm, RealmState, RmmState


class Violation(NamedTuple):
    """A broken invariant and where."""

    invariant: str
    what: str


class Leaf(NamedTuple):
    """A run of equal entries of a Realm's tree: `entries` entries at `level` from `ipa`, the first being `entry`."""

    ipa: int
    level: int
    entries: int
    entry: int


Check = Callable[[RmmState, HardwareState], Iterator[str]]
Regression = Callable[[RmmState, RmmState], Iterator[str]]


def violations(state: RmmState, hardware: HardwareState) -> list[Violation]:
    """Every invariant that does not hold now."""
    return [Violation(name, what) for name, check in INVARIANTS.items() for what in check(state, hardware)]


def regressions(before: RmmState, after: RmmState) -> list[Violation]:
    """Every invariant about time that `after` breaks, given that it follows `before`."""
    return [Violation(name, what) for name, check in REGRESSIONS.items() for what in check(before, after)]


def leaves(state: RmmState, realm: Realm) -> Iterator[Leaf]:
    """All runs of a Realm's translation tables that are not tables themselves, in order of IPA per table."""
    for index in range(realm.rtt_num_start):
        level = realm.rtt_level_start
        yield from _below(state, state.tables[realm.rtt_base + index * GRANULE_BYTES], index * ENTRIES * size(level))


def _below(state: RmmState, table: Table, ipa: int) -> Iterator[Leaf]:
    step = size(table.level)
    for first, end, entry in table.runs():
        if kind_of(entry) is not Kind.TABLE:
            yield Leaf(ipa + first * step, table.level, end - first, entry)
            continue
        for index in range(first, end):
            child = address_of(entry) + (index - first) * GRANULE_BYTES
            yield from _below(state, state.tables[child], ipa + index * step)


def owners(state: RmmState) -> Iterator[tuple[int, int, GranuleState]]:
    """(PA, granules, state that they must be in) for everything that Realms own."""
    for rd, realm in state.realms.items():
        yield rd, 1, GranuleState.RD
        yield realm.rtt_base, realm.rtt_num_start, GranuleState.RTT
        for leaf in leaves(state, realm):
            if kind_of(leaf.entry) is Kind.ASSIGNED:
                yield address_of(leaf.entry), leaf.entries * size(leaf.level) >> GRANULE_SHIFT, GranuleState.DATA
    for table in state.tables.values():
        for first, end, entry in table.runs():
            if kind_of(entry) is Kind.TABLE:
                yield address_of(entry), end - first, GranuleState.RTT
    for pa, rec in state.recs.items():
        yield pa, 1, GranuleState.REC
        for aux in rec.aux:
            yield aux, 1, GranuleState.REC_AUX


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
    if {realm.vmid: rd for rd, realm in state.realms.items()} != state.vmids or len(state.vmids) != len(state.realms):
        yield "VMIDs in use are not those of the Realms, one each"


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
        if rec.psci_pending and rec.host_call_ipa is not None:
            yield f"REC {pa:#x} waits for two answers"


def _entries_fit_their_place(state: RmmState, hardware: HardwareState) -> Iterator[str]:
    for rd, realm in state.realms.items():
        for leaf in leaves(state, realm):
            kind, where = kind_of(leaf.entry), f"Realm {rd:#x} at IPA {leaf.ipa:#x}"
            shared = kind in (Kind.UNASSIGNED_NS, Kind.ASSIGNED_NS)
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
    for pa, table in state.tables.items():
        runs = list(table.runs())
        live = sum(end - first for first, end, entry in runs if LIVE[kind_of(entry)])
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
    protected = (Kind.UNASSIGNED, Kind.ASSIGNED)
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
