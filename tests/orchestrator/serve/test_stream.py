"""The event stream: in order, resumable, and never felt by the engine however slow its readers are."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import httpx


def events(answer: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """(event, id, data) of each event (WHATWG HTML, section 9.2.6)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if not line:
            if "data" in fields:
                yield fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        elif not line.startswith(":"):
            key, _, value = line.partition(": ")
            fields[key] = value


def past(up: Any, **query: Any) -> list[tuple[str, str, Any]]:
    with up.client.stream("GET", "/api/v1/events", params={"follow": False, **query}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events(answer))


def test_the_whole_trace_can_be_read_in_order_with_its_places(up: Any) -> None:
    found = past(up, after=-1)
    assert [int(place) for _, place, _ in found] == list(range(len(found)))
    keys = [(data["at_ns"], data["priority"], data["source"], data["number"]) for _, _, data in found]
    assert keys == sorted(keys)


def test_a_reader_that_comes_back_goes_on_behind_its_last_line(up: Any) -> None:
    whole = past(up, after=-1)
    assert len(whole) > 60
    headers = {"last-event-id": "40"}
    with up.client.stream("GET", "/api/v1/events", params={"follow": False}, headers=headers) as answer:
        rest = list(events(answer))
    assert rest[0][1] == "41"
    assert rest[: len(whole) - 41] == whole[41:]


def test_a_place_beyond_the_end_is_the_end(up: Any) -> None:
    assert past(up, after=10**9) == []


def test_new_records_arrive_while_the_stream_is_open(up: Any) -> None:
    with up.client.stream("GET", "/api/v1/events") as answer:
        stream = events(answer)
        up.post("/machines/r2-std-02/cordon")
        found = next(data for _, _, data in stream if data["kind"] == "machine.cordoned")
    assert found["what"]["machine"] == "r2-std-02"
    up.post("/machines/r2-std-02/uncordon")


def test_the_picture_comes_whole_and_then_as_changes_that_add_up_to_the_lists(up: Any) -> None:
    with up.client.stream("GET", "/api/v1/events", params={"state": True}) as answer:
        stream = ((event, data) for event, _, data in events(answer) if event != "record")
        event, picture = next(stream)
        assert event == "state"
        machines = {row["name"]: row for row in picture["machines"]}
        up.post("/machines/r2-std-01/cordon", why="drill")
        for event, change in islice(stream, 200):
            assert event == "change"
            assert change["number"] == picture["number"] + 1
            picture = change
            machines.update({row["name"]: row for row in change.get("machines", [])})
            if machines["r2-std-01"]["cordons"]:
                break
    up.post("/machines/r2-std-01/uncordon")
    assert machines["r2-std-01"]["cordons"] == {"operator": "drill"}
    assert machines.keys() == {row["name"] for row in up.get("/api/v1/machines").json()["items"]}


def test_the_stream_says_when_the_fleet_ends(bring_up: Callable[..., Any]) -> None:
    up = bring_up()
    with up.client.stream("GET", "/api/v1/events") as answer:
        up.session.stop()
        assert [event for event, _, _ in events(answer)][-1] == "end"


def test_readers_that_never_read_slow_neither_the_engine_nor_each_other(bring_up: Callable[..., Any]) -> None:
    up = bring_up(speed=100.0)
    request = b"GET /api/v1/events?after=-1&state=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    deaf = []
    for _ in range(20):
        one = socket.create_connection((up.server.listen.host, up.server.listen.port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(request)
        deaf.append(one)
    try:
        start_ns = up.session.snapshot.now_ns
        began = time.monotonic()
        up.wait(lambda: up.session.snapshot.now_ns >= start_ns + 100 * 10**9)
        assert time.monotonic() - began < 5  # one second is what the speed asks for
        assert up.get("/api/v1/status").elapsed.total_seconds() < 2
    finally:
        for one in deaf:
            one.close()
