"""The injection file: what goes wrong, or what operators do, in a branch of a run from some instant on.

It holds `faults` and `events` exactly as a cluster file writes them. Each begins at its `at`, an instant of the run
that is branched. The names in it are those of that run's cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from orchestrator.cluster.check import check_cluster
from orchestrator.cluster.diagnostics import Finding
from orchestrator.cluster.quantities import format_duration
from orchestrator.cluster.schema import Cluster, Event, Fault, Record


class Injection(Record):
    """What is added to a run that is branched."""

    faults: list[Annotated[Fault, Field(discriminator="fault")]] = Field(
        default_factory=list, description="What goes wrong, as in a cluster file."
    )
    events: list[Event] = Field(default_factory=list, description="What operators do, as in a cluster file.")


def injection_checks(cluster: Cluster, from_ns: int) -> Callable[[Injection], list[Finding]]:
    """The checks of an injection into a run of `cluster` that is branched at `from_ns` (virtual ns)."""

    def check(injection: Injection) -> list[Finding]:
        if not injection.faults and not injection.events:
            return [Finding((), "nothing is injected", "write faults or events, as in a cluster file")]
        early = [
            Finding((part, index, "at"), "lies before the branch", f"write {format_duration(from_ns)} or later")
            for part, deeds in (("faults", injection.faults), ("events", injection.events))
            for index, deed in enumerate(deeds)
            if deed.at < from_ns
        ]
        standing = cluster.model_copy(update={"faults": injection.faults, "events": injection.events})
        return early + [
            finding for finding in check_cluster(standing) if finding.path[:1] in (("faults",), ("events",))
        ]

    return check
