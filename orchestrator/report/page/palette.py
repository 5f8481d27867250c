"""Colours of the report, for light and dark; the dark ones are those of the live page.

What a colour says is always said by a word, a height or a pattern too. Series are told apart by people who do not see
red and green as others do: a test simulates that.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Colour(NamedTuple):
    """One meaning on white and on dark ground."""

    light: str
    dark: str


INKS: Final = {
    "ink": Colour("#172033", "#e7ecf6"),
    "soft": Colour("#55617a", "#93a0ba"),
    "faint": Colour("#8590a8", "#5b6885"),
    "line": Colour("#dfe4ee", "#1d2740"),
    "deep": Colour("#f4f6fa", "#080c15"),
    "panel": Colour("#ffffff", "#0f1726"),
    "well": Colour("#f3f5f9", "#0b111d"),
}
"""Text, lines and grounds."""

TONES: Final = {
    "good": Colour("#0b8f63", "#3ddc97"),
    "warn": Colour("#b36b00", "#ffb84d"),
    "bad": Colour("#cf2338", "#ff5d6c"),
    "chaos": Colour("#c2501f", "#ff7a45"),
    "info": Colour("#0b76b8", "#60c8ff"),
    "move": Colour("#8a3fc4", "#d59bff"),
    "operator": Colour("#8a7300", "#ffe27a"),
    "ice": Colour("#3c8fb8", "#9fe3ff"),
}
"""What a thing is about: the same words as on the live page."""

SERIES: Final = (
    Colour("#5673a8", "#5673a8"),
    Colour("#12a583", "#1fc7a0"),
    Colour("#9a4fe0", "#c07cff"),
    Colour("#e07b1f", "#ff9f5a"),
    Colour("#d9487d", "#ff6f9c"),
    Colour("#b8a21a", "#e5d04c"),
)
"""Firmware versions and other series, by their order: the hues of versions on the live page."""


def series(place: int) -> str:
    """CSS colour of the series at a place; they come again after the last."""
    return f"var(--series-{place % len(SERIES)})"


def css() -> str:
    """All colours as custom properties, chosen by what the reader's system prefers; paper is light."""
    named = {**INKS, **TONES, **{f"series-{place}": colour for place, colour in enumerate(SERIES)}}
    light = "".join(f"--{name}:{colour.light};" for name, colour in named.items())
    dark = "".join(f"--{name}:{colour.dark};" for name, colour in named.items())
    return f":root{{color-scheme:light dark;{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
