"""Pages of the documentation do what they say: the tutorial from beginning to end, and the how-to pages."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HOWTO = [
    "compare-two-runs.md",
    "inject-chaos.md",
    "read-a-report.md",
    "run-an-experiment.md",
    "script-in-python.md",
    "test-with-pytest.md",
    "write-a-cluster-file.md",
]


@pytest.mark.xdist_group("live")
def test_the_tutorial_leads_from_nothing_to_the_same_run(walk: Any) -> None:
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install prometheus)")
    walk.follow(DOCS / "tutorial.md")
    assert walk.ran[-1] == "python again.py"
    assert (walk.folder / "timeline.html").is_file()


@pytest.mark.xdist_group("live")
def test_the_readme_does_what_it_says(walk: Any) -> None:
    walk.follow(ROOT / "README.md")
    assert "realmfleet rmm replay door.jsonl" in walk.ran


@pytest.mark.parametrize("page", HOWTO)
def test_a_how_to_page_does_what_it_says(walk: Any, page: str) -> None:
    walk.follow(DOCS / "howto" / page)
    assert walk.ran


@pytest.mark.parametrize("page", ["README.md", *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md")))])
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
