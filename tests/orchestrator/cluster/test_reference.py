"""The generated reference pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster.reference import cluster_page, experiment_page, main

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("page", "make"), [("cluster-file.md", cluster_page), ("experiment-file.md", experiment_page)])
def test_the_committed_page_is_the_generated_one(page: str, make: Callable[[], str]) -> None:
    assert (DOCS / page).read_text("utf-8") == make()


@pytest.mark.parametrize("make", [cluster_page, experiment_page])
def test_every_link_of_a_page_leads_to_one_of_its_headings(make: Callable[[], str]) -> None:
    page = make()
    headings = {heading.lower() for heading in re.findall(r"^## (\w+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\(#(\w+)\)", page)) <= headings


@pytest.mark.parametrize(
    "row",
    [
        "| `beat` | duration, above 0 | `100ms` | Grain of virtual time at which control plane and machines talk. |",
        "| `memory` | size | required | DRAM, a multiple of the 4KiB granule. |",
        "| `signers` | list of name, not empty | `[vendor]` | Signers the machines accept. |",
        "| `for` | duration, above 0 | required | Lease of the fault; healed when it ends. |",
    ],
)
def test_a_key_is_shown_with_form_default_and_meaning(row: str) -> None:
    assert row in cluster_page()


def test_the_module_prints_a_page_and_refuses_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment"]) == 0
    assert capsys.readouterr().out == experiment_page()
    assert main(["nothing"]) == 2
