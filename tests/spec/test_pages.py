"""The reference pages about the RMM's conformance say what the tests do, and leave nothing open."""

from __future__ import annotations

from pathlib import Path

import pytest
import spec_pages
from spec_pages import PAGES, UNTESTED, listed_scenarios, quirk_texts, scenario_tests

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_the_tests_say(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_untested_without_a_reason(name: str) -> None:
    assert UNTESTED not in PAGES[name]()


def test_a_condition_without_its_row_test_shows_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spec_pages.conditions_page()
    monkeypatch.setattr(spec_pages.inventory, "SINGLE", spec_pages.inventory.SINGLE[1:])
    assert spec_pages.conditions_page() != whole
    assert UNTESTED in spec_pages.conditions_page()


def test_a_scenario_is_tested_or_out_of_the_model_and_never_both() -> None:
    listed = listed_scenarios()
    names = [name for document in listed["document"] for name in document["scenarios"]]
    out = [name for entry in listed["out"] for name in entry["scenarios"]]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted([*out, *scenario_tests()])


def test_every_quirk_says_where_it_comes_from() -> None:
    for name, says in quirk_texts().items():
        assert len(says) > 20, name
