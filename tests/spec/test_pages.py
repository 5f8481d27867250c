"""The reference pages about the RMM's conformance say what the tests do, and leave nothing open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from spec_coverage import (
    FIRST,
    PAIR,
    SECOND,
    SERVICE,
    SINGLE,
    UNTESTED,
    Coverage,
    collected,
    conditions_page,
    conditions_page_2_0,
    where_else,
)
from spec_pages import PAGES, listed_scenarios, quirk_texts, scenario_tests

Page = Callable[..., str]

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_the_tests_say(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_untested_without_a_reason(name: str) -> None:
    assert UNTESTED not in PAGES[name]()


@pytest.mark.parametrize(("page", "about"), [(conditions_page, FIRST), (conditions_page_2_0, SECOND)])
def test_a_row_test_that_pytest_does_not_collect_shows_on_the_page(page: Page, about: Coverage) -> None:
    known = collected()
    row = next(name for name in sorted(known) if name.startswith(f"{about.module}::{SINGLE}["))
    pair = next(name for name in sorted(known) if name.startswith(f"{about.module}::{PAIR}["))
    service = next(name for name in sorted(known) if name.startswith(f"{about.services}::{SERVICE}["))
    whole = page()
    assert UNTESTED not in whole
    assert UNTESTED in page(known - {row})
    assert UNTESTED in page(known - {service})
    assert page(known - {pair}) != whole


def test_a_reference_to_a_test_that_is_gone_is_no_reason() -> None:
    gone = {"REC_ENTER.rec_state": "the same: `test_limits.py::test_that_nobody_wrote`"}
    changed = FIRST._replace(elsewhere={**FIRST.elsewhere, **gone})
    assert where_else(changed, "REC_ENTER.rec_state") == UNTESTED
    assert where_else(FIRST, "REC_ENTER.rec_state") != UNTESTED


def test_a_scenario_is_tested_or_out_of_the_model_and_never_both() -> None:
    listed = listed_scenarios()
    names = [name for document in listed["document"] for name in document["scenarios"]]
    out = [name for entry in listed["out"] for name in entry["scenarios"]]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted([*out, *scenario_tests()])


def test_every_quirk_says_where_it_comes_from() -> None:
    for name, says in quirk_texts().items():
        assert len(says) > 20, name
