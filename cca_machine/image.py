"""Contents of Realm images: pseudo-random pages that follow from name and version alone.

Everyone who needs an image computes it: the host that loads it and the control plane that computes reference values.
Nothing is stored and nothing is sent. Page `i` is the first 4096 bytes of SHAKE-128 (FIPS 202) over the name, the
version and `i`; bytes beyond `size_bytes` are zero, as a loader pads the last page.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cca_machine.commands import ImageSpec

PAGE_BYTES = 4096

_KEPT_IMAGES = 32
"""Images whose pages stay in memory (2 MiB each is typical); the rest is computed again when asked for."""


def page_count(image: ImageSpec) -> int:
    """Number of pages that the content of `image` occupies."""
    return -(-image.size_bytes // PAGE_BYTES)


def page(image: ImageSpec, index: int) -> bytes:
    """The 4096 bytes of page `index`, zero padded behind the end of the image. IndexError beyond the last page."""
    return pages(image)[index]


@lru_cache(maxsize=_KEPT_IMAGES)
def pages(image: ImageSpec) -> tuple[bytes, ...]:
    """All pages of `image`; the same objects for every caller, so that memory holding them is shared."""
    prefix = b"realmfleet image\0" + image.name.encode() + b"\0" + image.version.to_bytes(8, "big")
    made = [_content(prefix, index) for index in range(page_count(image))]
    rest = image.size_bytes % PAGE_BYTES
    if rest:
        made[-1] = made[-1][:rest] + bytes(PAGE_BYTES - rest)
    return tuple(made)


def _content(prefix: bytes, index: int) -> bytes:
    return hashlib.shake_128(prefix + index.to_bytes(8, "big")).digest(PAGE_BYTES)
