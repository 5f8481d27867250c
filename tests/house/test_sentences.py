"""Every kind of trace record can be told in words: a new kind needs a saying in `orchestrator/report/sentences.py`."""

from __future__ import annotations

from orchestrator.metrics.labels import RECORD_KIND
from orchestrator.report.sentences import SAYINGS


def test_every_kind_of_record_has_a_saying() -> None:
    assert set(RECORD_KIND.values) - {"other"} - set(SAYINGS) == set()
