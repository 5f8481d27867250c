"""Strict CBOR decoder for bytes from strangers, and the encoders for our own.

cbor2 accepts duplicate map keys, indefinite lengths and trailing bytes; tokens must not carry any of them. This decoder
refuses them, bounds size, depth and item count before it allocates, and names the byte offset of every refusal.
Long-form integers are tolerated, because verifiers must (draft-ffm-rats-cca-token, encoding rules; RFC 8949 section 4).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import cbor2

from attestation.errors import Malformed


class Tag(NamedTuple):
    """A tagged value; tags are never interpreted."""

    number: int
    value: Any


class Simple(NamedTuple):
    """A simple value other than false, true, null and undefined."""

    number: int


class _Undefined:
    """The CBOR value ``undefined``."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()


class Limits(NamedTuple):
    """What one decode may cost: input bytes (which bound the number of items) and nesting depth."""

    max_bytes: int = 64 * 1024
    max_depth: int = 16


TOKEN_LIMITS = Limits()
"""Limits for tokens: a full token is about 2 KiB and fits one 4 KiB granule."""

_KEY_TYPES = frozenset((int, str, bytes))
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: UNDEFINED}


class _Decoder:
    """One pass over one byte string."""

    __slots__ = ("data", "end", "max_depth")

    def __init__(self, data: bytes, max_depth: int) -> None:
        self.data = data
        self.end = len(data)
        self.max_depth = max_depth

    def head(self, pos: int) -> tuple[int, int, int]:
        """Read the head at ``pos``: major type, argument, position after the head."""
        if pos >= self.end:
            raise Malformed("CBOR ends where a data item must start", offset=pos)
        initial = self.data[pos]
        info = initial & 0x1F
        if info < 24:
            return initial >> 5, info, pos + 1
        if info > 27:
            if info == 31:
                raise Malformed("indefinite length or stray break code: only definite lengths are allowed", offset=pos)
            raise Malformed(f"reserved additional information {info} in a CBOR head", offset=pos)
        after = pos + 1 + (1 << (info - 24))
        if after > self.end:
            raise Malformed("CBOR ends inside the head of a data item", offset=pos)
        return initial >> 5, int.from_bytes(self.data[pos + 1 : after], "big"), after

    def item(self, pos: int, depth: int) -> tuple[Any, int]:
        """Decode the item at ``pos``: value and position after it."""
        # short heads are inlined: this is the hot path of every token
        data, end = self.data, self.end
        info = data[pos] & 0x1F if pos < end else 31
        if info < 24:
            major, argument, after = data[pos] >> 5, info, pos + 1
        elif info == 24 and pos + 1 < end:
            major, argument, after = data[pos] >> 5, data[pos + 1], pos + 2
        elif info == 25 and pos + 2 < end:
            major, argument, after = data[pos] >> 5, data[pos + 1] << 8 | data[pos + 2], pos + 3
        else:
            major, argument, after = self.head(pos)
        if major == 2 or major == 3:
            stop = after + argument
            if stop > end:
                raise Malformed(f"string of {argument} bytes runs past the end of the input", offset=pos)
            content = data[after:stop]
            if major == 2:
                return content, stop
            try:
                return content.decode(), stop
            except UnicodeDecodeError as error:
                raise Malformed("text string is not valid UTF-8", offset=after + error.start) from None
        if major == 0:
            return argument, after
        if major == 1:
            return -1 - argument, after
        if major == 7:
            return self.simple(pos, argument, after)
        if depth >= self.max_depth:
            raise Malformed(f"CBOR is nested deeper than {self.max_depth} levels", offset=pos)
        if major == 6:
            value, after = self.item(after, depth + 1)
            return Tag(argument, value), after
        if argument > end - after:
            raise Malformed(f"container of {argument} elements runs past the end of the input", offset=pos)
        if major == 5:
            return self.map(argument, after, depth + 1)
        elements = []
        for _ in range(argument):
            value, after = self.item(after, depth + 1)
            elements.append(value)
        return elements, after

    def map(self, count: int, pos: int, depth: int) -> tuple[dict[Any, Any], int]:
        """Decode ``count`` pairs; keys must be integers or strings, each once."""
        result: dict[Any, Any] = {}
        data, end = self.data, self.end
        for _ in range(count):
            # a claim map is small integers and strings: those are read here, everything else by `item`
            initial = data[pos] if pos < end else 0xFF
            if initial < 24:
                key, after = initial, pos + 1
            elif initial == 0x19 and pos + 2 < end:
                key, after = data[pos + 1] << 8 | data[pos + 2], pos + 3
            else:
                key, after = self.item(pos, depth)
                if type(key) not in _KEY_TYPES:
                    raise Malformed("map key is neither an integer nor a string", offset=pos)
            if key in result:
                label = key if isinstance(key, int) else str(key)[:80]
                raise Malformed("duplicate map key", label=label, offset=pos)
            initial = data[after] if after < end else 0xFF
            if initial == 0x58 and after + 1 < end:
                start = after + 2
                stop = start + data[after + 1]
            elif 0x40 <= initial < 0x58 or 0x60 <= initial < 0x78:
                start = after + 1
                stop = start + (initial & 0x1F)
            else:
                start = stop = end + 1
            if stop <= end and initial < 0x60:
                result[key], pos = data[start:stop], stop
            elif stop <= end and data[start:stop].isascii():
                result[key], pos = data[start:stop].decode(), stop
            else:
                result[key], pos = self.item(after, depth)
        return result, pos

    def simple(self, pos: int, argument: int, after: int) -> tuple[Any, int]:
        """Decode a float, a literal, or a simple value."""
        info = self.data[pos] & 0x1F
        if info in _FLOATS:
            return struct.unpack(_FLOATS[info], self.data[pos + 1 : after])[0], after
        if info == 24 and argument < 32:
            raise Malformed(f"simple value {argument} must not use the two-byte form", offset=pos)
        if argument in _SIMPLE:
            return _SIMPLE[argument], after
        return Simple(argument), after


