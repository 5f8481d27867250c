"""What the RMM holds, drawn for people."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cca_machine.abi.guest import RecView
from cca_machine.abi.rmi import ExitReason, HashAlgorithm, RecExit, Ripas
from cca_machine.abi.rmi2 import SHA_384, Rmi2
from cca_machine.hardware.address import GRANULE_BYTES
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.measurement import RIM, digest_size
from cca_machine.rmm.rtt import ENTRIES, KIND_MASK, MIN_LEVEL, Kind, Table, address_of, attributes_of, ripas_of, size
from cca_machine.rmm.state import Realm, RmmState

TEE, ELBOW, BAR, GAP = "├─ ", "└─ ", "│  ", "   "
MAX_LINES = 400
_HANDLE_SHIFT = 12
"""Where a held entry names its operation."""


HASHES = {**{int(hash_): hash_.name for hash_ in HashAlgorithm}, SHA_384: "SHA_384"}


def _later(realm: Realm) -> str:
    """What only a Realm of RMI 2.0 has."""
    planes = f", {realm.planes.aux} auxiliary plane(s)" if realm.planes.aux else ""
    return planes + (f", MECID {realm.mecid}" if realm.mecid else "")


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
        f"VMID {realm.vmid}, {HASHES[realm.hash_algo]}{_later(realm)}",
        f"  RIM {rim}",
        f"  RECs: {recs or 'none'}",
    ]


def trees(rd: int, realm: Realm, state: RmmState) -> list[str]:
    """The Realm's translation tables as trees; runs of alike entries are one line."""
    lines = [f"rd {rd:#x}, {realm.rtt_num_start} root table(s) at level {realm.rtt_level_start}"]
    lines += _tree(realm.rtt_base, realm, state)
    for number, base in enumerate(realm.planes.aux_rtt_base, 1):
        lines += [f"auxiliary tree {number}", *_tree(base, realm, state)]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"... {len(lines) - MAX_LINES} more lines"]
    return lines


def _tree(base: int, realm: Realm, state: RmmState) -> Iterator[str]:
    tables = dict(state.tables.items())
    for place in range(realm.rtt_num_start):
        last = place == realm.rtt_num_start - 1
        ipa = place * ENTRIES * size(realm.rtt_level_start)
        yield from _table(base + place * GRANULE_BYTES, ipa, tables, ELBOW if last else TEE, GAP if last else BAR)


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
    if kind in (Kind.UNASSIGNED, Kind.ASSIGNED, Kind.DRAINING):
        text += f" {Ripas(ripas_of(value)).name}"
    if kind in (Kind.ASSIGNED, Kind.ASSIGNED_NS):
        text += f" -> {address_of(value):#x}"
    if kind is Kind.ASSIGNED_NS:
        attributes = attributes_of(value)
        text += f" MemAttr {attributes & 7:#x} S2AP {attributes >> 3:#x}"
    if kind in (Kind.DRAINING, Kind.DRAINING_NS):
        text += f" held by operation {address_of(value) >> _HANDLE_SHIFT}"
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


def exit_text(out: RecExit, view: RecView | None) -> list[str]:
    """Why a REC left, and what the Realm saw last."""
    shown = {name: value for name, value in msgspec.structs.asdict(out).items() if isinstance(value, int) and value}
    shown.pop("exit_reason", None)
    details = "".join(f" {name}={value:#x}" for name, value in shown.items())
    lines = [f"    exit {ExitReason(out.exit_reason).name}{details}"]
    if any(out.gprs):
        lines.append(f"    exit gprs {' '.join(hex(value) for value in out.gprs[:8])}")
    if view is not None:
        lines.append(f"    Realm x0..x3 {' '.join(hex(value) for value in view.gprs[:4])}")
    return lines


def operations_text(state: RmmState) -> list[str]:
    """Stateful operations under way: which command began each, and what it waits for."""
    lines = []
    for handle, operation in sorted(state.operations.items()):
        began, waits = Rmi2(operation.command).name, Rmi2(operation.expected).name
        pages = f", {operation.wanted} granule(s) to move" if operation.wanted else ""
        lines.append(f"operation {handle}: {began}, waits for {waits}{pages}")
    return lines or ["no operation is under way"]
