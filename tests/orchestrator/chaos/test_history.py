"""Reading a trace, and when each Realm executed where."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cca_machine.commands import FaultKind, MachineBooted, MachineFrozen, MachineLost, MachineThawed, RealmDestroyed
from orchestrator.chaos.history import Life, lives, read
from orchestrator.engine.trace import encode_line

S = 1_000_000_000


def stretches(tape: Any) -> list[tuple[str, str, float, float | None, str]]:
    def seconds(at_ns: int | None) -> float | None:
        return None if at_ns is None else at_ns / S

    return [(x.realm, x.machine, x.from_ns / S, seconds(x.until_ns), x.cause) for x in lives(read(tape.entries))]


def test_json_lines_mappings_and_entries_read_alike_and_in_total_order(tape: Any) -> None:
    tape.live("m2", "web-001", 2).live("m1", "web-002", 1).wanted("web-001", 1)
    raw = [encode_line(entry).line for entry in tape.entries]
    lines = read(tape.entries)
    assert [line.source for line in lines] == ["m1", "control", "m2"]
    assert read(raw) == lines
    assert read([json.loads(line) for line in raw]) == lines
    assert lines[1].kind == "realm.wanted"
    assert lines[1].incarnation == ("web-001", 1)


def test_what_is_not_a_line_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        read([b"{}"])
    with pytest.raises(msgspec.MsgspecError):
        read([b"not json"])


def test_a_stretch_ends_when_the_realm_is_still_or_destroyed(tape: Any) -> None:
    tape.live("m1", "a", 1).still("m1", "a", 3).live("m1", "a", 4)
    tape.put("m1", 6, RealmDestroyed("a", 1, ()))
    assert stretches(tape) == [("a", "m1", 1, 3, "lease"), ("a", "m1", 4, 6, "destroyed")]


def test_a_freeze_interrupts_and_a_thaw_continues_what_ran_and_nothing_else(tape: Any) -> None:
    tape.live("m1", "a", 1).live("m1", "b", 1).still("m1", "b", 2)
    tape.put("m1", 3, MachineFrozen((("a", 1), ("b", 1))))
    tape.put("m1", 5, MachineThawed((("a", 1), ("b", 1))))
    assert stretches(tape) == [
        ("a", "m1", 1, 3, "machine-frozen"), ("b", "m1", 1, 2, "lease"), ("a", "m1", 5, None, ""),
    ]  # fmt: skip


def test_losing_or_booting_a_machine_ends_everything_on_it_and_nothing_elsewhere(tape: Any) -> None:
    tape.live("m1", "a", 1).live("m2", "b", 1)
    tape.put("m1", 2, MachineLost(FaultKind.POWER_LOSS, (("a", 1),)))
    tape.put("m2", 3, MachineBooted(2, {}))
    assert stretches(tape) == [("a", "m1", 1, 2, "machine-lost"), ("b", "m2", 1, 3, "rebooted")]


def test_a_realm_that_begins_to_serve_later_is_one_stretch(tape: Any) -> None:
    tape.live("m1", "a", 1, serving=False).live("m1", "a", 2, serving=True).still("m1", "a", 4)
    (life,) = lives(read(tape.entries))
    assert (life.from_ns, life.serving_from_ns, life.until_ns) == (1 * S, 2 * S, 4 * S)


@pytest.mark.parametrize(
    ("window", "serves"),
    [((0, 1), False), ((0, 2), True), ((3, 9), True), ((4, 9), False), ((5, 9), False)],
)
def test_serving_within_a_window_counts_the_half_open_stretch(tape: Any, window: tuple[int, int], serves: bool) -> None:
    (line,) = read(tape.live("m1", "a", 1, serving=False).entries)
    life = Life("a", 1, "m1", 1, line, serving_from_ns=2, until_ns=4)
    assert life.serves_within(*window) is serves
