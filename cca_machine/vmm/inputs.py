"""What a VMM loads: kernel, initrd, firmware, device tree."""

from __future__ import annotations

import contextlib
import struct
import zlib

import msgspec

from cca_machine.vmm.mistake import VmmMistake

_MAGIC_AT, _MAGIC = 56, b"ARM\x64"
_HEADER_BYTES = 64
_GZIP = 16 + zlib.MAX_WBITS


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The files' bytes; None where there is none. A given device tree is measured as it is."""

    kernel: bytes | None = None
    initrd: bytes | None = None
    firmware: bytes | None = None
    dtb: bytes | None = None

    def need(self, name: str) -> bytes:
        """The bytes of `name`, which the VMM's command line asks for."""
        content: bytes | None = getattr(self, name)
        if content is None:
            raise VmmMistake(f"the VMM loads a {name}, and none is given", f"--{name} FILE")
        return content


class Kernel(msgspec.Struct, frozen=True):
    """An arm64 Linux image: its bytes (inflated), where in RAM it wants to lie, and how much it needs."""

    content: bytes
    text_offset: int
    load_bytes: int


def linux_image(data: bytes) -> Kernel:
    """Read the image header (Linux Documentation/arch/arm64/booting.rst), inflating gzip.

    Raises:
        VmmMistake: it is no arm64 image.
    """
    if data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        with contextlib.suppress(zlib.error):
            data = zlib.decompress(data, _GZIP)
    if data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC or len(data) < _HEADER_BYTES:
        raise VmmMistake("the kernel is no arm64 Linux Image", "an Image (or Image.gz) with `ARM\\x64` at byte 56")
    text_offset, load_bytes = struct.unpack_from("<QQ", data, 8)
    return Kernel(data, text_offset, load_bytes)


_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


def memory_size(text: str) -> int:
    """Bytes of a size like 512M or 1G; a bare number counts MiB, as VMMs take it."""
    digits, unit = (text[:-1], text[-1]) if text and text[-1] in _UNITS else (text, "M")
    if not digits.isdecimal() or not int(digits):
        raise VmmMistake(f"{text!r} is no memory size", "a size like 512M or 1G")
    return int(digits) << _UNITS[unit]


def count(text: str, what: str) -> int:
    """A positive number of `what`."""
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise VmmMistake(f"{text!r} is no number of {what}", "a number from 1")
    return int(text)
