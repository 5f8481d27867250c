"""Descriptors of the granule protection table, and the walk over them: against the flat table, bit by bit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, GranuleProtectionTable, World
from cca_machine.hardware.gpt_walk import FusedTable, Geometry, GpcFault, Refused, walk
from cca_machine.hardware.granule_map import Bank

GIB, MIB, PAGE = 1 << 30, 1 << 20, 4096
L1 = 0x4000_0000_0000
DRAM = Bank(4 * GIB, 2 * GIB)


def fused(*moves: tuple[int, int, Gpi]) -> FusedTable:
    gpt = GranuleProtectionTable.over(DRAM)
    for pa, count, gpi in moves:
        gpt.set_run(pa, gpi, count)
    return FusedTable(gpt, L1)


def test_the_geometry_is_that_of_the_architecture() -> None:
    usual = Geometry()
    assert (usual.l0_entries, usual.l0_entries * 8) == (262_144, 2 * MIB)
    assert (usual.l1_entries, usual.l1_bytes) == (16_384, 128 << 10)
    assert Geometry(granule=14).l1_bytes == 32 << 10
    assert Geometry(granule=16).l1_bytes == 8 << 10
    assert Geometry(l0_reach=34).l1_bytes == 2 * MIB


def test_an_untouched_machine_has_level_0_blocks_alone() -> None:
    table = fused()
    assert table.l0(4) == 0x91
    assert table.l0(5) == 0x91
    assert table.l0(0) == 0x01
    assert table.check(World.NS, 5 * GIB) is None
    assert table.check(World.REALM, 5 * GIB) == Refused(GpcFault.GPF, 0)


def test_one_realm_granule_makes_a_level_1_table_of_the_largest_blocks_around_it() -> None:
    table = fused((5 * GIB, 1, Gpi.REALM))
    assert table.l0(4) == 0x91
    assert table.l0(5) == L1 + 5 * (128 << 10) | 3
    words = {table.l1(L1 + 5 * (128 << 10) + 8 * index): index for index in range(16_384)}
    # 16 GPIs with one Realm granule, 16 of Non-secure ones, and contiguous 2, 32 and 512 MiB
    assert set(words) == {0x9999_9999_9999_999B, 0x9999_9999_9999_9999, 0x191, 0x291, 0x391}
    assert table.check(World.REALM, 5 * GIB) is None
    assert table.check(World.NS, 5 * GIB) == Refused(GpcFault.GPF, 1)
    assert table.check(World.NS, 5 * GIB + PAGE) is None
    assert table.check(World.ROOT, 5 * GIB) is None


def test_every_entry_of_a_contiguous_block_carries_the_same_word() -> None:
    table = fused((4 * GIB + 2 * MIB, 512, Gpi.REALM))
    base = L1 + 4 * (128 << 10)
    inside = {table.l1(base + 8 * index) for index in range(32, 64)}
    assert inside == {0x1B1}
    assert {table.l1(base + 8 * index) for index in range(32)} == {0x191}


def test_what_is_delegated_and_taken_back_leaves_the_table_descriptor_for_descriptor() -> None:
    table = fused((4 * GIB + 5 * MIB, 700, Gpi.REALM))
    before = [table.l0(index) for index in range(8)], [table.l1(L1 + 4 * (128 << 10) + 8 * at) for at in range(256)]
    table.gpt.set_run(4 * GIB + 64 * MIB, Gpi.REALM, 513)
    table.gpt.set_run(4 * GIB + 64 * MIB, Gpi.NON_SECURE, 513)
    after = [table.l0(index) for index in range(8)], [table.l1(L1 + 4 * (128 << 10) + 8 * at) for at in range(256)]
    assert after == before


PLACES = st.one_of(
    st.sampled_from([0, 1, 511, 512, 8191, 8192, 131_071, 131_072, 262_143, 262_144]), st.integers(0, 500_000)
)
GPIS = st.sampled_from([Gpi.REALM, Gpi.SECURE, Gpi.ROOT, Gpi.ANY, Gpi.NO_ACCESS, Gpi.NON_SECURE])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PLACES, st.sampled_from([1, 16, 512, 8192, 131_072]), GPIS), max_size=6), st.lists(PLACES))
def test_the_walk_over_descriptors_says_what_the_flat_table_says(
    moves: list[tuple[int, int, Gpi]], places: list[int]
) -> None:
    table = fused()
    limit = DRAM.size // PAGE
    for first, count, gpi in moves:
        table.gpt.set_run(DRAM.base + first * PAGE, gpi, min(count, limit - first))
    for place in (*places, *(first for first, _, _ in moves)):
        pa = DRAM.base + place * PAGE + 0x123
        for world in World:
            flat = table.gpt.gpi(pa) is not Gpi.NO_ACCESS and table.gpt.allows(world, pa)
            assert (table.check(world, pa) is None) == flat, (hex(pa), world)


def test_broken_tables_are_walk_and_address_size_faults_in_the_architectures_order() -> None:
    geometry = Geometry()
    for l0, l1, expected in (
        (0x0, 0, Refused(GpcFault.WALK, 0)),
        (0x2, 0, Refused(GpcFault.WALK, 0)),
        (0x31, 0, Refused(GpcFault.WALK, 0)),
        (1 << 49 | 3, 0, Refused(GpcFault.ADDRESS_SIZE, 0)),
        (3, 0x0B1, Refused(GpcFault.WALK, 1)),
        (3, 0x131, Refused(GpcFault.WALK, 1)),
        (3, 0x2222_2222_2222_2222, Refused(GpcFault.WALK, 1)),
        (3, 0x1B1, Refused(GpcFault.GPF, 1)),
        (3, 0x191, None),
    ):
        assert walk(geometry, lambda _, word=l0: word, lambda _, word=l1: word, World.NS, 0) == expected, hex(l0)


def test_above_the_protected_size_only_non_secure_accesses_pass() -> None:
    table = fused()
    assert table.check(World.NS, 1 << 48) is None
    assert table.check(World.REALM, 1 << 48) == Refused(GpcFault.GPF, 0)


def test_a_fault_says_at_which_level_it_was_found() -> None:
    gpt = fused((5 * GIB, 1, Gpi.REALM)).gpt
    for pa, level in ((4 * GIB, 0), (5 * GIB + PAGE, 1), (GIB, 0)):
        with pytest.raises(GranuleProtectionFault) as caught:
            gpt.check(World.REALM, pa)
        assert caught.value.level == level
