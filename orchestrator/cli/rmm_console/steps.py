"""What a Host does around a call, step by step: every call is printed, and a refusal ends the helper."""

from __future__ import annotations

from collections.abc import Sequence

from cca_machine.abi.guest import Access, GuestEvent, Poke, Smc
from cca_machine.abi.rmi import PAGE_BYTES
from orchestrator.cli.rmm_console import words as w
from orchestrator.cli.rmm_console.session import Call, Session
from orchestrator.errors import UserMistake

Lines = list[str]


class Stopped(Exception):
    """A helper's call was refused; what was printed so far."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines


def do(session: Session, lines: Lines, fid: int, *args: int) -> Call:
    """A helper's call, printed; a refusal ends the helper."""
    made = session.call(fid, *args)
    lines.append(made.sentence())
    if not made.good:
        raise Stopped(lines)
    return made


def one(session: Session, given: Sequence[str], usage: str) -> int:
    """The number that a verb begins with."""
    if not given:
        raise UserMistake("an address is missing", usage)
    return w.number(given[0], session.names)


def two(session: Session, given: Sequence[str], usage: str) -> tuple[int, int]:
    """The range that a verb works on."""
    if len(given) != 2:
        raise UserMistake("a range is missing", usage)
    base, top = (w.number(word, session.names) for word in given)
    return base, top


def deeds(session: Session, given: Sequence[str]) -> list[GuestEvent]:
    """What a Realm is to do, deed by deed between commas."""
    done, here = [], list(given)
    while here:
        cut = here.index(",") if "," in here else len(here)
        done.append(_deed(session, here[:cut]))
        here = here[cut + 1 :]
    return done


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
