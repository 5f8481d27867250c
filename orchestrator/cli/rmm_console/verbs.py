"""The verbs of the console: each takes the session and its words, and returns lines to print.

RMI commands by name are verbs too. Helpers do what a Host does around a call: take granules, delegate them, fill in
parameter pages; every call that they make is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cca_machine.abi.guest import Access, GuestEvent, Poke, Smc
from cca_machine.abi.rmi import (
    COMMANDS,
    PAGE_BYTES,
    REC_EXIT,
    RUN_EXIT_OFFSET,
    ExitReason,
    RealmParams,
    RecEnter,
    RecExit,
    RecParams,
    Rmi,
    RmiStatus,
    index_of,
    status_of,
)
from cca_machine.rmm.edition_1_0.conditions import TABLES
from cca_machine.rmm.edition_1_0.realm import root_tables_needed
from cca_machine.rmm.rtt import PAGE_LEVEL, size
from cca_machine.rmm.state import Realm
from orchestrator.cli.rmm_console import words as w
from orchestrator.cli.rmm_console.drawing import granules_text, realm_text, tree
from orchestrator.cli.rmm_console.session import Call, Session
from orchestrator.errors import UserMistake

Lines = list[str]
Verb = Callable[[Session, Sequence[str]], Lines]

IPA_WIDTH, START_LEVEL = 40, 1
REALM_FIELDS = ("s2sz", "start", "roots", "hash", "vmid", "flags", "num_bps", "num_wps", "sve_vl", "pmu_num_ctrs")


def execute(session: Session, line: str) -> Lines:
    """Do what a line says; raises UserMistake when it says nothing that can be done."""
    given = w.split(line)
    if not given:
        return []
    verb = VERBS.get(given[0].lower())
    if verb is not None:
        return verb(session, given[1:])
    return [smc(session, given).sentence()]


def smc(session: Session, given: Sequence[str]) -> Call:
    """One raw call: a command's name or function id, then register values, or `argument=value` in any order."""
    fid = w.command(given[0])
    names = COMMANDS[Rmi(fid)].arguments if fid in COMMANDS else ()
    values = [0] * len(names)
    for place, word in enumerate(given[1:]):
        key, equals, value = word.partition("=")
        if equals:
            if key not in names:
                raise UserMistake(f"{given[0]} has no argument {key}", f"arguments: {', '.join(names) or 'none'}")
            values[names.index(key)] = w.number(value, session.names)
        elif place < 7:
            values += [0] * (place + 1 - len(values))
            values[place] = w.number(word, session.names)
        else:
            raise UserMistake(f"{given[0]} has more words than registers", "x1 to x7")
    return session.call(fid, *values)


def _do(session: Session, lines: Lines, fid: Rmi, *args: int) -> Call:
    """A helper's call, printed; a refusal ends the helper."""
    made = session.call(fid, *args)
    lines.append(made.sentence())
    if not made.good:
        raise Stopped(lines)
    return made


