"""OpenMetrics text: a run's samples with virtual timestamps, or the values of this moment without.

Numbers are printed from integers, exactly: nanoseconds as decimal seconds, never through a float. Families are sorted
by name; inside a family, series by labels; inside a series, points by time. The bounds of buckets (`le`) are written as
every client library writes them, because Prometheus compares them as text.

Source: OpenMetrics 1.0 (prometheus/docs, content/docs/specs/om/open_metrics_spec.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from orchestrator.metrics.catalogue import BY_NAME
from orchestrator.metrics.metric import HELD_PER_UNIT, Metric
from orchestrator.metrics.samples import Samples
from orchestrator.metrics.tally import Distribution, Key, Value

EPOCH_S = 1_767_225_600
"""Where virtual time 0 is put by default: 2026-01-01T00:00:00Z. Fixed, so that the same run gives the same bytes."""
FILE = "metrics.om"
"""Name of the file in the run directory."""
END = "# EOF\n"
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_NS_PER_MS = 1_000_000


def openmetrics(samples: Samples, epoch_s: int = EPOCH_S) -> Iterator[str]:
    """The text of all samples in chunks, one or more lines each; virtual time 0 is `epoch_s` (seconds since 1970)."""
    stamps = {at_ns: f" {_timestamp(at_ns, epoch_s)}" for at_ns in samples.instants_ns}
    for metric, keys in _by_family(samples.keys()):
        yield head(metric)
        for key in keys:
            yield from _series_text(metric, key, samples, stamps)
    yield END


def exposition(values: Mapping[Key, Value]) -> Iterator[str]:
    """The text of present values, without timestamps: what a scrape of a live run gets as OpenMetrics."""
    for metric, keys in _by_family(values):
        yield head(metric)
        for key in keys:
            for line in lines_of(metric, key, values[key]):
                yield line + "\n"
    yield END


def write_metrics(path: Path, samples: Samples, epoch_s: int = EPOCH_S) -> None:
    """Write `metrics.om`. Metrics about the process that ran have no place in it: the same run gives the same bytes."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(openmetrics(samples, epoch_s))


def head(metric: Metric) -> str:
    """The lines that introduce a family."""
    unit = f"# UNIT {metric.family} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {metric.family} {_escape(metric.help)}\n# TYPE {metric.family} {metric.kind}\n{unit}"


def lines_of(metric: Metric, key: Key, value: Value) -> Iterator[str]:
    """The sample lines of one point, without timestamp and newline."""
    pairs = [f'{label.name}="{_escape(text)}"' for label, text in zip(metric.labels, key.labels, strict=True)]
    if not isinstance(value, Distribution):
        yield f"{metric.name}{_braced(pairs)} {number(metric, value)}"
        return
    for bound, count in zip((*bounds(metric), "+Inf"), accumulate(value.buckets), strict=True):
        le = f'le="{bound}"'
        yield f"{metric.name}_bucket{_braced([*pairs, le])} {count}"
    yield f"{metric.name}_count{_braced(pairs)} {value.observations}"
    yield f"{metric.name}_sum{_braced(pairs)} {number(metric, value.total)}"


def bounds(metric: Metric) -> tuple[str, ...]:
    """Bucket bounds in exported units, as text: shortest decimal of the float, as client libraries print them."""
    return tuple(repr(bound / HELD_PER_UNIT[metric.unit]) for bound in metric.bounds)


def number(metric: Metric, value: int) -> str:
    """An integer of held units as an exact decimal of exported units: `1.5`, `0.000001`, `12`."""
    per_unit = HELD_PER_UNIT[metric.unit]
    if per_unit == 1:
        return str(value)
    whole, rest = divmod(abs(value), per_unit)
    fraction = f"{rest:0{len(str(per_unit)) - 1}d}".rstrip("0")
    return f"{'-' if value < 0 else ''}{whole}{'.' if fraction else ''}{fraction}"


def _by_family(keys: Iterable[Key]) -> Iterator[tuple[Metric, Collection[Key]]]:
    families: dict[str, list[Key]] = {}
    for key in keys:
        families.setdefault(BY_NAME[key.name].family, []).append(key)
    for family in sorted(families):
        members = sorted(families[family])
        yield BY_NAME[members[0].name], members


def _series_text(metric: Metric, key: Key, samples: Samples, stamps: Mapping[int, str]) -> Iterator[str]:
    """All points of a series; lines are made once per change of the value, only the timestamp differs."""
    last: Value | None = None
    lines: tuple[str, ...] = ()
    for at_ns, value in samples.points(key):
        if value is not last:
            last, lines = value, tuple(lines_of(metric, key, value))
        stamp = stamps[at_ns]
        for line in lines:
            yield f"{line}{stamp}\n"


def _timestamp(at_ns: int, epoch_s: int) -> str:
    """Seconds since 1970 with milliseconds where needed: finer is lost on Prometheus."""
    milliseconds = at_ns // _NS_PER_MS
    seconds, rest = divmod(milliseconds, 1000)
    return f"{epoch_s + seconds}.{rest:03d}" if rest else str(epoch_s + seconds)


def _braced(pairs: Collection[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
