"""Byte layouts of parameter and run pages as offset tables, from which the codecs are generated.

All fields are little-endian (DEN0137, section B2). A page is described once, by a tuple of `Field` rows; `Layout`
turns the rows into an encoder and a decoder.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

_INTEGER_CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q", (8, True): "q"}


class Field(NamedTuple):
    """One row of a page layout: `items` integers of `size` bytes, or one byte string when `items` is 0."""

    name: str
    offset: int
    size: int
    items: int = 1
    signed: bool = False

    @property
    def end(self) -> int:
        """Offset of the first byte after the field."""
        return self.offset + self.size * max(self.items, 1)


class Layout:
    """A page of `size` bytes whose rows do not overlap; bytes between rows are written zero, ignored when read."""

    def __init__(self, name: str, size: int, fields: tuple[Field, ...]) -> None:
        self.name = name
        self.size = size
        self.fields = {field.name: field for field in fields}
        self._codecs = [(field, _codec(field)) for field in fields]
        end = 0
        for field in fields:
            if field.offset < end or field.end > size:
                raise ValueError(f"{name}.{field.name} at {field.offset:#x} overlaps or leaves the page")
            end = field.end

    def offset(self, name: str, index: int = 0) -> int:
        """Byte offset of element `index` of field `name`."""
        field = self.fields[name]
        return field.offset + index * field.size

    def decode(self, page: bytes) -> dict[str, Any]:
        """Field values of `page`: int, tuple of int, or bytes; never fails for a page of the right size."""
        values: dict[str, Any] = {}
        for field, codec in self._codecs:
            unpacked = codec.unpack_from(page, field.offset)
            values[field.name] = unpacked if field.items > 1 else unpacked[0]
        return values

    def encode(self, record: object) -> bytes:
        """The page whose fields are the attributes of `record` with the same names.

        Raises:
            struct.error: a value does not fit its field.
        """
        page = bytearray(self.size)
        for field, codec in self._codecs:
            value = getattr(record, field.name)
            if field.items > 1:
                given = tuple(value)
                codec.pack_into(page, field.offset, *given, *(0,) * (field.items - len(given)))
            else:
                codec.pack_into(page, field.offset, value)
        return bytes(page)


def _codec(field: Field) -> struct.Struct:
    if field.items == 0:
        return struct.Struct(f"<{field.size}s")
    return struct.Struct(f"<{field.items}{_INTEGER_CODES[field.size, field.signed]}")
