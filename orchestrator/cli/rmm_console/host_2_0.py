"""Verbs that build, run and end a Realm by RMI 2.0: ranges, stateful operations, planes, the RMM's own life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cca_machine.abi.rmi import PAGE_BYTES, RUN_EXIT_OFFSET, index_of
from cca_machine.abi.rmi2 import (
    FLAGS1_TREE_PER_PLANE,
    MAX_AUX_PLANES,
    REC_EXIT_2_0,
    AddressType,
    MemoryRequest,
    RealmParams2,
    RecEnter2,
    RecExit2,
    RecParams2,
    Rmi2,
    Rmi2Status,
    incomplete,
)
from cca_machine.rmm.address_list import DELEGATED, descriptor
from cca_machine.rmm.edition_1_0.realm import root_tables_needed
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from cca_machine.rmm.state import RealmState
from orchestrator.cli.rmm_console import words as w
from orchestrator.cli.rmm_console.drawing import exit_text, operations_text
from orchestrator.cli.rmm_console.session import Call, Session
from orchestrator.cli.rmm_console.steps import Lines, Stopped, deeds, do, one, two
from orchestrator.errors import UserMistake

IPA_WIDTH, START_LEVEL = 40, 1
REALM_FIELDS = ("s2sz", "start", "roots", "hash", "flags", "flags1", "planes", "num_bps", "num_wps", "sve_vl")
NO_INTERRUPT = -1
LIMITS = {"flags": 64, "flags1": 64, "hash": 8}


def start(session: Session, given: Sequence[str]) -> Lines:
    """start: RMM_ACTIVATE; helpers do it by themselves."""
    return [session.call(Rmi2.RMM_ACTIVATE).sentence()]


def delegated(session: Session, lines: Lines, count: int = 1, align: int = 1) -> int:
    """Fresh DELEGATED granules."""
    if not session.rmm.state.active:
        do(session, lines, Rmi2.RMM_ACTIVATE)
    base = session.granules(count, align)
    here, top = base, base + count * PAGE_BYTES
    while here < top:
        here = do(session, lines, Rmi2.GRANULE_RANGE_DELEGATE, here, top).x[1]
    return base


def realm(session: Session, given: Sequence[str]) -> Lines:
    """realm [s2sz=40 start=1 hash=0 planes=0 flags1=2 ..]: delegate granules and create a Realm; sets $rd."""
    lines: Lines = []
    fields = w.fields(given, session.names, REALM_FIELDS)
    width, level = fields.pop("s2sz", IPA_WIDTH), w.number(str(fields.pop("start", START_LEVEL)), {})
    level = level - (1 << 64) if level >> 63 else level
    roots = fields.pop("roots", root_tables_needed(min(width, 52), max(min(level, 3), -1)))
    if not 1 <= roots <= 16:
        raise UserMistake(f"{roots} root tables are no number of tables", "1 to 16")
    planes = fields.pop("planes", 0)
    if planes > MAX_AUX_PLANES:
        raise UserMistake(f"a Realm has no {planes} auxiliary planes", f"0 to {MAX_AUX_PLANES}")
    values: dict[str, Any] = {"num_bps": 1, "num_wps": 1, "flags1": 2 if planes else 0, **fields}
    for name, value in {**values, "s2sz": width}.items():
        if value >> LIMITS.get(name, 32):
            raise UserMistake(f"{name}={value:#x} does not fit its field", f"{LIMITS.get(name, 32)} bits")
    values["hash_algo"] = values.pop("hash", 0)
    own_trees = planes if values["flags1"] & FLAGS1_TREE_PER_PLANE else 0
    bases = [delegated(session, lines, roots, roots) for _ in range(1 + own_trees)]
    rd = delegated(session, lines)
    params = RealmParams2(
        s2sz=width, rtt_base=bases[0], rtt_level_start=level, rtt_num_start=roots, num_aux_planes=planes,
        aux_rtt_base=tuple(bases[1:]), **values,
    )  # fmt: skip
    do(session, lines, Rmi2.REALM_CREATE, rd, session.host_page(params.encode()))
    session.names["rd"] = rd
    return [*lines, f"$rd = {rd:#x}"]


def tables(session: Session, given: Sequence[str]) -> Lines:
    """tables IPA [LEVEL [TREE]]: create the tables that are missing down to LEVEL (3), of an auxiliary tree too."""
    lines: Lines = []
    ipa, rest = one(session, given, "tables IPA [LEVEL [TREE]]"), [w.number(word, session.names) for word in given[1:3]]
    wanted, tree = [*rest, PAGE_LEVEL][0], [*rest[1:], 0][0]
    rd = session.named("rd")
    if tree:
        return _aux_tables(session, rd, ipa, min(wanted, PAGE_LEVEL), tree)
    found = session.call(Rmi2.RTT_READ_ENTRY, rd, ipa & -PAGE_BYTES, PAGE_LEVEL)
    if not found.good:
        raise Stopped([found.sentence()])
    level = found.x[1] - (1 << 64) if found.x[1] >> 63 else found.x[1]
    for below in range(level + 1, min(wanted, PAGE_LEVEL) + 1):
        _table(session, lines, ipa, below)
    return lines or ["every table is there already"]


def _table(session: Session, lines: Lines, ipa: int, level: int) -> None:
    rtt = delegated(session, lines)
    do(session, lines, Rmi2.RTT_CREATE, session.named("rd"), rtt, ipa & -size(level - 1), level)


def _aux_tables(session: Session, rd: int, ipa: int, wanted: int, tree: int) -> Lines:
    """Auxiliary tables cannot be read: those that are there already are refused, and passed over."""
    lines: Lines = []
    owner = session.rmm.state.realms.get(rd)
    first = owner.rtt_level_start + 1 if owner is not None else PAGE_LEVEL
    for level in range(first, wanted + 1):
        rtt = delegated(session, lines)
        made = session.call(Rmi2.RTT_AUX_CREATE, rd, rtt, ipa & -size(level - 1), level, tree)
        lines.append(made.sentence())
        if not made.good and made.x[0] != Rmi2Status.ERROR_RTT_AUX | level - 1 << 8:
            raise Stopped(lines)
    return lines or ["every table is there already"]


def _retry(session: Session, lines: Lines, made: Call, ipa: int) -> bool:
    """Whether a call failed for want of a table, which is there now; another refusal ends the helper."""
    lines.append(made.sentence())
    if made.good:
        return False
    if made.x[0] & 0xFF != Rmi2Status.ERROR_RTT or index_of(made.x[0]) >= PAGE_LEVEL:
        raise Stopped(lines)
    _table(session, lines, ipa, index_of(made.x[0]) + 1)
    return True


def ram(session: Session, given: Sequence[str]) -> Lines:
    """ram BASE TOP: RTT_INIT_RIPAS over a range, creating tables where it asks for them."""
    lines: Lines = []
    base, top = two(session, given, "ram BASE TOP")
    while base < top:
        made = session.call(Rmi2.RTT_INIT_RIPAS, session.named("rd"), base, top)
        if not _retry(session, lines, made, base):
            base = made.x[1]
    return lines or ["the range is empty"]


def page(session: Session, given: Sequence[str]) -> Lines:
    """page IPA [TEXT]: map a page with content (measured), or a zeroed one without."""
    lines: Lines = []
    ipa = one(session, given, "page IPA [TEXT]")
    rd = session.named("rd")
    data = delegated(session, lines)
    if len(given) > 1:
        content = session.host_page(" ".join(given[1:]).encode()[:PAGE_BYTES])
        do(session, lines, Rmi2.RTT_DATA_MAP_INIT, rd, data, ipa, content, 1)
    else:
        reached, flags = ipa, int(AddressType.SINGLE)
        while reached == ipa:
            block = descriptor(data, PAGE_LEVEL)
            made = session.call(Rmi2.RTT_DATA_MAP, rd, ipa, ipa + PAGE_BYTES & w.MASK64, flags, block)
            reached = _finish(session, lines, made).x[1]
            session.hardware.pes[0].irq_after = NO_INTERRUPT
    return lines


def share(session: Session, given: Sequence[str]) -> Lines:
    """share IPA: map a fresh Host page, readable and writable, at an unprotected IPA."""
    lines: Lines = []
    ipa = one(session, given, "share IPA")
    flags = int(AddressType.SINGLE) | 3 << 19
    target = session.granules()
    made = session.call(
        Rmi2.RTT_UNPROT_MAP,
        session.named("rd"),
        ipa,
        ipa + PAGE_BYTES & w.MASK64,
        flags,
        descriptor(target, PAGE_LEVEL),
    )
    lines.append(made.sentence())
    return lines


def unmap(session: Session, given: Sequence[str]) -> Lines:
    """unmap BASE TOP: RTT_DATA_UNMAP or RTT_UNPROT_UNMAP over a range, following out_top."""
    lines: Lines = []
    base, top = two(session, given, "unmap BASE TOP")
    rd = session.named("rd")
    owner = session.rmm.state.realms.get(rd)
    fid = Rmi2.RTT_UNPROT_UNMAP if owner is not None and base >= owner.half else Rmi2.RTT_DATA_UNMAP
    while base < top:
        made = _finish(session, lines, session.call(fid, rd, base, top, int(AddressType.SINGLE), 0))
        base = made.x[1] if made.x[1] > base else top
    return lines or ["the range is empty"]


def _finish(session: Session, lines: Lines, made: Call) -> Call:
    """A call that may leave an operation behind: the Host takes the interrupt, then OP_CONTINUE until it is done."""
    lines.append(made.sentence())
    handle = made.x[1]
    while made.good and made.x[0] == incomplete(MemoryRequest.NONE):
        session.hardware.pes[0].irq_after = NO_INTERRUPT
        made = session.call(Rmi2.OP_CONTINUE, handle, 0)
        lines.append(made.sentence())
    if not made.good:
        raise Stopped(lines)
    return made


def rec(session: Session, given: Sequence[str]) -> Lines:
    """rec [pc=0 flags=1]: create the next REC: donate what the operation asks for, and continue it; sets $rec."""
    lines: Lines = []
    fields = w.fields(given, session.names, ("pc", "flags"))
    rd = session.named("rd")
    owner = session.rmm.state.realms.get(rd)
    index = owner.rec_index if owner is not None else 0
    params = RecParams2(flags=fields.get("flags", 1), pc=fields.get("pc", 0), mpidr=index & 0xF | index >> 4 << 8)
    granule = delegated(session, lines)
    made = do(session, lines, Rmi2.REC_CREATE, rd, granule, session.host_page(params.encode()))
    handle, wanted = made.x[1], made.x[2] >> 2
    memory = descriptor(delegated(session, lines, wanted), PAGE_LEVEL, wanted, DELEGATED)
    do(session, lines, Rmi2.OP_MEM_DONATE, handle, session.host_page(memory.to_bytes(8, "little")), 1)
    _end(session, lines, handle)
    session.names["rec"] = granule
    return [*lines, f"$rec = {granule:#x}"]


def _end(session: Session, lines: Lines, handle: int) -> None:
    """Continue an operation to its end, and fetch what it gives back."""
    while True:
        made = do(session, lines, Rmi2.OP_CONTINUE, handle, 0)
        if made.x[0] != incomplete(MemoryRequest.RECLAIM):
            return
        do(session, lines, Rmi2.OP_MEM_RECLAIM, handle, session.granules(), PAGE_BYTES // 8)


def drop(session: Session, given: Sequence[str]) -> Lines:
    """drop: REC_DESTROY of $rec, and reclaim its memory."""
    lines: Lines = []
    made = do(session, lines, Rmi2.REC_DESTROY, session.named("rec"))
    do(session, lines, Rmi2.OP_MEM_RECLAIM, made.x[1], session.granules(), PAGE_BYTES // 8)
    _end(session, lines, made.x[1])
    del session.names["rec"]
    return lines


def activate(session: Session, given: Sequence[str]) -> Lines:
    """activate: REALM_ACTIVATE of $rd."""
    return [session.call(Rmi2.REALM_ACTIVATE, session.named("rd")).sentence()]


def destroy(session: Session, given: Sequence[str]) -> Lines:
    """destroy: REALM_TERMINATE of $rd unless it is a ZOMBIE, then REALM_DESTROY."""
    lines: Lines = []
    rd = session.named("rd")
    owner = session.rmm.state.realms.get(rd)
    if owner is None or owner.state is not RealmState.ZOMBIE:
        do(session, lines, Rmi2.REALM_TERMINATE, rd)
    do(session, lines, Rmi2.REALM_DESTROY, rd)
    del session.names["rd"]
    return lines


def enter(session: Session, given: Sequence[str]) -> Lines:
    """enter [DEED , DEED ..]: REC_ENTER of $rec; deeds: rsi NAME ARGS, load IPA, store IPA, fetch IPA, say IPA TEXT."""
    done = deeds(session, given)
    run = session.host_page(RecEnter2().encode())
    made = session.run(session.named("rec"), run, done)
    if not made.good:
        return [made.sentence()]
    out = RecExit2.decode(session.read(run + RUN_EXIT_OFFSET, REC_EXIT_2_0.size))
    return [made.sentence(), *exit_text(out, session.realm.view)]


def interrupt(session: Session, given: Sequence[str]) -> Lines:
    """irq [K|off]: after K looks at the interrupt status (0) one finds an interrupt; map and unmap may yield to it."""
    if given and given[0].lower() == "off":
        session.hardware.pes[0].irq_after = NO_INTERRUPT
        return ["no interrupt comes"]
    looks = w.number(given[0], session.names) if given else 0
    session.hardware.pes[0].irq_after = min(looks, 1 << 32)
    return [f"an interrupt comes after {looks} look(s), and stays until it is off"]


def operations(session: Session, given: Sequence[str]) -> Lines:
    """ops: stateful operations under way."""
    return operations_text(session.rmm.state)


VERBS = {
    "start": start, "realm": realm, "tables": tables, "ram": ram, "page": page, "share": share, "unmap": unmap,
    "rec": rec, "activate": activate, "enter": enter, "drop": drop, "destroy": destroy, "irq": interrupt,
    "ops": operations,
}  # fmt: skip