def decode(data: bytes, limits: Limits = TOKEN_LIMITS) -> Any:
    """Decode exactly one data item that fills ``data``.

    Maps become dict (keys int, str or bytes), arrays list, tags :class:`Tag`. Raises Malformed with the byte offset.
    """
    if len(data) > limits.max_bytes:
        raise Malformed(f"input of {len(data)} bytes exceeds the limit of {limits.max_bytes}", offset=limits.max_bytes)
    decoder = _Decoder(data, limits.max_depth)
    value, after = decoder.item(0, 0)
    if after != decoder.end:
        raise Malformed(f"{decoder.end - after} bytes after the end of the data item", offset=after)
    return value


def decode_prefix(data: bytes, limits: Limits = TOKEN_LIMITS) -> tuple[Any, int]:
    """Decode the data item at the start of ``data`` and return it with its length in bytes; bytes may follow it."""
    return _Decoder(data, limits.max_depth).item(0, 0)


def locate(data: bytes, path: tuple[int | str, ...], *, content: bool = False) -> int | None:
    """Find the byte offset of the value that ``path`` (map keys and array indexes; tags are passed through) leads to.

    With ``content`` the offset of a string's first content byte instead of its head. Works on bytes that
    :func:`decode` accepted; None when the path leads nowhere. Kept off the fast path: only refusals pay for it.
    """
    decoder = _Decoder(data, 64)
    pos = 0
    for step in path:
        major, argument, after = decoder.head(pos)
        while major == 6:
            major, argument, after = decoder.head(after)
        found = None
        if major == 5:
            for _ in range(argument):
                key, after = decoder.item(after, 0)
                if key == step and type(key) is type(step):
                    found = after
                _, after = decoder.item(after, 0)
        elif major == 4:
            for index in range(argument):
                if index == step:
                    found = after
                _, after = decoder.item(after, 0)
        if found is None:
            return None
        pos = found
    if not content:
        return pos
    major, _, after = decoder.head(pos)
    while major == 6:
        major, _, after = decoder.head(after)
    return after


def encode(value: Any) -> bytes:
    """Encode with definite lengths and shortest heads, maps in the order given (tokens: the firmware's claim order)."""
    return cbor2.dumps(value)


def encode_canonical(value: Any) -> bytes:
    """Encode our own formats: shortest heads, map keys sorted (RFC 7049 section 3.9, as cbor2 does it)."""
    return cbor2.dumps(value, canonical=True)


def tagged(number: int, value: Any) -> cbor2.CBORTag:
    """Wrap a value for :func:`encode`."""
    return cbor2.CBORTag(number, value)
