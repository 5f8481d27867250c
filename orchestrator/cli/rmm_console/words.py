"""Lines of the console: a verb, then numbers, `$names`, `key=value` pairs and texts; `#` starts a comment."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Mapping

from cca_machine.abi.rsi import Rsi
from cca_machine.abi.rsi2 import Rsi2
from cca_machine.rmm.why import Dialect
from orchestrator.errors import UserMistake

MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def split(line: str) -> list[str]:
    """The words of a line."""
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise UserMistake(f"cannot be split into words: {error}", "quote as in a shell") from None


def number(text: str, names: Mapping[str, int]) -> int:
    """A register value: 0x1000, 4096, -1, 2M, $rd or $rd+0x1000."""
    total = 0
    for part in text.replace("-", "+-").split("+"):
        if part:
            total += _term(part, text, names)
    if not text or not -(1 << 63) <= total <= MASK64:
        raise UserMistake(f"{text!r} is no 64-bit number", "a number like 0x1000, 2M or $rd")
    return total & MASK64


def _term(part: str, text: str, names: Mapping[str, int]) -> int:
    sign, digits = (-1, part[1:]) if part.startswith("-") else (1, part)
    if digits.startswith("$"):
        if digits[1:] not in names:
            known = ", ".join(f"${name}" for name in sorted(names)) or "none yet"
            raise UserMistake(f"there is no {digits}", f"known names: {known}")
        return sign * names[digits[1:]]
    shift = _UNITS.get(digits[-1:].upper(), 0) if not digits.lower().startswith("0x") else 0
    try:
        return sign * (int(digits[:-1] if shift else digits, 0) << shift)
    except ValueError:
        raise UserMistake(f"{text!r} is no number", "a number like 0x1000, 4096, 2M or $rd") from None


def fields(words: Iterable[str], names: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    """`key=value` words; only `known` keys."""
    found: dict[str, int] = {}
    allowed = tuple(known)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in allowed:
            raise UserMistake(f"{word!r} is no field", f"{'=N, '.join(allowed)}=N")
        found[key] = number(value, names)
    return found


def command(text: str, dialect: Dialect) -> int:
    """A function id: an RMI command's name with or without RMI_, or a number."""
    name = text.upper().removeprefix("RMI_")
    members = {one.name: int(one) for one in dialect.ids}
    if name in members:
        return members[name]
    if text[:1].isdigit():
        return number(text, {})
    close = difflib.get_close_matches(name, members, 3, 0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`help rmi`"
    raise UserMistake(f"RMI {dialect.edition} has no command {text}", hint)


def rsi(text: str) -> int:
    """A function id that a Realm calls: an RSI command's name with or without RSI_, PSCI_ and its name, or a number."""
    from cca_machine.abi.psci import Psci

    name = text.upper()
    if name.removeprefix("RSI_") in Rsi.__members__:
        return int(Rsi[name.removeprefix("RSI_")])
    if name.removeprefix("RSI_") in Rsi2.__members__:
        return int(Rsi2[name.removeprefix("RSI_")])
    if name.startswith("PSCI_") and name[5:] in Psci.__members__:
        return int(Psci[name[5:]])
    if text[:1].isdigit():
        return number(text, {})
    raise UserMistake(f"a Realm has no call {text}", "an RSI command, PSCI_.., or a function id")
