"""A YAML 1.2 text as a tree that remembers where everything stands.

The tree is built from ruamel.yaml's events with a stack of our own, so that hostile nesting cannot exhaust Python's,
and with limits on text, depth and size (an alias counts as often as it is used: no expansion bombs). Scalars follow the
YAML 1.2 core schema: `no`, `on` and `12:30` stay text. Decimal numbers stay text too, because nothing in our files is a
floating-point number. Duplicate keys, tags and second documents are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from orchestrator.cluster.diagnostics import Path

LARGEST_TEXT = 1 << 20
"""Characters of a file."""

LARGEST_TREE = 100_000
"""Nodes of a file, every use of an alias counted."""

DEEPEST = 32
"""Levels of nesting; the schema needs seven."""


class Mark(NamedTuple):
    """A place in the text, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Scalar:
    """A single value: None, bool, int or text."""

    mark: Mark
    value: bool | int | str | None
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Mapping:
    """Keys (as text) with the place of the key and the value."""

    mark: Mark
    entries: dict[str, tuple[Mark, Node]] = field(default_factory=dict)
    size: int = 1
    depth: int = 1


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a text is not a document we read, and where."""

    mark: Mark
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A tree, and flaws that did not keep it from being read to the end (duplicate keys, tags)."""

    root: Node
    flaws: tuple[Flaw, ...]


class DocumentRefused(Exception):
    """The text cannot be read as one YAML document; `flaws` say why."""

    def __init__(self, flaws: list[Flaw]) -> None:
        super().__init__(flaws[0].message)
        self.flaws = flaws


@dataclass(slots=True)
class _Open:
    """A collection that is still being read; `key` is the key whose value comes next."""

    node: Sequence | Mapping
    anchor: str | None
    key: tuple[str, Mark] | None = None


