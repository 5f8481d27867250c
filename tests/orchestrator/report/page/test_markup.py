"""Text that strangers wrote reaches the page as text, wherever it is put."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.report.page.markup import Markup, el, join, table


class Reader(HTMLParser):
    """An independent reader: tags, attributes, text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.values: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_text_in_an_element_and_in_an_attribute_comes_back_as_it_was(text: str) -> None:
    found = read(el("p", text, title=text))
    assert (found.tags, found.values, found.text) == (["p"], [text], text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_text_in_a_cell_makes_no_element_of_its_own(text: str) -> None:
    found = read(table((text,), [[[text, None]]], caption=text))
    assert found.tags == ["div", "table", "caption", "thead", "tr", "th", "tbody", "tr", "td"]


def test_only_markup_goes_in_as_it_is() -> None:
    assert el("p", Markup("<b>a</b>"), "<b>") == "<p><b>a</b>&lt;b&gt;</p>"
    assert join("a", ["b", None, 3], Markup("<i>")) == "ab3<i>"


def test_attributes_that_say_no_are_left_out() -> None:
    assert (
        el("details", "x", open=False, id=None, hidden=True, data_row=3) == '<details hidden data-row="3">x</details>'
    )
