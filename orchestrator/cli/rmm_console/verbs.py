"""The verbs of the console: each takes the session and its words, and returns lines to print.

RMI commands by name are verbs too. Helpers do what a Host does around a call: take granules, delegate them, fill in
parameter pages; every call that they make is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cca_machine.abi.rmi import PAGE_BYTES
from cca_machine.rmm.features import EDITION_1_0
from cca_machine.rmm.state import Realm
from orchestrator.cli.rmm_console import host_1_0, host_2_0
from orchestrator.cli.rmm_console import words as w
from orchestrator.cli.rmm_console.drawing import granules_text, realm_text, trees
from orchestrator.cli.rmm_console.session import Call, Session
from orchestrator.cli.rmm_console.steps import Lines, one
from orchestrator.errors import UserMistake

Verb = Callable[[Session, Sequence[str]], Lines]


def verbs_of(session: Session) -> Mapping[str, Verb]:
    """Every verb of the edition that the machine speaks."""
    return (host_1_0.VERBS if session.edition == EDITION_1_0 else host_2_0.VERBS) | VERBS


def execute(session: Session, line: str) -> Lines:
    """Do what a line says; raises UserMistake when it says nothing that can be done."""
    given = w.split(line)
    if not given:
        return []
    verb = verbs_of(session).get(given[0].lower())
    if verb is not None:
        return verb(session, given[1:])
    return [smc(session, given).sentence()]


def smc(session: Session, given: Sequence[str]) -> Call:
    """One raw call: a command's name or function id, then register values, or `argument=value` in any order."""
    fid = w.command(given[0], session.dialect)
    names = session.dialect.shape(fid).arguments
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


def draw(session: Session, given: Sequence[str]) -> Lines:
    """tree [RD]: the Realm's translation tables, drawn."""
    rd = w.number(given[0], session.names) if given else session.named("rd")
    return trees(rd, _realm(session, rd), session.rmm.state)


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
    for check in session.dialect.table(call.fid):
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
    pa = one(session, given, "write PA HEX")
    try:
        content = bytes.fromhex("".join(given[1:]))
    except ValueError:
        raise UserMistake("that is no hexadecimal text", "write 0x880000000 00ff") from None
    session.write(pa, content)
    return [f"{len(content)} bytes at {pa:#x}"]


def read(session: Session, given: Sequence[str]) -> Lines:
    """read PA [N]: what the Host reads there (64 bytes)."""
    pa = one(session, given, "read PA [N]")
    count = w.number(given[1], session.names) if len(given) > 1 else 64
    if count > PAGE_BYTES:
        raise UserMistake("that is more than a page", "read PA 4096")
    content = session.read(pa, count)
    return [f"{pa + at:#x}  {content[at : at + 16].hex(' ')}" for at in range(0, count, 16)]


def explain(session: Session, given: Sequence[str]) -> Lines:
    """help [COMMAND]: the verbs, or one command's registers and conditions; `help rmi` lists the commands."""
    if not given:
        verbs = [_first_line(verb) for verb in dict.fromkeys(verbs_of(session).values())]
        return [*verbs, "NAME ARGS: any RMI command, like RTT_READ_ENTRY $rd 0 3 (`help rmi`)", "quit: leave"]
    if given[0].lower() == "rmi":
        dialect = session.dialect
        return [f"{dialect.name(fid)} {' '.join(shape.arguments)}" for fid, shape in dialect.shapes.items()]
    if given[0].lower() in verbs_of(session):
        return [_first_line(verbs_of(session)[given[0].lower()])]
    fid = w.command(given[0], session.dialect)
    if fid not in session.dialect.shapes:
        return [f"{fid:#x} is no command of RMI {session.edition} that needs no device"]
    shape = session.dialect.shape(fid)
    lines = [f"{session.dialect.name(fid)} {' '.join(shape.arguments)} -> {' '.join(shape.results) or 'status'}"]
    return lines + [f"  {check.name}: {check.says}" for check in session.dialect.table(fid)]


def _first_line(verb: Verb) -> str:
    return (verb.__doc__ or "").strip().splitlines()[0]


def _realm(session: Session, rd: int) -> Realm:
    found = session.rmm.state.realms.get(rd)
    if found is None:
        raise UserMistake(f"{rd:#x} is no Realm's RD", "`realms` lists them")
    return found


VERBS: dict[str, Verb] = {
    "tree": draw,
    "realms": show,
    "granules": granules,
    "why": because,
    "set": set_name,
    "write": write,
    "read": read,
    "help": explain,
}
