"""Two finished runs held against each other: configuration, outcomes, checkers, metrics, and where the traces part.

What is compared of the configuration is what it means: a key that is left out and one that spells its default are the
same, and so are `90s` and `1min 30s`. Texts are shown as their file has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from orchestrator.chaos.checkers import judge
from orchestrator.chaos.history import Line, read
from orchestrator.chaos.verdict import Verdict
from orchestrator.cluster.document import compose
from orchestrator.cluster.document import plain as as_plain
from orchestrator.engine.instant import format_instant
from orchestrator.engine.replay import first_difference
from orchestrator.metrics.collect import Collector
from orchestrator.metrics.fleet_facts import fleet_facts
from orchestrator.metrics.tally import Distribution
from orchestrator.report.sentences import say
from orchestrator.report.stored import StoredRun, open_stored
from orchestrator.report.summary import summarise

Value: TypeAlias = str | int | float | bool | None


class Changed(Struct, frozen=True):
    """One thing that is not the same: a path or a name, and what each run has there (None: nothing)."""

    what: str
    left: Value
    right: Value


class Parting(Struct, frozen=True):
    """The first record at which the traces part: its place (from 0), instant, source and kind, and both in words.

    `left` or `right` is empty where that trace has ended; `fields` are the paths that differ between the two records.
    """

    place: int
    at_ns: int
    source: str
    kind: str
    fields: tuple[str, ...]
    left: str
    right: str


class Comparison(Struct, frozen=True):
    """Everything in which two runs differ; `same` when that is nothing."""

    left: str
    right: str
    configuration: tuple[Changed, ...]
    outcomes: tuple[Changed, ...]
    checkers: tuple[Changed, ...]
    metrics: tuple[Changed, ...]
    parting: Parting | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.parting is None and not any((self.configuration, self.outcomes, self.checkers, self.metrics))


def compare(left: Path, right: Path) -> Comparison:
    """Compare two run directories; raises `UserMistake` naming the one that is not a whole, finished run."""
    with open_stored(left) as one, open_stored(right) as other:
        parted = first_difference(one.trace(), other.trace())
        mine, theirs = _judged(one), _judged(other)
        return Comparison(
            left=str(left),
            right=str(right),
            configuration=tuple(_configuration(one, other)),
            outcomes=tuple(_changed(mine.outcomes, theirs.outcomes)),
            checkers=tuple(_changed(_told(mine.verdicts), _told(theirs.verdicts))),
            metrics=tuple(_changed(mine.metrics, theirs.metrics)),
            parting=None
            if parted is None
            else Parting(
                parted.place,
                parted.at_ns,
                parted.source,
                parted.kind,
                parted.fields,
                in_words(parted.left),
                in_words(parted.right),
            ),
        )


def in_words(line: bytes | None) -> str:
    """A trace line as instant, source and sentence; empty for none."""
    if line is None:
        return ""
    record = msgspec.json.decode(line)
    told = say(record["kind"], record["source"], record["what"])
    return f"{format_instant(record['at_ns'])}  {record['source']}  {told}"


class _Judged(Struct):
    """What is computed of a run to compare it."""

    outcomes: dict[str, Value]
    verdicts: list[Verdict]
    metrics: dict[str, Value]


def _judged(run: StoredRun) -> _Judged:
    lines = read(run.trace())
    summary = msgspec.to_builtins(summarise(lines, run.ending.judged))
    del summary["downtime_longest"]
    verdicts = judge(lines, run.ending.judged)
    outcomes = {"ended at": format_instant(run.ending.end_ns), **dict(_flat(summary))}
    return _Judged(outcomes, [*verdicts, *run.ending.brought], _metrics(run, lines, verdicts))


def _metrics(run: StoredRun, lines: Iterable[Line], verdicts: Iterable[Verdict]) -> dict[str, Value]:
    """Every series at the end of the run, in held units (ns, bytes, counts); a histogram as its count and its sum."""
    collector = Collector(fleet_facts(run.cluster, run.ending.seed))
    for line in lines:
        collector.fold(line)
    collector.advance(run.ending.end_ns)
    collector.judge(verdicts)
    values: dict[str, Value] = {}
    for key in sorted(collector.tally.values):
        value = collector.tally.values[key]
        name = f"{key.name}{{{','.join(key.labels)}}}" if key.labels else key.name
        if key.name.endswith("_run_info"):
            continue
        if isinstance(value, Distribution):
            values[f"{name} count"], values[f"{name} sum"] = value.observations, value.total
        else:
            values[name] = value
    return values


def _told(verdicts: Iterable[Verdict]) -> dict[str, Value]:
    return {verdict.name: f"{verdict.outcome.value}: {verdict.detail}" for verdict in verdicts}


def _configuration(one: StoredRun, other: StoredRun) -> Iterator[Changed]:
    yield from _changed({"(seed of the run)": one.ending.seed}, {"(seed of the run)": other.ending.seed})
    mine, theirs = _meaning(one), _meaning(other)
    written, theirs_written = _as_written(one), _as_written(other)
    for path in dict.fromkeys([*mine, *theirs]):
        if mine.get(path) != theirs.get(path):
            yield Changed(path, _text(path, mine, written), _text(path, theirs, theirs_written))


def _meaning(run: StoredRun) -> dict[str, Value]:
    """Every key of the cluster with its value, defaults included, by path."""
    return dict(_flat(run.cluster.model_dump(mode="json", by_alias=True)))


def _as_written(run: StoredRun) -> dict[str, Value]:
    """The same paths with the texts of the file."""
    return dict(_flat(as_plain(compose(run.cluster_text).root)))


def _text(path: str, meaning: Mapping[str, Value], written: Mapping[str, Value]) -> Value:
    return written[path] if path in written else meaning.get(path)


def _changed(left: Mapping[str, Value], right: Mapping[str, Value]) -> Iterator[Changed]:
    for what in dict.fromkeys([*left, *right]):
        if left.get(what) != right.get(what):
            yield Changed(what, left.get(what), right.get(what))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Leaves of nested plain data by path: keys with points between, places in brackets."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{place}]")
    else:
        yield path, value
