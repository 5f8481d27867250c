"""Colours: those of the live page, readable, and apart for people who see red and green otherwise."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from orchestrator.report.page.palette import INKS, SERIES, TONES

PAGE = Path(__file__).resolve().parents[4] / "orchestrator" / "serve" / "page-src" / "src"

# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
NORMAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def linear(colour: str) -> list[float]:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, sight: tuple[tuple[float, ...], ...]) -> list[float]:
    """CIE L*a*b* (D65) of a colour as somebody with that sight sees it."""
    rgb = linear(colour)
    red, green, blue = (max(sum(a * b for a, b in zip(row, rgb, strict=True)), 0) for row in sight)
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return [116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)]


def apart(one: str, other: str, sight: tuple[tuple[float, ...], ...]) -> float:
    """CIE 1976 colour difference; about 2 is just seen, 10 is seen at a glance."""
    pairs = zip(lab(one, sight), lab(other, sight), strict=True)
    return float(sum((a - b) ** 2 for a, b in pairs) ** 0.5)


def test_dark_tones_and_inks_are_those_of_the_live_page() -> None:
    root = (PAGE / "style.css").read_text().partition("}")[0]
    page = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", root))
    for name, colour in (INKS | TONES).items():
        if name in page:
            assert colour.dark == page[name], name
    assert set(TONES) <= set(page)


def test_dark_series_are_the_hues_of_versions_on_the_live_page() -> None:
    hues = re.search(r"VERSION_HUES = \[([^\]]*)\]", (PAGE / "parts.tsx").read_text())
    assert hues is not None
    assert [colour.dark for colour in SERIES] == re.findall("#[0-9a-f]{6}", hues[1])


@pytest.mark.parametrize("side", ["light", "dark"])
def test_words_are_readable_on_their_ground(side: str) -> None:
    for name in ("ink", "soft"):
        for ground in ("panel", "deep", "well"):
            assert contrast(getattr(INKS[name], side), getattr(INKS[ground], side)) >= 4.5, (name, ground)
    for name, colour in TONES.items():
        assert contrast(getattr(colour, side), getattr(INKS["panel"], side)) >= 3, name


@pytest.mark.parametrize("sight", [NORMAL, DEUTERANOPIA, PROTANOPIA], ids=["usual", "deuteranopia", "protanopia"])
@pytest.mark.parametrize("side", ["light", "dark"])
def test_the_first_versions_and_the_states_of_a_realm_are_told_apart(
    side: str, sight: tuple[tuple[float, ...], ...]
) -> None:
    first = [getattr(colour, side) for colour in SERIES[:3]]
    states = [getattr(TONES[name], side) for name in ("good", "info", "bad")]
    for group in (first, states):
        for one, other in combinations(group, 2):
            assert apart(one, other, sight) >= 10, (one, other)
