"""Frames between head and node: round trips of every record, and refusal of everything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_machine import FACTORY, toy_fleet

from cca_machine.commands import (
    Advance,
    Attest,
    FaultKind,
    Heal,
    Heartbeat,
    ImageSpec,
    Launch,
    Parcel,
    RealmBuilt,
    RealmSpec,
    RealmStatus,
    Sent,
    Traced,
    Workload,
)
from node.codec import (
    VERSION,
    decode_advance,
    decode_reply,
    decode_request,
    digest_of,
    encode_advance,
    encode_frame,
    pack_specs,
    unpack_specs,
)
from node.errors import NodeBroken
from node.protocol import (
    Arrival,
    Done,
    History,
    MachineAdvance,
    MachineInput,
    NodeInput,
    NodeReport,
    Recall,
    Recalled,
    Reply,
    Request,
    Snapshots,
    Step,
    TakeSnapshots,
)

REALM = RealmSpec("web-1", 2, "web", 2, 1 << 29, ImageSpec("web", 1, 1 << 21), "serve", Workload(100), rpv=bytes(64))
ARRIVALS = [
    Arrival(5, 2, "control", 1, Launch(REALM, "bm9uY2U", 99)),
    Arrival(6, 1, "m1", 2, Parcel("s", b"\x00\xff", 4096)),
    Arrival(7, 0, "chaos", 3, Heal(FaultKind.FREEZE)),
]
ADVANCE = Advance(
    [Sent(8, 1, "control", Heartbeat(1, 2, 3, True, {"RMM": "1.0.0"}, (RealmStatus("web-1", 2, "running"),)), 7)],
    [Traced(9, 1, RealmBuilt("web-1", 2, "ab", {"RMI_REALM_CREATE": 1}, ((4096, 3), (65536, 1))))],
    None,
)
REQUESTS: list[Request] = [
    pack_specs(FACTORY, toy_fleet(2, 1000)),
    NodeInput(100, [MachineInput("m0", ARRIVALS, True), MachineInput("m1", [])]),
    Recall([History("m0", None, [Step(100, ARRIVALS)]), History("m1", b"state", [])]),
    TakeSnapshots(["m0"]),
]
REPLIES: list[Reply] = [
    Done(),
    NodeReport([MachineAdvance("m0", encode_advance(ADVANCE), b"state")]),
    Recalled([[b"0123456789abcdef"], []]),
    Snapshots({"m0": b"state"}),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_request_comes_out_as_it_went_in(request_: Request) -> None:
    assert decode_request(encode_frame(7, request_)) == (7, request_)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_a_reply_comes_out_as_it_went_in(reply: Reply) -> None:
    sequence, found = decode_reply(encode_frame(2**40, reply))
    assert sequence == 2**40
    assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(reply)


def test_what_a_machine_did_comes_out_as_it_went_in() -> None:
    assert decode_advance(encode_advance(ADVANCE)) == ADVANCE
    assert len(digest_of(encode_advance(ADVANCE))) == 16


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        bytes([VERSION + 1]) + encode_frame(1, TakeSnapshots([]))[1:],
        encode_frame(1, TakeSnapshots([])) + b"\x00",
        encode_frame(1, TakeSnapshots([]))[:-1],
        encode_frame(1, Done()),
        encode_frame(1, NodeInput(100, [MachineInput("m0", [Arrival(5, 2, "control", 1, ADVANCE)])])),  # type: ignore[arg-type]
    ],
    ids=["empty", "short", "other version", "bytes left over", "cut off", "a reply", "an input that is none"],
)
def test_what_is_no_request_is_refused(frame: bytes) -> None:
    with pytest.raises(NodeBroken, match="not a request"):
        decode_request(frame)


@given(st.binary(max_size=60))
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    for frame in (noise, bytes([VERSION]) + bytes(8) + noise):
        try:
            decode_reply(frame)
        except NodeBroken:
            continue
        assert frame[0] == VERSION


def test_an_advance_must_be_one() -> None:
    with pytest.raises(NodeBroken, match="not an advance"):
        decode_advance(msgspec.Raw(msgspec.msgpack.encode(Attest("web-1", 1, "x"))))


def test_specifications_that_name_no_image_are_refused() -> None:
    opening = pack_specs(FACTORY, toy_fleet(2, 1000))
    with pytest.raises(NodeBroken, match="list of machines"):
        unpack_specs(msgspec.structs.replace(opening, images=[]))
