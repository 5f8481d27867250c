"""HTML and SVG elements, escaped by construction: only `Markup` goes in as it is, and only `el` makes it.

Names and sentences in a run come from strangers (cluster files, operators, refusals), so nothing is ever pasted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

VOID: Final = frozenset({"meta", "br", "hr", "path", "rect", "line", "circle", "use"})
"""Elements that are written without content when they have none."""


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
"""What may stand in an element: text (escaped), markup, numbers, several of these, or nothing."""

NOTHING: Final = Markup("")


def escape(text: str) -> str:
    """Text as it may stand in content and in quoted attributes."""
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )


def el(tag: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element: attributes in the given order (`class_` is class, `_` is a hyphen), None and False left out."""
    parts = ["<", tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        parts += [" ", name.rstrip("_").replace("_", "-")]
        if value is not True:
            parts += ['="', escape(str(value)), '"']
    content = "".join(_flat(children))
    if not content and tag in VOID:
        return Markup("".join([*parts, "/>"]))
    return Markup("".join([*parts, ">", content, "</", tag, ">"]))


def join(*children: Child) -> Markup:
    """Several things as one."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield escape(child)
        elif isinstance(child, int):
            yield str(child)
        else:
            yield from _flat(child)


def table(
    heads: Iterable[str], rows: Iterable[Iterable[Child]], *, numbers: Iterable[int] = (), caption: str = ""
) -> Markup:
    """A table; columns in `numbers` are set to the right. The caption is for those who cannot see where it stands."""
    right = set(numbers)

    def cell(tag: str, place: int, child: Child, scope: str | None = None) -> Markup:
        return el(tag, child, class_="n" if place in right else None, scope=scope)

    head = el("tr", [cell("th", place, one, "col") for place, one in enumerate(heads)])
    body = [el("tr", [cell("td", place, one) for place, one in enumerate(row)]) for row in rows]
    told = el("caption", caption) if caption else None
    return el(
        "div",
        el("table", told, el("thead", head), el("tbody", body)),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption or "table",
    )


def section(name: str, title: str, *children: Child, lead: Child = None, badge: Child = None) -> Markup:
    """A section of the page with its heading, and a sentence that says what it answers."""
    heading = el("h2", el("a", title, href=f"#{name}"), badge, id=f"{name}-title")
    told = el("p", lead, class_="lead") if lead else None
    return el("section", heading, told, *children, id=name, aria_labelledby=f"{name}-title")


def details(summary: Child, *children: Child, open_: bool = False, id_: str | None = None) -> Markup:
    """Something that is told on demand."""
    return el("details", el("summary", summary), *children, open=open_, id=id_)


def chip(text: str, tone: str) -> Markup:
    """A word with a colour; the word alone says enough."""
    return el("span", text, class_=f"chip {tone}")
