"""Instants, durations, sizes and shares for people."""

from __future__ import annotations

MS = 1_000_000
S = 1_000_000_000


def clock(at_ns: int) -> str:
    """An instant as hh:mm:ss.t, rounded down to tenths."""
    tenths = at_ns // (S // 10)
    return f"{tenths // 36_000:02d}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"


def duration(duration_ns: int) -> str:
    """A duration with two or three figures in the unit that fits."""
    if duration_ns < MS:
        return f"{duration_ns / 1000:.0f} µs"
    if duration_ns < S:
        return f"{duration_ns / MS:.{2 if duration_ns < 10 * MS else 1 if duration_ns < 100 * MS else 0}f} ms"
    if duration_ns < 120 * S:
        return f"{duration_ns / S:.{2 if duration_ns < 10 * S else 1}f} s"
    if duration_ns < 7200 * S:
        return f"{duration_ns // (60 * S)} min {duration_ns // S % 60} s"
    return f"{duration_ns / S / 3600:,.1f} h"


def size(size_bytes: int) -> str:
    """Bytes in binary units."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def percent(part: int, whole: int) -> str:
    """A share, rounded down, so that 100 % means all; a dash of nothing."""
    if not whole:
        return "–"
    ppm = part * 1_000_000 // whole
    return f"{ppm // 10_000}.{ppm % 10_000:04d} %"


def plural(count: int, word: str) -> str:
    """A count with its word."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
