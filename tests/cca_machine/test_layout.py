"""Where VMMs put things: pure, canonical, and refused when it cannot be."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation import rim
from cca_machine import image
from cca_machine.commands import ImageSpec
from cca_machine.errors import ImpossibleRealm
from cca_machine.layout import RAM_BASE, mpidr_of, plan, ripas_blocks, start_level

START_LEVELS = {
    # width: (start level, root tables); DEN0137 1.0-rel0 section A5.5.9, with as much concatenation as allowed
    32: (2, 4), 33: (2, 8), 34: (2, 16), 35: (1, 1), 39: (1, 1), 40: (1, 2), 41: (1, 4), 42: (1, 8), 43: (1, 16),
    44: (0, 1), 48: (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("width", START_LEVELS)
def test_the_start_level_uses_all_concatenation(width: int) -> None:
    assert start_level(width) == START_LEVELS[width]


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 12), st.sampled_from([33, 36, 41, 44, 48]))
def test_ram_is_initialised_in_the_blocks_that_the_independent_rule_gives(base: int, pages: int, width: int) -> None:
    low, top = base << 12, (base + pages * 97) << 12
    blocks = [rim.RipasInit(*block) for block in ripas_blocks(low, top, start_level(width)[0])]
    assert blocks == list(rim.ripas_blocks(low, top, width))


def test_image_device_tree_and_working_pages_lie_apart_in_ram(kit: Any) -> None:
    layout = plan(kit.realm_spec(image=ImageSpec("web", 1, (3 << 20) + 1), memory_bytes=64 << 20))
    image_top = layout.image_base + image.page_count(layout.image) * 4096
    assert layout.image_base == RAM_BASE
    assert image_top <= layout.tree_base < layout.tree_base + len(layout.tree) <= layout.heap
    assert layout.heap + 3 * 4096 <= layout.mailbox
    assert layout.mailbox + layout.mailbox_bytes <= layout.ram_top
    assert layout.recs[0].gprs[0] == layout.tree_base
    assert layout.recs[0].pc == layout.image_base


@pytest.mark.parametrize(("memory_bytes", "width"), [(64 << 20, 41), (3 << 30, 41), (1022 << 30, 41), (1024 << 30, 42)])
def test_ram_always_lies_in_the_protected_half(kit: Any, memory_bytes: int, width: int) -> None:
    layout = plan(kit.realm_spec(memory_bytes=memory_bytes))
    assert layout.ipa_width == width
    assert layout.ram_top <= 1 << layout.ipa_width - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"memory_bytes": 4 << 20},
        {"memory_bytes": (64 << 20) + 1},
        {"image": ImageSpec("web", 1, 64 << 20)},
        {"image": ImageSpec("web", 1, 0)},
        {"vcpus": 0},
        {"hash_algo": "sha-1"},
    ],
    ids=str,
)
def test_what_cannot_be_laid_out_is_refused_with_a_reason(kit: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleRealm, match="r: "):
        plan(kit.realm_spec(**fields))


def test_the_device_tree_is_a_device_tree_and_says_what_the_guest_has(kit: Any) -> None:
    layout = plan(kit.realm_spec(vcpus=18))
    blob = layout.tree
    magic, size, structure, strings, *_ = struct.unpack_from(">10I", blob)
    assert (magic, size, structure) == (0xD00DFEED, len(blob), 56)
    assert blob[structure : structure + 4] == b"\0\0\0\1"
    assert blob[strings - 4 : strings] == b"\0\0\0\x09"
    assert blob.count(b"arm,armv8\0") == 18
    assert struct.pack(">2Q", layout.ram_base, layout.ram_bytes) in blob
    assert struct.pack(">2Q", layout.mailbox, layout.mailbox_bytes) in blob


@pytest.mark.parametrize(("index", "mpidr"), [(0, 0), (15, 15), (16, 0x100), (17, 0x101), (4096, 0x10000)])
def test_vcpus_are_numbered_by_affinity(index: int, mpidr: int) -> None:
    assert mpidr_of(index) == mpidr


def test_pages_follow_from_name_and_version_and_the_last_is_padded() -> None:
    first, second = ImageSpec("web", 1, 4096 + 10), ImageSpec("web", 2, 4096 + 10)
    assert image.page_count(first) == 2
    assert image.page(first, 0) != image.page(second, 0)
    assert image.page(first, 0) == image.page(ImageSpec("web", 1, 1 << 20), 0)
    last = image.page(first, 1)
    assert len(last) == 4096
    assert last[10:] == bytes(4086)
    assert last[:10] == image.page(ImageSpec("web", 1, 1 << 20), 1)[:10]
    with pytest.raises(IndexError):
        image.page(first, 2)
