"""Verbs that build and run a Realm by RMI 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cca_machine.abi.rmi import (
    PAGE_BYTES,
    REC_EXIT,
    RUN_EXIT_OFFSET,
    RealmParams,
    RecEnter,
    RecExit,
    RecParams,
    Rmi,
    RmiStatus,
    index_of,
    status_of,
)
from cca_machine.rmm.edition_1_0.realm import root_tables_needed
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from orchestrator.cli.rmm_console import words as w
from orchestrator.cli.rmm_console.drawing import exit_text
from orchestrator.cli.rmm_console.session import Session
from orchestrator.cli.rmm_console.steps import Lines, Stopped, deeds, do, one, two
from orchestrator.errors import UserMistake

IPA_WIDTH, START_LEVEL = 40, 1
REALM_FIELDS = ("s2sz", "start", "roots", "hash", "vmid", "flags", "num_bps", "num_wps", "sve_vl", "pmu_num_ctrs")


def delegated(session: Session, lines: Lines, count: int = 1, align: int = 1) -> int:
    """Fresh DELEGATED granules."""
    base = session.granules(count, align)
    for pa in range(base, base + count * PAGE_BYTES, PAGE_BYTES):
        made = session.call(Rmi.GRANULE_DELEGATE, pa)
        if not made.good:
            lines.append(made.sentence())
            raise Stopped(lines)
    lines.append(f"GRANULE_DELEGATE of {count} granule(s) at {base:#x} -> SUCCESS")
    return base


def realm(session: Session, given: Sequence[str]) -> Lines:
    """realm [s2sz=40 start=1 hash=0 vmid=1 ..]: delegate granules and create a Realm; sets $rd."""
    lines: Lines = []
    fields = w.fields(given, session.names, REALM_FIELDS)
    width, start = fields.pop("s2sz", IPA_WIDTH), w.number(str(fields.pop("start", START_LEVEL)), {})
    start = start - (1 << 64) if start >> 63 else start
    roots = fields.pop("roots", root_tables_needed(min(width, 52), max(min(start, 3), -1)))
    if not 1 <= roots <= 16:
        raise UserMistake(f"{roots} root tables are no number of tables", "1 to 16")
    base = delegated(session, lines, roots, roots)
    rd = delegated(session, lines)
    values: dict[str, Any] = {"num_bps": 1, "num_wps": 1, "vmid": session.vmid(), "hash_algo": fields.pop("hash", 0)}
    values.update(fields)
    limits = {"flags": 64, "vmid": 16}
    for name, value in {**values, "s2sz": width}.items():
        if value >> limits.get(name, 8):
            raise UserMistake(f"{name}={value:#x} does not fit its field", f"{limits.get(name, 8)} bits")
    params = RealmParams(s2sz=width, rtt_base=base, rtt_level_start=start, rtt_num_start=roots, **values)
    page = session.host_page(params.encode())
    do(session, lines, Rmi.REALM_CREATE, rd, page)
    session.names["rd"] = rd
    return [*lines, f"$rd = {rd:#x}"]


def tables(session: Session, given: Sequence[str]) -> Lines:
    """tables IPA [LEVEL]: create the translation tables that are missing down to LEVEL (3)."""
    lines: Lines = []
    ipa, wanted = one(session, given, "tables IPA [LEVEL]"), PAGE_LEVEL
    if len(given) > 1:
        wanted = w.number(given[1], session.names)
    rd = session.named("rd")
    found = session.call(Rmi.RTT_READ_ENTRY, rd, ipa & -PAGE_BYTES, PAGE_LEVEL)
    if not found.good:
        raise Stopped([found.sentence()])
    level = found.x[1] - (1 << 64) if found.x[1] >> 63 else found.x[1]
    for below in range(level + 1, min(wanted, PAGE_LEVEL) + 1):
        do(session, lines, Rmi.RTT_CREATE, rd, delegated(session, lines), ipa & -size(below - 1), below)
    return lines or ["every table is there already"]


def ram(session: Session, given: Sequence[str]) -> Lines:
    """ram BASE TOP: RTT_INIT_RIPAS over a range, creating tables where it asks for them."""
    lines: Lines = []
    base, top = two(session, given, "ram BASE TOP")
    rd = session.named("rd")
    while base < top:
        made = session.call(Rmi.RTT_INIT_RIPAS, rd, base, top)
        lines.append(made.sentence())
        if status_of(made.x[0]) is RmiStatus.ERROR_RTT and index_of(made.x[0]) < PAGE_LEVEL:
            below = index_of(made.x[0]) + 1
            do(session, lines, Rmi.RTT_CREATE, rd, delegated(session, lines), base & -size(below - 1), below)
        elif not made.good:
            raise Stopped(lines)
        else:
            base = made.x[1]
    return lines or ["the range is empty"]


def page(session: Session, given: Sequence[str]) -> Lines:
    """page IPA [TEXT]: create a page with content (measured), or an unknown one once the Realm is active."""
    lines: Lines = []
    ipa = one(session, given, "page IPA [TEXT]")
    rd = session.named("rd")
    data = delegated(session, lines)
    if len(given) > 1:
        content = " ".join(given[1:]).encode()[:PAGE_BYTES]
        do(session, lines, Rmi.DATA_CREATE, rd, data, ipa, session.host_page(content), 1)
    else:
        do(session, lines, Rmi.DATA_CREATE_UNKNOWN, rd, data, ipa)
    return lines


def rec(session: Session, given: Sequence[str]) -> Lines:
    """rec [pc=0 flags=1]: create the next REC with its auxiliary granules; sets $rec."""
    lines: Lines = []
    fields = w.fields(given, session.names, ("pc", "flags"))
    rd = session.named("rd")
    owner = session.rmm.state.realms.get(rd)
    index = owner.rec_index if owner is not None else 0
    needed = do(session, lines, Rmi.REC_AUX_COUNT, rd).x[1]
    aux = delegated(session, lines, needed)
    params = RecParams(
        flags=fields.get("flags", 1), pc=fields.get("pc", 0), num_aux=needed,
        mpidr=index & 0xF | index >> 4 << 8, aux=tuple(aux + at * PAGE_BYTES for at in range(needed)),
    )  # fmt: skip
    granule = delegated(session, lines)
    do(session, lines, Rmi.REC_CREATE, rd, granule, session.host_page(params.encode()))
    session.names["rec"] = granule
    return [*lines, f"$rec = {granule:#x}"]


def activate(session: Session, given: Sequence[str]) -> Lines:
    """activate: REALM_ACTIVATE of $rd."""
    return [session.call(Rmi.REALM_ACTIVATE, session.named("rd")).sentence()]


def enter(session: Session, given: Sequence[str]) -> Lines:
    """enter [DEED , DEED ..]: REC_ENTER of $rec; deeds: rsi NAME ARGS, load IPA, store IPA, fetch IPA, say IPA TEXT."""
    done = deeds(session, given)
    run = session.host_page(RecEnter().encode())
    made = session.run(session.named("rec"), run, done)
    if not made.good:
        return [made.sentence()]
    out = RecExit.decode(session.read(run + RUN_EXIT_OFFSET, REC_EXIT.size))
    return [made.sentence(), *exit_text(out, session.realm.view)]


VERBS = {"realm": realm, "tables": tables, "ram": ram, "page": page, "rec": rec, "activate": activate, "enter": enter}
