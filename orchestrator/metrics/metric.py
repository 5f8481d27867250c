"""What an entry of the catalogue is made of: kind, unit, labels, ladder of a histogram, dashboards that show it.

Values are integers in a fine unit until they are printed: seconds are held as nanoseconds, ratios as parts per million.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

OTHER: Final = "other"
"""Stands for a value that a closed label does not know: better counted apart than lost, or than a stopped run."""


class Kind(StrEnum):
    """Type of a metric, as OpenMetrics names it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """Base unit in which a metric is exported; the last part of its name."""

    NONE = ""
    SECONDS = "seconds"
    BYTES = "bytes"


HELD_PER_UNIT: Final = {Unit.NONE: 1, Unit.SECONDS: 1_000_000_000, Unit.BYTES: 1}
"""How many of the integers held make one exported unit."""


class Origin(StrEnum):
    """Where a metric comes from."""

    TRACE = "trace"
    """Simulated: a function of the trace, the same for the same file and seed whatever machine ran it."""
    RUN = "run"
    """Simulated: a function of cluster file, seed and the judgement at the end of the run."""
    PROCESS = "process"
    """Wall clock and processes of this one execution; in no way part of what was simulated, nor of `metrics.om`."""


class Ladder(StrEnum):
    """The three ladders of histogram buckets, so that quantiles of different metrics compare."""

    FAST = "fast"
    MID = "mid"
    LONG = "long"


_US, _MS, _S = 1_000, 1_000_000, 1_000_000_000

BOUNDS_NS: Final[dict[Ladder, tuple[int, ...]]] = {
    Ladder.FAST: tuple(
        bound_us * _US
        for bound_us in (1, 2, 5, 10, 22, 46, 100, 220, 460, 1_000, 2_200, 4_600, 10_000, 22_000, 46_000, 100_000)
    ),
    Ladder.MID: tuple(
        bound_ms * _MS for bound_ms in (1, 2, 4, 8, 15, 30, 60, 125, 250, 500, 1_000, 2_500, 5_000, 10_000)
    ),
    Ladder.LONG: (
        *(tenths * _S // 10 for tenths in (1, 3, 5, 10, 25, 50)),
        *(bound_s * _S for bound_s in (10, 30, 60, 120, 300, 600, 1_800, 3_600)),
    ),
}
"""Upper bounds (inclusive, ns) of the buckets; above the last is only +Inf."""


class Board(StrEnum):
    """The dashboards, one per task; the value is the name of its file and the end of its uid."""

    FLEET = "fleet"
    ATTESTATION = "attestation"
    SCHEDULING = "scheduling"
    MIGRATION = "migration"
    ROLLOUT = "firmware-rollout"
    CHAOS = "chaos"
    CONTROL = "control-plane"


class Label(Struct, frozen=True):
    """A label. With `values` it is closed: nothing else is exported, unknown values count as `other`.

    Without, its values come from the cluster file and `bound` says how many there can be.
    """

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""

    def admit(self, value: str) -> str:
        """The value to export for `value`."""
        return value if not self.values or value in self.values else OTHER


def closed(name: str, *values: str) -> Label:
    """A label that takes these values and `other`."""
    return Label(name, (*dict.fromkeys(str(value) for value in values), OTHER))


class Metric(Struct, frozen=True, kw_only=True):
    """One metric. `name` is what a query writes (counters with `_total`, histograms without suffix).

    With `zeros`, every combination of closed labels is exported from the start, zero included. Metrics with a label
    `machine` exist only in fleets below `PER_MACHINE_BELOW` machines.
    """

    name: str
    kind: Kind
    help: str
    unit: Unit = Unit.NONE
    labels: tuple[Label, ...] = ()
    ladder: Ladder | None = None
    boards: tuple[Board, ...] = ()
    origin: Origin = Origin.TRACE
    zeros: bool = False

    @property
    def family(self) -> str:
        """Name of the family in OpenMetrics: without `_total`."""
        return self.name.removesuffix("_total")

    @property
    def per_machine(self) -> bool:
        """Whether it has a series per machine."""
        return any(label.name == "machine" for label in self.labels)

    @property
    def bounds(self) -> tuple[int, ...]:
        """Bucket bounds of a histogram in held units; empty for other kinds."""
        return BOUNDS_NS[self.ladder] if self.ladder is not None else ()

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Names that a query may use for it."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


PER_MACHINE_BELOW: Final = 1_000
"""Series per machine exist only in fleets with fewer machines than this."""
SERIES_BUDGET: Final = 30_000
"""Most series of a fleet of 1 000 machines."""
