"""No record is without its sentence, and each says what it is about."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.report.sentences import say


@pytest.mark.parametrize("name", ["quickstart", "drained", "leaseless"])
def test_every_record_of_a_run_is_told_with_what_it_is_about(name: str, request: pytest.FixtureRequest) -> None:
    ran: Any = request.getfixturevalue(name)
    for line in ran.lines:
        told = say(line.kind, line.source, line.what)
        about = {line.what.get(key) for key in ("realm", "machine", "rollout", "session", "drain", "kind")} | {
            line.source
        }
        assert any(isinstance(name, str) and name.removeprefix("link:") in told for name in about), told
        assert "{" not in told


def test_a_record_of_a_kind_that_is_not_known_is_told_by_its_fields() -> None:
    assert say("new.kind", "m1", {"a": 1, "b": "x"}) == "new.kind: a 1, b x"
