"""What a report says of a run besides what was gathered from its trace."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from orchestrator.chaos.verdict import Verdict
from orchestrator.cluster.schema import Cluster
from orchestrator.report.stored import Ending
from orchestrator.report.summary import Summary


class ReportFacts(Struct, frozen=True):
    """Identity and judgement of a run: what its file keeps of its end, its cluster, its numbers and verdicts."""

    ending: Ending
    cluster: Cluster
    summary: Summary
    verdicts: Sequence[Verdict]
