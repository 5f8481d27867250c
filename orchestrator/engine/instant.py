"""Virtual time: integer nanoseconds since the start of the run, rounding to beats, and how instants are printed."""

from __future__ import annotations

US = 1_000
"""Nanoseconds in a microsecond."""
MS = 1_000_000
"""Nanoseconds in a millisecond."""
S = 1_000_000_000
"""Nanoseconds in a second."""

_UNITS = (("s", S), ("ms", MS), ("us", US), ("ns", 1))


def beat_floor(at_ns: int, beat_ns: int) -> int:
    """Last boundary at or before `at_ns`: the start of the beat that `at_ns` belongs to."""
    return at_ns - at_ns % beat_ns


def beat_ceil(at_ns: int, beat_ns: int) -> int:
    """First boundary at or after `at_ns`: where the control plane sees what arrived at `at_ns`."""
    return -(-at_ns // beat_ns) * beat_ns


def format_instant(at_ns: int) -> str:
    """Print an instant as `hh:mm:ss.mmm`, with six or nine decimals only where they are needed; exact, sortable."""
    seconds, rest = divmod(at_ns, S)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    if rest % MS == 0:
        fraction = f"{rest // MS:03d}"
    elif rest % US == 0:
        fraction = f"{rest // US:06d}"
    else:
        fraction = f"{rest:09d}"
    return f"{hour:02d}:{minute:02d}:{second:02d}.{fraction}"


def format_duration(duration_ns: int) -> str:
    """Print a duration in the largest unit it fills, exactly and without trailing zeros: `1.5ms`, `30s`, `0ns`."""
    sign = "-" if duration_ns < 0 else ""
    size_ns = abs(duration_ns)
    for unit, unit_ns in _UNITS:
        if size_ns >= unit_ns:
            whole, rest = divmod(size_ns, unit_ns)
            digits = len(str(unit_ns)) - 1
            fraction = f"{rest:0{digits}d}".rstrip("0") if rest else ""
            return f"{sign}{whole}{'.' + fraction if fraction else ''}{unit}"
    return "0ns"
