"""What a notebook shows: complete, and harmless whatever names hold."""

from __future__ import annotations

from html.parser import HTMLParser

from orchestrator import Fleet, Results
from orchestrator.scripting.notebook import MOST_ROWS, rows_html


class Reader(HTMLParser):
    """Texts, and whether every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.titles += [value or "" for key, value in attrs if key == "title"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_fleet_is_shown_as_racks_of_machines(fleet: Fleet) -> None:
    shown = Reader(fleet._repr_html_())
    assert [title.partition(":")[0] for title in shown.titles] == fleet.machines.names
    assert {"r1", "r2"} <= set(shown.texts)
    assert fleet.status() in shown.texts


def test_results_show_every_verdict_and_how_to_repeat_them(finished: Results) -> None:
    shown = Reader(finished._repr_html_())
    assert set(finished.verdicts) <= set(shown.texts)
    assert {finished.trace_digest, finished.repeat} <= set(shown.texts)


def test_a_selection_is_shown_as_a_table(fleet: Fleet) -> None:
    assert {"web-001", "web-002", "serving"} <= set(Reader(fleet.realms._repr_html_()).texts)
    assert Reader(fleet.realms.where(state="failed")._repr_html_()).texts == ["nothing"]


def test_texts_are_escaped_and_long_tables_are_cut() -> None:
    shown = Reader(rows_html([{"name": "<script>alert(1)</script>"}] * (MOST_ROWS + 3)))
    assert "script" not in shown.tags
    assert shown.texts.count("<script>alert(1)</script>") == MOST_ROWS
    assert "and 3 more" in shown.texts
