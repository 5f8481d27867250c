"""Each file in `broken/` ends with what must be said about it: place, path, message, and the hint behind `=`."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cluster.load import load_either

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
MARK = "#: "


def expected(text: str) -> list[str]:
    """The lines behind the mark, hints joined to their problem."""
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith(MARK + "  = "):
            said[-1] += " = " + line.removeprefix(MARK + "  = ")
        elif line.startswith(MARK):
            said.append(line.removeprefix(MARK))
    return said


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_every_mistake_of_a_broken_file_is_told_with_place_and_hint(path: Path) -> None:
    text = path.read_text("utf-8")
    loaded = load_either(text, "f")
    said = [
        problem.headline.removeprefix("f:") + (f" = {problem.hint}" if problem.hint else "")
        for problem in loaded.problems
    ]
    assert said == expected(text)
    assert loaded.value is None


def test_there_are_broken_files_to_try() -> None:
    assert len(BROKEN) >= 11