_INTEGER = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}", re.ASCII)
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def resolve_plain(text: str) -> bool | int | str | None:
    """Value of an unquoted scalar by the YAML 1.2 core schema, decimal numbers excepted (they stay text)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text.removeprefix("0o").removeprefix("0x"), base)
    return text


class _Composer:
    """Builds the tree from events, one open collection per level of nesting."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.flaws: list[Flaw] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._documents = 0

    def take(self, event: Event) -> None:
        """Fold one event into the tree; raises `DocumentRefused` at once where reading on makes no sense."""
        if isinstance(event, ScalarEvent):
            self._scalar(event)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._start(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise DocumentRefused([Flaw(_mark(event), "a second document starts here", "one file, one document")])
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._end()

    def _scalar(self, event: ScalarEvent) -> None:
        mark = _mark(event)
        self._refuse_tag(event, mark)
        value = event.value if event.style not in (None, "") else resolve_plain(event.value)
        if self._wants_key():
            self._key(event.value, mark)
            return
        self._anchor(event.anchor, mark, node := Scalar(mark, value))
        self._attach(node)

    def _start(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        mark = _mark(event)
        self._refuse_tag(event, mark)
        if self._wants_key():
            raise DocumentRefused([Flaw(mark, "a key must be a plain text", "did you forget quotes around braces?")])
        if len(self._open) >= DEEPEST:
            raise DocumentRefused([Flaw(mark, f"nested deeper than {DEEPEST} levels")])
        self._anchor(event.anchor, mark, None)
        node = Mapping(mark) if isinstance(event, MappingStartEvent) else Sequence(mark)
        self._open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        if done.anchor is not None:
            self._anchors[done.anchor] = done.node
        self._attach(done.node)

    def _alias(self, event: AliasEvent) -> None:
        mark = _mark(event)
        if self._wants_key():
            raise DocumentRefused([Flaw(mark, "an alias cannot be a key")])
        if event.anchor not in self._anchors:
            raise DocumentRefused([Flaw(mark, f"no anchor is called '{event.anchor}'")])
        node = self._anchors[event.anchor]
        if node is None:
            raise DocumentRefused([Flaw(mark, f"'{event.anchor}' contains itself")])
        self._attach(node)

    def _wants_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node, Mapping) and self._open[-1].key is None

    def _key(self, text: str, mark: Mark) -> None:
        owner = self._open[-1]
        assert isinstance(owner.node, Mapping)
        if text in owner.node.entries:
            first = owner.node.entries[text][0]
            self.flaws.append(Flaw(mark, f"duplicate key '{text}'", f"it already stands in line {first.line}"))
        owner.key = (text, mark)

    def _attach(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        owner = self._open[-1]
        if isinstance(owner.node, Sequence):
            owner.node.items.append(node)
        elif owner.key is not None:
            if isinstance(node, Scalar) and node.value is None:
                # what is absent stands where the scanner went on; its key is where the user looks
                node.mark = owner.key[1]
            owner.node.entries.setdefault(owner.key[0], (owner.key[1], node))
            owner.key = None
        owner.node.size += node.size
        owner.node.depth = max(owner.node.depth, node.depth + 1)
        if owner.node.size > LARGEST_TREE or owner.node.depth + len(self._open) - 1 > DEEPEST:
            raise DocumentRefused(
                [Flaw(owner.node.mark, f"larger than {LARGEST_TREE} values or deeper than {DEEPEST}")]
            )

    def _anchor(self, anchor: str | None, mark: Mark, node: Node | None) -> None:
        if anchor is not None:
            if anchor in self._anchors:
                self.flaws.append(Flaw(mark, f"anchor '{anchor}' is given twice"))
            self._anchors[anchor] = node

    def _refuse_tag(self, event: Any, mark: Mark) -> None:
        if event.ctag is not None and str(event.ctag) not in ("", "None"):
            self.flaws.append(Flaw(mark, f"tag '{event.ctag}' is not read", "write the plain value"))


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _syntax(error: Exception, text: str) -> Flaw:
    """ruamel's complaint as ours; a place it does not know is the start of the text."""
    if isinstance(error, ReaderError):
        before = text[: error.position] if isinstance(error.position, int) else ""
        mark = Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        return Flaw(mark, "a character that YAML does not allow", "control characters must be escaped in quotes")
    if isinstance(error, MarkedYAMLError):
        place = error.problem_mark or error.context_mark
        mark = Mark(place.line + 1, place.column + 1) if place is not None else Mark(1, 1)
        hint = (error.context or "").strip()
        if hint and error.context_mark is not None:
            hint += f" that begins in line {error.context_mark.line + 1}"
        return Flaw(mark, f"not YAML: {error.problem or error.context or 'unreadable'}", hint)
    return Flaw(Mark(1, 1), "not YAML", str(error).splitlines()[0][:200] if str(error) else "")


def compose(text: str) -> Document:
    """Read one YAML document; raises `DocumentRefused` with every flaw found, never anything else."""
    if len(text) > LARGEST_TEXT:
        raise DocumentRefused([Flaw(Mark(1, 1), f"the file is longer than {LARGEST_TEXT} characters")])
    composer = _Composer()
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            composer.take(event)
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # besides YAMLError, ruamel's scanner lets plain Python errors escape on some hostile texts (escapes beyond
        # Unicode, odd directives); whatever it says, the fault is the text's
        raise DocumentRefused([*composer.flaws, _syntax(error, text)]) from error
    if composer.root is None or (isinstance(composer.root, Scalar) and composer.root.value is None):
        raise DocumentRefused([Flaw(Mark(1, 1), "the file is empty", "'realmfleet init' writes a first cluster file")])
    return Document(composer.root, tuple(composer.flaws))


def plain(node: Node) -> Any:
    """The data of a tree: dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def place(root: Node, path: Path, at_key: bool) -> Mark:
    """Where a path stands: its value, or its key when `at_key`; what is absent is placed at the key of its owner."""
    node, value_mark, key_mark = root, root.mark, root.mark
    for part in path:
        if isinstance(node, Mapping) and str(part) in node.entries:
            key_mark, node = node.entries[str(part)]
        elif isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
            node = node.items[part]
            key_mark = node.mark
        else:
            return key_mark
        value_mark = node.mark
    return key_mark if at_key else value_mark
