"""Memory behind the granule protection table: who reads what, and what a page costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, World
from cca_machine.hardware.granule_map import Bank
from cca_machine.hardware.memory import PhysicalMemory

PAGE = 4096
BASE = 0x4000_0000
SIZE = 8 * PAGE


def memory() -> PhysicalMemory:
    return PhysicalMemory.over(Bank(BASE, SIZE))


writes = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.one_of(st.binary(max_size=64), st.just(bytes(PAGE)), st.just(b"z" * PAGE))),
    max_size=12,
)


@given(writes, st.integers(0, SIZE - 1), st.integers(0, 2 * PAGE))
def test_sparse_memory_equals_an_array_of_bytes(stores: list[tuple[int, bytes]], at: int, size: int) -> None:
    sparse, flat = memory(), bytearray(SIZE)
    for offset, data in stores:
        data = data[: SIZE - offset]
        sparse.write(World.NS, BASE + offset, data)
        flat[offset : offset + len(data)] = data
    size = min(size, SIZE - at)
    assert sparse.read(World.NS, BASE + at, size) == flat[at : at + size]
    assert len(sparse.contents) == sum(any(flat[first : first + PAGE]) for first in range(0, SIZE, PAGE))


@given(st.integers(0, SIZE - 1), st.integers(0, SIZE), st.integers(0, 255))
def test_filling_is_writing_the_same_byte(at: int, size: int, byte: int) -> None:
    size = min(size, SIZE - at)
    filled, written = memory(), memory()
    filled.fill(World.NS, BASE + at, size, byte)
    written.write(World.NS, BASE + at, bytes((byte,)) * size)
    assert filled.contents == written.contents


ALLOWED = {
    (World.NS, Gpi.NON_SECURE), (World.SECURE, Gpi.SECURE), (World.REALM, Gpi.REALM), (World.ROOT, Gpi.ROOT),
    *((world, Gpi.ANY) for world in World),
    *((World.ROOT, gpi) for gpi in Gpi),
}  # fmt: skip


@pytest.mark.parametrize("world", World)
@pytest.mark.parametrize("gpi", Gpi)
def test_only_the_granules_own_world_and_root_get_through(world: World, gpi: Gpi) -> None:
    here = memory()
    here.write(World.NS, BASE, b"old")
    here.gpt.set(BASE, gpi)
    if (world, gpi) in ALLOWED:
        here.write(world, BASE, b"new")
        assert here.read(world, BASE, 3) == b"new"
    else:
        for access in (
            lambda: here.read(world, BASE, 1),
            lambda: here.write(world, BASE, b"new"),
            lambda: here.fill(world, BASE, 3, 7),
        ):
            with pytest.raises(GranuleProtectionFault) as fault:
                access()
            assert (fault.value.world, fault.value.pa) == (world, BASE)
        assert here.page(BASE)[:3] == b"old"


def test_an_access_that_reaches_a_foreign_granule_has_no_effect_at_all() -> None:
    here = memory()
    here.gpt.set(BASE + PAGE, Gpi.REALM)
    with pytest.raises(GranuleProtectionFault) as fault:
        here.write(World.NS, BASE + PAGE - 2, b"abcd")
    assert fault.value.pa == BASE + PAGE
    assert here.contents == {}


def test_memory_that_does_not_exist_is_nobodys() -> None:
    with pytest.raises(GranuleProtectionFault):
        memory().read(World.ROOT, BASE + SIZE, 1)


def test_whole_pages_are_shared_not_copied() -> None:
    here = memory()
    image = b"i" * PAGE
    here.write(World.NS, BASE, image)
    here.write(World.NS, BASE + PAGE, image)
    assert here.page(BASE) is image
    assert here.page(BASE + PAGE) is image


@given(st.integers(0, 7), st.integers(0, 8))
def test_scrubbing_a_run_forgets_exactly_that_run(first: int, count: int) -> None:
    here = memory()
    for index in range(8):
        here.write(World.NS, BASE + index * PAGE, bytes([index + 1]))
    here.scrub_run(BASE + first * PAGE, count)
    left = [index for index in range(8) if here.page(BASE + index * PAGE)[0]]
    assert left == [index for index in range(8) if not first <= index < first + count]


def test_the_digest_covers_protection_and_contents() -> None:
    first, second = memory(), memory()
    assert first.digest() == second.digest()
    second.gpt.set(BASE, Gpi.SECURE)
    assert first.digest() != second.digest()
    first.gpt.set(BASE, Gpi.SECURE)
    first.write(World.NS, BASE + PAGE, b"x")
    assert first.digest() != second.digest()