class Stopped(Exception):
    """A helper's call was refused; what was printed so far."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines


def _delegated(session: Session, lines: Lines, count: int = 1, align: int = 1) -> int:
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
    base = _delegated(session, lines, roots, roots)
    rd = _delegated(session, lines)
    values: dict[str, Any] = {"num_bps": 1, "num_wps": 1, "vmid": session.vmid(), "hash_algo": fields.pop("hash", 0)}
    values.update(fields)
    limits = {"flags": 64, "vmid": 16}
    for name, value in {**values, "s2sz": width}.items():
        if value >> limits.get(name, 8):
            raise UserMistake(f"{name}={value:#x} does not fit its field", f"{limits.get(name, 8)} bits")
    params = RealmParams(s2sz=width, rtt_base=base, rtt_level_start=start, rtt_num_start=roots, **values)
    page = session.host_page(params.encode())
    _do(session, lines, Rmi.REALM_CREATE, rd, page)
    session.names["rd"] = rd
    return [*lines, f"$rd = {rd:#x}"]


def tables(session: Session, given: Sequence[str]) -> Lines:
    """tables IPA [LEVEL]: create the translation tables that are missing down to LEVEL (3)."""
    lines: Lines = []
    ipa, wanted = _one(session, given, "tables IPA [LEVEL]"), PAGE_LEVEL
    if len(given) > 1:
        wanted = w.number(given[1], session.names)
    rd = session.named("rd")
    found = session.call(Rmi.RTT_READ_ENTRY, rd, ipa & -PAGE_BYTES, PAGE_LEVEL)
    if not found.good:
        raise Stopped([found.sentence()])
    level = found.x[1] - (1 << 64) if found.x[1] >> 63 else found.x[1]
    for below in range(level + 1, min(wanted, PAGE_LEVEL) + 1):
        _do(session, lines, Rmi.RTT_CREATE, rd, _delegated(session, lines), ipa & -size(below - 1), below)
    return lines or ["every table is there already"]


def ram(session: Session, given: Sequence[str]) -> Lines:
    """ram BASE TOP: RTT_INIT_RIPAS over a range, creating tables where it asks for them."""
    if len(given) != 2:
        raise UserMistake("`ram` takes a range", "ram BASE TOP")
    lines: Lines = []
    base, top = (w.number(word, session.names) for word in given)
    rd = session.named("rd")
    while base < top:
        made = session.call(Rmi.RTT_INIT_RIPAS, rd, base, top)
        lines.append(made.sentence())
        if status_of(made.x[0]) is RmiStatus.ERROR_RTT and index_of(made.x[0]) < PAGE_LEVEL:
            below = index_of(made.x[0]) + 1
            _do(session, lines, Rmi.RTT_CREATE, rd, _delegated(session, lines), base & -size(below - 1), below)
        elif not made.good:
            raise Stopped(lines)
        else:
            base = made.x[1]
    return lines or ["the range is empty"]


def page(session: Session, given: Sequence[str]) -> Lines:
    """page IPA [TEXT]: create a page with content (measured), or an unknown one once the Realm is active."""
    lines: Lines = []
    ipa = _one(session, given, "page IPA [TEXT]")
    rd = session.named("rd")
    data = _delegated(session, lines)
    if len(given) > 1:
        content = " ".join(given[1:]).encode()[:PAGE_BYTES]
        _do(session, lines, Rmi.DATA_CREATE, rd, data, ipa, session.host_page(content), 1)
    else:
        _do(session, lines, Rmi.DATA_CREATE_UNKNOWN, rd, data, ipa)
    return lines


def rec(session: Session, given: Sequence[str]) -> Lines:
    """rec [pc=0 flags=1]: create the next REC with its auxiliary granules; sets $rec."""
    lines: Lines = []
    fields = w.fields(given, session.names, ("pc", "flags"))
    rd = session.named("rd")
    owner = session.rmm.state.realms.get(rd)
    index = owner.rec_index if owner is not None else 0
    needed = _do(session, lines, Rmi.REC_AUX_COUNT, rd).x[1]
    aux = _delegated(session, lines, needed)
    params = RecParams(
        flags=fields.get("flags", 1), pc=fields.get("pc", 0), num_aux=needed,
        mpidr=index & 0xF | index >> 4 << 8, aux=tuple(aux + at * PAGE_BYTES for at in range(needed)),
    )  # fmt: skip
    granule = _delegated(session, lines)
    _do(session, lines, Rmi.REC_CREATE, rd, granule, session.host_page(params.encode()))
    session.names["rec"] = granule
    return [*lines, f"$rec = {granule:#x}"]


def activate(session: Session, given: Sequence[str]) -> Lines:
    """activate: REALM_ACTIVATE of $rd."""
    return [session.call(Rmi.REALM_ACTIVATE, session.named("rd")).sentence()]


def enter(session: Session, given: Sequence[str]) -> Lines:
    """enter [DEED , DEED ..]: REC_ENTER of $rec; deeds: rsi NAME ARGS, load IPA, store IPA, fetch IPA, say IPA TEXT."""
    deeds, here = [], list(given)
    while here:
        cut = here.index(",") if "," in here else len(here)
        deeds.append(_deed(session, here[:cut]))
        here = here[cut + 1 :]
    run = session.host_page(RecEnter().encode())
    made = session.run(session.named("rec"), run, deeds)
    lines = [made.sentence()]
    if not made.good:
        return lines
    out = RecExit.decode(session.read(run + RUN_EXIT_OFFSET, REC_EXIT.size))
    shown = {name: value for name, value in msgspec.structs.asdict(out).items() if isinstance(value, int) and value}
    shown.pop("exit_reason", None)
    details = "".join(f" {name}={value:#x}" for name, value in shown.items())
    lines.append(f"    exit {ExitReason(out.exit_reason).name}{details}")
    if any(out.gprs):
        lines.append(f"    exit gprs {' '.join(hex(value) for value in out.gprs[:8])}")
    if session.realm.view is not None:
        lines.append(f"    Realm x0..x3 {' '.join(hex(value) for value in session.realm.view.gprs[:4])}")
    return lines


def _deed(session: Session, given: Sequence[str]) -> GuestEvent:
    if not given:
        raise UserMistake("there is nothing between the commas", "enter rsi VERSION 0x10000 , load 0x1000")
    kind, rest = given[0].lower(), given[1:]
    if kind in ("rsi", "smc") and rest:
        return Smc((w.rsi(rest[0]), *(w.number(word, session.names) for word in rest[1:8])))
    if kind in ("load", "fetch") and len(rest) == 1:
        return Access(ipa=w.number(rest[0], session.names), instruction=kind == "fetch")
    if kind == "store" and len(rest) == 1:
        return Access(ipa=w.number(rest[0], session.names), write=True)
    if kind == "say" and len(rest) > 1:
        ipa = w.number(rest[0], session.names)
        room = PAGE_BYTES - ipa % PAGE_BYTES
        return Poke(ipa, " ".join(rest[1:]).encode()[:room])
    raise UserMistake(
        f"a Realm cannot {' '.join(given)}", "rsi NAME ARGS, load IPA, store IPA, fetch IPA, say IPA TEXT"
    )


def draw(session: Session, given: Sequence[str]) -> Lines:
    """tree [RD]: the Realm's translation tables, drawn."""
    rd = w.number(given[0], session.names) if given else session.named("rd")
    return tree(rd, _realm(session, rd), session.rmm.state)


