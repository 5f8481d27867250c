"""Requests and replies to bytes and back: a version byte, an eight-byte sequence number, then msgpack.

Decoding is strict: an unknown version, an unknown tag, a wrong type or bytes left over raise `NodeBroken`. Snapshots
and advances stay bytes inside, so the head can keep and compare them without understanding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from cca_machine.commands import Advance, MachineSpec
from node.errors import NodeBroken
from node.protocol import Open, Reply, Request

VERSION = 1
"""First byte of every frame."""

_HEAD_BYTES = 9

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_ADVANCES = msgspec.msgpack.Decoder(Advance)
_SPECS = msgspec.msgpack.Decoder(MachineSpec)


def encode_frame(sequence: int, body: Request | Reply) -> bytes:
    """The bytes of a request or reply under its sequence number."""
    return bytes([VERSION]) + sequence.to_bytes(8, "big") + _ENCODER.encode(body)


def decode_request(frame: bytes) -> tuple[int, Request]:
    """Sequence number and request of a frame; raises `NodeBroken`."""
    try:
        return _sequence(frame), _REQUESTS.decode(memoryview(frame)[_HEAD_BYTES:])
    except (msgspec.DecodeError, ValueError) as error:
        raise NodeBroken(f"not a request: {error}") from error


def decode_reply(frame: bytes) -> tuple[int, Reply]:
    """Sequence number and reply of a frame; raises `NodeBroken`."""
    try:
        return _sequence(frame), _REPLIES.decode(memoryview(frame)[_HEAD_BYTES:])
    except (msgspec.DecodeError, ValueError) as error:
        raise NodeBroken(f"not a reply: {error}") from error


def _sequence(frame: bytes) -> int:
    if len(frame) < _HEAD_BYTES or frame[0] != VERSION:
        raise ValueError(f"a frame starts with version {VERSION} and a sequence number, not {frame[:_HEAD_BYTES]!r}")
    return int.from_bytes(frame[1:_HEAD_BYTES], "big")


def encode_advance(advance: Advance) -> msgspec.Raw:
    """What a machine did, as bytes."""
    return msgspec.Raw(_ENCODER.encode(advance))


def decode_advance(advance: msgspec.Raw) -> Advance:
    """What a machine did, from its bytes; raises `NodeBroken`."""
    try:
        return _ADVANCES.decode(advance)
    except msgspec.DecodeError as error:
        raise NodeBroken(f"not an advance: {error}") from error


def digest_of(advance: msgspec.Raw) -> bytes:
    """Sixteen bytes that stand for an advance when a repeat is compared with the first time."""
    return blake2b(advance, digest_size=16).digest()


def pack_specs(factory: str, specs: Sequence[MachineSpec]) -> Open:
    """The request that builds `specs`; an image that many machines run crosses the wire, and is held, once."""
    images: dict[bytes, int] = {}
    packed = []
    for spec in specs:
        numbers = {name: images.setdefault(image, len(images)) for name, image in spec.firmware.items()}
        firmware = {name: number.to_bytes(4, "big") for name, number in numbers.items()}
        packed.append(_ENCODER.encode(replace(spec, firmware=firmware)))
    return Open(factory, packed, list(images))


def unpack_specs(request: Open) -> list[MachineSpec]:
    """The specifications of an `Open`, sharing the bytes of their images; raises `NodeBroken`."""
    try:
        specs = [_SPECS.decode(packed) for packed in request.specs]
        return [
            replace(
                spec,
                firmware={name: request.images[int.from_bytes(at, "big")] for name, at in spec.firmware.items()},
            )
            for spec in specs
        ]
    except (msgspec.DecodeError, IndexError) as error:
        raise NodeBroken(f"not a list of machines: {error}") from error
