"""Quantities as users write them and as we keep them: durations, sizes, rates, fractions, names.

Texts become integers (nanoseconds, bytes, bits per second, parts per million) by exact decimal arithmetic; what is
finer than one unit of ours is refused, never rounded. `parse_x(format_x(n)) == n` holds for every quantity. A record
dumped for JSON writes its quantities as text again, so that a dumped cluster is a valid input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

LARGEST = 2**63 - 1
"""Upper bound of every quantity: it must travel as a signed 64-bit number."""

PPM = 1_000_000
"""Parts per million in a whole."""

DURATION_UNITS: Mapping[str, int] = {
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "min": 60 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}
"""Nanoseconds in each unit, largest first; `m` is read as minutes and written as `min`."""

SIZE_UNITS: Mapping[str, int] = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
"""Bytes in each unit, largest first."""

RATE_UNITS: Mapping[str, int] = {
    "Tbit/s": 10**12,
    "GiB/s": 8 * 2**30,
    "Gbit/s": 10**9,
    "MiB/s": 8 * 2**20,
    "Mbit/s": 10**6,
    "KiB/s": 8 * 2**10,
    "kbit/s": 10**3,
    "B/s": 8,
    "bit/s": 1,
}
"""Bits per second in each unit, largest first."""

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(ns|us|ms|s|min|m|h|d)$"
SIZE_PATTERN = r"^[0-9]+$|^[0-9]+(\.[0-9]+)? ?(KiB|MiB|GiB|TiB)$"
RATE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([TGMk]?bit|[KMG]iB|B)/s$"
FRACTION_PATTERN = r"^[0-9]+(\.[0-9]{1,4})? ?%$"
NAME_PATTERN = r"^[a-z][a-z0-9.-]{0,38}$"
VERSION_PATTERN = r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$"

_NUMBER_AND_UNIT = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([^0-9 .].*)?", re.ASCII)
_NAME = re.compile(NAME_PATTERN.removesuffix("$"), re.ASCII)
_VERSION = re.compile(VERSION_PATTERN.removesuffix("$"), re.ASCII)
_LONGEST_TEXT = 40

_SIZE_HINTS: Mapping[str, str] = {"k": "KiB", "m": "MiB", "g": "GiB", "t": "TiB"}


def _wrong(message: str, hint: str) -> PydanticCustomError:
    """An error that pydantic collects with its place; message and hint reach the user word for word."""
    return PydanticCustomError("quantity", "{message}", {"message": message, "hint": hint})


def _shown(value: object) -> str:
    """A value as the user wrote it, cut where it is long."""
    if value is None or isinstance(value, list | dict):
        return {type(None): "nothing", list: "a list"}.get(type(value), "a mapping")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    return f"'{text}'" if isinstance(value, str) else text


def _split(value: object, what: str, example: str) -> tuple[str, str, str]:
    """Whole digits, fraction digits and unit of a text; refuses everything else with an example."""
    if not isinstance(value, str):
        raise _wrong(f"{_shown(value)} is not {what}", f"write a number with its unit, for example {example}")
    text = value.strip()
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or len(text) > _LONGEST_TEXT:
        raise _wrong(f"{_shown(value)} is not {what}", f"write for example {example}")
    return match[1], match[2] or "", match[3] or ""


def _scaled(value: object, whole: str, fraction: str, unit: int, smallest: str) -> int:
    """Exact product of a decimal number and a unit; refuses what is finer than one or larger than `LARGEST`."""
    numerator = int(whole + fraction) * unit
    denominator = int("1" + "0" * len(fraction))
    if numerator % denominator:
        raise _wrong(f"{_shown(value)} is finer than {smallest}", f"nothing finer than {smallest} is kept")
    if numerator // denominator > LARGEST:
        raise _wrong(f"{_shown(value)} is too large", f"the largest value is 2^63-1 times {smallest}")
    return numerator // denominator


def _known(unit: str, units: Mapping[str, int], value: object, what: str, hint: str) -> int:
    if unit in units:
        return units[unit]
    if not unit:
        raise _wrong(f"{_shown(value)} has no unit", hint)
    raise _wrong(f"{_shown(value)} is not {what}: unknown unit '{unit}'", hint)


def _largest_unit(value: int, units: Mapping[str, int]) -> str:
    """`value` (not 0) as a whole number of the largest unit that divides it."""
    unit = next(unit for unit, size in units.items() if value % size == 0)
    return f"{value // units[unit]}{unit}"


def parse_duration(value: object) -> int:
    """Read a duration ("10ms", "1.5s", "5min", "2h", "1d") as nanoseconds; a number without a unit is refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise _wrong(f"{value} has no unit", f"write {value}s, {value}ms or {value}min")
    whole, fraction, unit = _split(value, "a duration", "100ms, 1.5s or 10min")
    size = _known(unit, DURATION_UNITS, value, "a duration", "units are ns, us, ms, s, min (or m), h and d")
    return _scaled(value, whole, fraction, size, "one nanosecond")