def show(session: Session, given: Sequence[str]) -> Lines:
    """realms: every Realm with its RIM and RECs."""
    found = sorted(session.rmm.state.realms.items())
    return [line for rd, one in found for line in realm_text(rd, one, session.rmm.state)] or ["there is no Realm"]


def granules(session: Session, given: Sequence[str]) -> Lines:
    """granules: every granule that is not UNDELEGATED, as runs."""
    return granules_text(session.rmm.state)


def because(session: Session, given: Sequence[str]) -> Lines:
    """why: which condition of which table refused the last refused call."""
    call = session.last_refusal()
    if call is None or call.reason is None:
        return ["no call was refused"]
    lines = [call.sentence().splitlines()[0]]
    table = TABLES.get(Rmi(call.fid)) if call.fid in COMMANDS else None
    for check in table or ():
        if check.name == call.reason.condition:
            lines.append(f"  -> {check.name}: {check.says}")
            break
        lines.append(f"     {check.name}: passed")
    else:
        lines.append(f"  -> {call.reason.condition}: {call.reason.says}")
    if call.reason.also:
        lines.append(f"     also true: {', '.join(call.reason.also)}")
    return lines


def set_name(session: Session, given: Sequence[str]) -> Lines:
    """set NAME VALUE: call a number $NAME."""
    if len(given) != 2 or not given[0].isidentifier():
        raise UserMistake("`set` takes a name and a number", "set rd 0x880000000")
    session.names[given[0]] = w.number(given[1], session.names)
    return [f"${given[0]} = {session.names[given[0]]:#x}"]


def write(session: Session, given: Sequence[str]) -> Lines:
    """write PA HEX: the Host writes its memory."""
    pa = _one(session, given, "write PA HEX")
    try:
        content = bytes.fromhex("".join(given[1:]))
    except ValueError:
        raise UserMistake("that is no hexadecimal text", "write 0x880000000 00ff") from None
    session.write(pa, content)
    return [f"{len(content)} bytes at {pa:#x}"]


def read(session: Session, given: Sequence[str]) -> Lines:
    """read PA [N]: what the Host reads there (64 bytes)."""
    pa = _one(session, given, "read PA [N]")
    count = w.number(given[1], session.names) if len(given) > 1 else 64
    if count > PAGE_BYTES:
        raise UserMistake("that is more than a page", "read PA 4096")
    content = session.read(pa, count)
    return [f"{pa + at:#x}  {content[at : at + 16].hex(' ')}" for at in range(0, count, 16)]


def explain(session: Session, given: Sequence[str]) -> Lines:
    """help [COMMAND]: the verbs, or one command's registers and conditions; `help rmi` lists the commands."""
    if not given:
        verbs = [_first_line(verb) for verb in dict.fromkeys(VERBS.values())]
        return [*verbs, "NAME ARGS: any RMI command, like GRANULE_DELEGATE 0x880000000 (`help rmi`)", "quit: leave"]
    if given[0].lower() == "rmi":
        return [f"{fid.name} {' '.join(shape.arguments)}" for fid, shape in COMMANDS.items()]
    if given[0].lower() in VERBS:
        return [_first_line(VERBS[given[0].lower()])]
    fid = w.command(given[0])
    if fid not in COMMANDS:
        return [f"{fid:#x} is no command of RMI 1.0"]
    shape = COMMANDS[Rmi(fid)]
    lines = [f"{Rmi(fid).name} {' '.join(shape.arguments)} -> {' '.join(shape.results) or 'status'}"]
    return lines + [f"  {check.name}: {check.says}" for check in TABLES.get(Rmi(fid), ())]


def _first_line(verb: Verb) -> str:
    return (verb.__doc__ or "").strip().splitlines()[0]


def _one(session: Session, given: Sequence[str], usage: str) -> int:
    if not given:
        raise UserMistake("an address is missing", usage)
    return w.number(given[0], session.names)


def _realm(session: Session, rd: int) -> Realm:
    found = session.rmm.state.realms.get(rd)
    if found is None:
        raise UserMistake(f"{rd:#x} is no Realm's RD", "`realms` lists them")
    return found


VERBS: dict[str, Verb] = {
    "realm": realm,
    "tables": tables,
    "ram": ram,
    "page": page,
    "rec": rec,
    "activate": activate,
    "enter": enter,
    "tree": draw,
    "realms": show,
    "granules": granules,
    "why": because,
    "set": set_name,
    "write": write,
    "read": read,
    "help": explain,
}
