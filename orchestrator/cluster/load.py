"""From a text to typed records, with every mistake at its line and column, all at once.

Three steps, each of which stops when it has found errors: the text becomes a tree (`document`), the tree becomes
records (`schema`, `experiment`), the records are asked whether they make sense together (`check`). Whatever the input
bytes are, the answer is a `Loaded`, never an exception. Reading the file is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.cluster import check, document, translate
from orchestrator.cluster.diagnostics import Finding, Problem, Severity, as_json, path_text, render
from orchestrator.cluster.document import Document, DocumentRefused, Flaw, Mapping, Mark, Scalar
from orchestrator.cluster.experiment import Experiment, check_experiment
from orchestrator.cluster.injection import Injection, injection_checks
from orchestrator.cluster.schema import Cluster

RecordT = TypeVar("RecordT", bound=BaseModel)


_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line for YAML, so that our line numbers and the parser's agree."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text by name and its tree once it could be read; turns findings into problems."""

    name: str
    text: str
    lines: tuple[str, ...]
    tree: Document | None = None

    def problems(self, findings: Sequence[Finding]) -> tuple[Problem, ...]:
        """Each finding once, at its line and column, in the order of the file."""
        found = dict.fromkeys(self._problem(finding) for finding in findings)
        return tuple(sorted(found, key=_place))

    def problem(
        self, mark: Mark, message: str, hint: str, path: str = "", severity: Severity = Severity.ERROR
    ) -> Problem:
        """A problem at a place of this text."""
        line = self.lines[mark.line - 1] if mark.line <= len(self.lines) else ""
        return Problem(self.name, mark.line, mark.column, path, message, hint, severity, line)

    def _problem(self, finding: Finding) -> Problem:
        mark = Mark(1, 1)
        if self.tree is not None:
            mark = document.place(self.tree.root, finding.path, at_key=finding.at == "key")
        return self.problem(mark, finding.message, finding.hint, path_text(finding.path), finding.severity)


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


@dataclass(frozen=True, slots=True)
class Loaded(Generic[RecordT]):
    """Outcome of loading: `value` is None exactly when some problem is an error; warnings come with a value."""

    value: RecordT | None
    problems: tuple[Problem, ...]
    source: Source

    @property
    def ok(self) -> bool:
        return self.value is not None

    def render(self) -> str:
        """Every problem as text, with the line and a caret; empty when there is none."""
        return render(self.problems)

    def as_json(self) -> dict[str, Any]:
        """Every problem as plain data."""
        return as_json(self.problems)


def load_text(text: str | bytes, name: str) -> Loaded[Cluster]:
    """Read a cluster file; `name` is how problems call it."""
    return _load(text, name, Cluster, check.check_cluster)


def load_experiment(text: str | bytes, name: str) -> Loaded[Experiment]:
    """Read an experiment file; whether it fits its fleet is asked by `experiment.plan` once the fleet is loaded."""
    return _load(text, name, Experiment, check_experiment)


def load_injection(text: str | bytes, name: str, cluster: Cluster, from_ns: int) -> Loaded[Injection]:
    """Read what is injected into a run of `cluster` that is branched at `from_ns` (virtual ns)."""
    return _load(text, name, Injection, injection_checks(cluster, from_ns))


def load_either(text: str | bytes, name: str) -> Loaded[Cluster] | Loaded[Experiment]:
    """Read a file of either kind: an experiment says `kind: experiment`, everything else is taken for a cluster."""
    source, tree, problems = _read(text, name)
    if tree is not None and _says_experiment(tree):
        return _judge(source, tree, Experiment, check_experiment)
    return Loaded(None, problems, source) if tree is None else _judge(source, tree, Cluster, check.check_cluster)


def _load(
    text: str | bytes, name: str, record: type[RecordT], checks: Callable[[RecordT], list[Finding]]
) -> Loaded[RecordT]:
    source, tree, problems = _read(text, name)
    return Loaded(None, problems, source) if tree is None else _judge(source, tree, record, checks)


def _read(text: str | bytes, name: str) -> tuple[Source, Document | None, tuple[Problem, ...]]:
    """The text as a tree, or the problems that keep it from being one."""
    decoded = _decoded(text, name)
    if isinstance(decoded, Problem):
        return Source(name, "", ()), None, (decoded,)
    source = Source(name, decoded, tuple(_LINE_END.split(decoded)))
    try:
        tree = document.compose(decoded)
    except DocumentRefused as refused:
        return source, None, _flaws(source, refused.flaws)
    return Source(name, decoded, source.lines, tree), tree, ()


def _judge(
    source: Source, tree: Document, record: type[RecordT], checks: Callable[[RecordT], list[Finding]]
) -> Loaded[RecordT]:
    value, findings = _validated(tree, record, checks)
    problems = tuple(sorted((*_flaws(source, tree.flaws), *source.problems(findings)), key=_place))
    usable = not any(problem.severity is Severity.ERROR for problem in problems)
    return Loaded(value if usable else None, problems, source)


def _flaws(source: Source, flaws: Sequence[Flaw]) -> tuple[Problem, ...]:
    return tuple(source.problem(flaw.mark, flaw.message, flaw.hint) for flaw in flaws)


def _validated(
    tree: Document, record: type[RecordT], checks: Callable[[RecordT], list[Finding]]
) -> tuple[RecordT | None, list[Finding]]:
    wrong_kind = _wrong_kind(tree, record)
    if wrong_kind is not None:
        return None, [wrong_kind]
    try:
        value = record.model_validate(document.plain(tree.root))
    except ValidationError as errors:
        return None, translate.findings(record, errors)
    return value, checks(value)


def _wrong_kind(tree: Document, record: type[BaseModel]) -> Finding | None:
    """A file of the other kind gets one clear finding instead of a finding for every key."""
    root = tree.root
    if not isinstance(root, Mapping):
        return Finding((), "the file must hold keys and values", "'realmfleet init' writes a first cluster file")
    if _says_experiment(tree) and record is Cluster:
        return Finding(("kind",), "this is an experiment, not a cluster", "run it by 'realmfleet chaos run FILE'")
    if not _says_experiment(tree) and record is Experiment and "profiles" in root.entries:
        return Finding((), "this is a cluster, not an experiment", "run it by 'realmfleet run FILE'")
    return None


def _says_experiment(tree: Document) -> bool:
    kind = tree.root.entries.get("kind") if isinstance(tree.root, Mapping) else None
    return kind is not None and isinstance(kind[1], Scalar) and kind[1].value == "experiment"


def _decoded(text: str | bytes, name: str) -> str | Problem:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        return Problem(name, line, column, "", f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8")
