"""What parcels of a session carry (modelled): between hosts, and between a host and the witness.

Bundles are opaque to hosts, which number them (`Freight.sequence`) so that lost ones can be asked for again; the
numbers mean nothing to the RMMs. Everything that arrives is decoded strictly.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

WITNESS = "witness"
"""Name of the lineage witness as an endpoint of messages."""


class Handshake(msgspec.Struct, frozen=True, tag="handshake", forbid_unknown_fields=True):
    """A message of one agent to the other, of which hosts know only its place in the handshake."""

    step: str
    body: bytes


class Freight(msgspec.Struct, frozen=True, tag="freight", forbid_unknown_fields=True):
    """A bundle on its way to the destination."""

    sequence: int
    bundle: bytes


class Have(msgspec.Struct, frozen=True, tag="have", forbid_unknown_fields=True):
    """The destination's host has everything below `upto`, and `early` besides: what is missing is to be sent again."""

    upto: int
    early: tuple[int, ...] = ()


class Back(msgspec.Struct, frozen=True, tag="back", forbid_unknown_fields=True):
    """A bundle of the destination's RMM for the source's: proof that it failed."""

    bundle: bytes


class Ready(msgspec.Struct, frozen=True, tag="ready", forbid_unknown_fields=True):
    """To the witness: everything is here; `digest` is over all that was imported."""

    lineage: str
    digest: bytes
    boot: int


class Challenge(msgspec.Struct, frozen=True, tag="challenge", forbid_unknown_fields=True):
    """From the witness: answer this, so that it is known that you live now."""

    nonce: bytes


class Confirm(msgspec.Struct, frozen=True, tag="confirm", forbid_unknown_fields=True):
    """To the witness: the answer."""

    lineage: str
    digest: bytes
    boot: int
    nonce: bytes


class WantAbort(msgspec.Struct, frozen=True, tag="want-abort", forbid_unknown_fields=True):
    """To the witness: this end is out of the session."""

    lineage: str
    why: str


class Query(msgspec.Struct, frozen=True, tag="query", forbid_unknown_fields=True):
    """To the witness: what was decided?"""

    lineage: str


class Decided(msgspec.Struct, frozen=True, tag="decided", forbid_unknown_fields=True):
    """From the witness: the signed decision."""

    verdict: bytes


Freightage: TypeAlias = Handshake | Freight | Have | Back | Ready | Challenge | Confirm | WantAbort | Query | Decided

FRAME_BYTES = 64
"""What a link is charged for the frame of a message."""


def encode(message: Freightage) -> bytes:
    """A parcel's payload."""
    return msgspec.msgpack.encode(message)


def decode(payload: bytes) -> Freightage:
    """What a parcel carries. Raises msgspec.MsgspecError."""
    message: Freightage = msgspec.msgpack.decode(payload, type=Freightage)
    return message


def step_of(payload: bytes) -> str:
    """Name of the step that a payload is, for tests and traces; empty when it is none. Raises nothing."""
    try:
        message = decode(payload)
    except msgspec.MsgspecError:
        return ""
    tag = str(type(message).__struct_config__.tag)
    if isinstance(message, Handshake):
        return f"{tag}-{message.step}"
    return f"{tag}-{message.sequence}" if isinstance(message, Freight) else tag