def format_duration(duration_ns: int) -> str:
    """Write nanoseconds in the largest unit that divides them: 90 s is "90s", 120 s is "2min"."""
    if duration_ns == 0:
        return "0s"
    return _largest_unit(duration_ns, {unit: size for unit, size in DURATION_UNITS.items() if unit != "m"})


def parse_size(value: object) -> int:
    """Read a size ("64GiB", "256KiB", or bytes as a bare number) as bytes; decimal units are refused with a hint."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= LARGEST:
            raise _wrong(f"{_shown(value)} is not a size", "a size lies between 0 and 2^63-1 bytes")
        return value
    whole, fraction, unit = _split(value, "a size", "64GiB")
    hint = "units are KiB, MiB, GiB and TiB; a bare number means bytes"
    if not unit and not fraction:
        return _scaled(value, whole, "", 1, "one byte")
    if unit and unit not in SIZE_UNITS and unit[0].lower() in _SIZE_HINTS:
        hint = f"write {_SIZE_HINTS[unit[0].lower()]} (powers of 1024); decimal units are not read"
    return _scaled(value, whole, fraction, _known(unit, SIZE_UNITS, value, "a size", hint), "one byte")


def format_size(size_bytes: int) -> str:
    """Write bytes in the largest binary unit that divides them; a bare number when none does."""
    if size_bytes == 0 or size_bytes % 1024:
        return str(size_bytes)
    return _largest_unit(size_bytes, SIZE_UNITS)


def parse_rate(value: object) -> int:
    """Read a rate ("10Gbit/s", "200MiB/s") as bits per second; bytes count eight bits."""
    whole, fraction, unit = _split(value, "a rate", "10Gbit/s or 200MiB/s")
    hint = "units are bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s, B/s, KiB/s, MiB/s and GiB/s"
    if unit.endswith("bps") or unit.endswith("b/s"):
        hint = f"write {unit.removesuffix('ps').removesuffix('/s').removesuffix('b')}bit/s"
    return _scaled(value, whole, fraction, _known(unit, RATE_UNITS, value, "a rate", hint), "one bit per second")


def format_rate(bits_per_s: int) -> str:
    """Write bits per second in the largest unit that divides them."""
    if bits_per_s == 0:
        return "0bit/s"
    return _largest_unit(bits_per_s, RATE_UNITS)


def parse_fraction(value: object) -> int:
    """Read a percentage ("5%", "12.5%") as parts per million; a bare number is refused, for 1 might mean 1% or 100%."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise _wrong(f"{value} is not a percentage", f"write {value}%")
    whole, fraction, unit = _split(value, "a percentage", "5% or 12.5%")
    if not unit and whole == "0" and fraction:
        # 0.2 is most likely meant as 20%
        raise _wrong(f"{_shown(value)} is not a percentage", f"write {format_fraction(_ratio_ppm(fraction))}")
    size = _known(unit, {"%": PPM // 100}, value, "a percentage", "write for example 5% or 12.5%")
    return _scaled(value, whole, fraction, size, "0.0001%")


def parse_share(value: object) -> int:
    """Read a percentage of at most 100% as parts per million."""
    ppm = parse_fraction(value)
    if ppm > PPM:
        raise _wrong(f"{_shown(value)} is more than the whole", "a share lies between 0% and 100%")
    return ppm


def _ratio_ppm(fraction_digits: str) -> int:
    return int(fraction_digits[:6].ljust(6, "0"))


def format_fraction(ppm: int) -> str:
    """Write parts per million as a percentage without trailing zeros."""
    whole, rest = divmod(ppm, PPM // 100)
    return f"{whole}%" if rest == 0 else f"{whole}.{rest:04d}".rstrip("0") + "%"


def parse_name(value: object) -> str:
    """Read a name: a lower-case letter, then up to 38 lower-case letters, digits, dots or hyphens."""
    if not isinstance(value, str):
        raise _wrong(f"{_shown(value)} is not a name", "write a text that starts with a letter, in quotes if need be")
    text = value.strip()
    if _NAME.fullmatch(text) is None:
        lowered = text.lower().replace("_", "-").replace(" ", "-")
        better = f"write {lowered}; " if _NAME.fullmatch(lowered) else ""
        rule = "a name is a lower-case letter, then up to 38 lower-case letters, digits, dots or hyphens"
        raise _wrong(f"{_shown(value)} is not a name", better + rule)
    return text


def parse_version(value: object) -> str:
    """Read a firmware version: three numbers of at most four digits, as in "1.0.1"."""
    if not isinstance(value, str) or _VERSION.fullmatch(value.strip()) is None:
        raise _wrong(f"{_shown(value)} is not a version", "write three numbers with dots, for example 1.0.1")
    return value.strip()


def version_key(version: str) -> tuple[int, ...]:
    """Numbers of a version in the order in which versions compare."""
    return tuple(int(part) for part in version.split("."))


def _text_form(pattern: str, *examples: str) -> Any:
    return Annotated[str, Field(pattern=pattern, examples=list(examples))]


def _written(write: Callable[[int], str]) -> PlainSerializer:
    return PlainSerializer(write, return_type=str, when_used="json-unless-none")


Duration = Annotated[
    int,
    BeforeValidator(parse_duration, json_schema_input_type=_text_form(DURATION_PATTERN, "100ms", "1.5s", "10min")),
    _written(format_duration),
]
"""Integer nanoseconds, at least 0."""

Size = Annotated[
    int,
    BeforeValidator(
        parse_size,
        json_schema_input_type=Annotated[int, Field(ge=0)] | _text_form(SIZE_PATTERN, "64GiB", "256KiB"),
    ),
    _written(format_size),
]
"""Integer bytes, at least 0."""

Rate = Annotated[
    int,
    BeforeValidator(parse_rate, json_schema_input_type=_text_form(RATE_PATTERN, "10Gbit/s", "200MiB/s")),
    _written(format_rate),
]
"""Integer bits per second, at least 0."""

Fraction = Annotated[
    int,
    BeforeValidator(parse_fraction, json_schema_input_type=_text_form(FRACTION_PATTERN, "5%", "12.5%")),
    _written(format_fraction),
]
"""Integer parts per million, at least 0."""

Share = Annotated[
    int,
    BeforeValidator(parse_share, json_schema_input_type=_text_form(FRACTION_PATTERN, "30%", "100%")),
    _written(format_fraction),
]
"""Integer parts per million between 0 and a whole."""

Version = Annotated[
    str,
    BeforeValidator(parse_version, json_schema_input_type=_text_form(VERSION_PATTERN, "1.0.1")),
    Field(strict=True),
]
"""Firmware version of three numbers; compare by `version_key`."""

Name = Annotated[
    str, BeforeValidator(parse_name, json_schema_input_type=_text_form(NAME_PATTERN, "r1", "web")), Field(strict=True)
]
"""Lower-case name of something in the file."""
