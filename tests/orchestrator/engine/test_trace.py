"""The trace: canonical lines, strict order, and a digest that anyone can compute again."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from orchestrator.engine.errors import OrderBroken
from orchestrator.engine.ports import Priority, TraceEntry
from orchestrator.engine.trace import MemorySink, Trace, encode_line


class Thing(Struct, frozen=True, tag="a.thing"):
    zebra: int
    apple: bytes
    names: dict[str, int]


class Untagged(Struct, frozen=True):
    value: int


def entry(at_ns: int, source: str = "m0", number: int = 1, priority: int = Priority.MACHINE) -> TraceEntry:
    return TraceEntry(at_ns, priority, source, number, Thing(at_ns, b"\xff\x00", {"b": 1, "a": 2}))


def test_a_line_is_sorted_json_without_spaces() -> None:
    line = encode_line(entry(5)).line
    fields = {
        "at_ns": 5,
        "kind": "a.thing",
        "number": 1,
        "priority": 3,
        "source": "m0",
        "what": {"apple": base64.b64encode(b"\xff\x00").decode(), "names": {"a": 2, "b": 1}, "zebra": 5},
    }
    assert line == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def test_an_untagged_record_is_refused() -> None:
    with pytest.raises(TypeError, match="tagged"):
        encode_line(TraceEntry(0, 0, "x", 1, Untagged(1)))


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 5), st.sampled_from("ab"), st.integers(0, 9)), unique=True),
    st.lists(st.integers(0, 120), max_size=5),
)
def test_lines_and_digest_do_not_depend_on_when_entries_come_and_are_settled(
    keys: list[tuple[int, int, str, int]], stops: list[int]
) -> None:
    sink, whole = MemorySink(), MemorySink()
    trace, other = Trace(sink), Trace(whole)
    done = 0
    for stop in [*sorted(stops), 121]:
        trace.admit([entry(at, source, number, priority) for at, priority, source, number in keys if done <= at < stop])
        trace.settle(stop)
        done = max(done, stop)
    other.admit([entry(at, source, number, priority) for at, priority, source, number in reversed(keys)])
    assert trace.close() == other.close()
    assert [line.entry.key for line in sink.lines] == sorted(keys)
    recomputed = hashlib.sha256(b"".join(line.line + b"\n" for line in whole.lines)).hexdigest()
    assert other.digest == recomputed
    assert other.count == len(keys)


def test_nothing_is_written_before_its_instant_is_settled() -> None:
    sink = MemorySink()
    trace = Trace(sink)
    trace.admit([entry(100), entry(200)])
    trace.settle(200)
    assert [line.entry.at_ns for line in sink.lines] == [100]
    trace.close()
    assert [line.entry.at_ns for line in sink.lines] == [100, 200]


def test_a_record_of_the_settled_past_stops_the_run() -> None:
    trace = Trace()
    trace.settle(200)
    with pytest.raises(OrderBroken, match="settled past"):
        trace.admit([entry(199)])
    trace.admit([entry(200)])


def test_a_number_that_is_used_twice_stops_the_run() -> None:
    trace = Trace()
    trace.admit([entry(1), entry(1)])
    with pytest.raises(OrderBroken, match="twice"):
        trace.close()
