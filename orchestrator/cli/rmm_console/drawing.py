"""What the RMM holds, drawn for people."""

from __future__ import annotations

from collections.abc import Iterator

from cca_machine.abi.rmi import HashAlgorithm, Ripas
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.rtt import ENTRIES, KIND_MASK, MIN_LEVEL, Kind, Table, address_of, attributes_of, ripas_of, size
from cca_machine.rmm.state import Realm, RmmState

TEE, ELBOW, BAR, GAP = "├─ ", "└─ ", "│  ", "   "
MAX_LINES = 400


def realm_text(rd: int, realm: Realm, state: RmmState) -> list[str]:
    """A Realm in a few lines."""
    rim = realm.measurements[RIM][: digest_size(realm.hash_algo)].hex()
    recs = ", ".join(
        f"{pa:#x} (index {rec.index}{'' if rec.runnable else ', not runnable'})"
        for pa, rec in sorted(state.recs.items())
        if rec.rd == rd
    )
    return [
        f"Realm {rd:#x}: {realm.state.name}, {realm.ipa_width} bits of IPA (unprotected from {realm.half:#x}), "
        f"VMID {realm.vmid}, {HashAlgorithm(realm.hash_algo).name}",
        f"  RIM {rim}",
        f"  RECs: {recs or 'none'}",
    ]


def tree(rd: int, realm: Realm, state: RmmState) -> list[str]:
    """The Realm's translation tables as a tree; runs of alike entries are one line."""
    lines = [f"rd {rd:#x}, {realm.rtt_num_start} root table(s) at level {realm.rtt_level_start}"]
    tables = dict(state.tables.items())
    roots = [realm.rtt_base + index * GRANULE_BYTES for index in range(realm.rtt_num_start)]
    for place, root in enumerate(roots):
        last = place == len(roots) - 1
        ipa = place * ENTRIES * size(realm.rtt_level_start)
        lines += _table(root, ipa, tables, ELBOW if last else TEE, GAP if last else BAR)
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"... {len(lines) - MAX_LINES} more lines"]
    return lines


def _table(pa: int, ipa: int, tables: dict[int, Table], joint: str, indent: str) -> Iterator[str]:
    table = tables[pa]
    yield f"{joint}level {table.level} table {pa:#x} from IPA {ipa:#x}"
    entries = list(_entries(table))
    for place, (first, count, value) in enumerate(entries):
        last = place == len(entries) - 1
        here, tail = (ELBOW, GAP) if last else (TEE, BAR)
        base = ipa + first * size(table.level)
        if value & KIND_MASK == Kind.TABLE:
            for line in _table(address_of(value), base, tables, here, tail):
                yield indent + line
        else:
            yield f"{indent}{here}{_leaf(value, base, base + count * size(table.level), table.level)}"


def _entries(table: Table) -> Iterator[tuple[int, int, int]]:
    """(first entry, how many, value); tables one by one."""
    limit = ENTRIES if table.level > MIN_LEVEL else 16
    for first, end, value in table.runs(0, limit):
        if value & KIND_MASK == Kind.TABLE:
            yield from ((index, 1, table.get(index)) for index in range(first, end))
        else:
            yield first, end - first, value


def _leaf(value: int, base: int, top: int, level: int) -> str:
    kind = Kind(value & KIND_MASK)
    text = f"{base:#x} .. {top:#x}  {kind.name}"
    if kind in (Kind.UNASSIGNED, Kind.ASSIGNED):
        text += f" {Ripas(ripas_of(value)).name}"
    if kind in (Kind.ASSIGNED, Kind.ASSIGNED_NS):
        text += f" -> {address_of(value):#x}"
    if kind is Kind.ASSIGNED_NS:
        attributes = attributes_of(value)
        text += f" MemAttr {attributes & 7:#x} S2AP {attributes >> 3:#x}"
    if kind in (Kind.ASSIGNED, Kind.ASSIGNED_NS) and level < 3:
        text += f" (level {level} block)"
    return text


def granules_text(state: RmmState) -> list[str]:
    """Granules that are not NS, as runs."""
    lines = [
        f"{base:#x} .. {base + count * GRANULE_BYTES:#x}  {count:>6}  {GranuleState(value).name}"
        for base, count, value in state.granules.runs()
    ]
    return lines or ["every granule is UNDELEGATED"]
