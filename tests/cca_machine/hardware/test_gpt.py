"""The granule protection table as descriptors of a fusing EL3: levels and contiguous block sizes."""

from __future__ import annotations

import pytest

from cca_machine.hardware.gpt import Gpi, GptEntry, GranuleProtectionTable
from cca_machine.hardware.granule_map import Bank

GIB, MIB, PAGE = 1 << 30, 1 << 20, 4096


def table() -> GranuleProtectionTable:
    return GranuleProtectionTable.over(Bank(4 * GIB, 4 * GIB))


def test_an_untouched_gibibyte_is_a_level_0_block() -> None:
    assert table().entry(5 * GIB + 123) == GptEntry(0, 5 * GIB, GIB, Gpi.NON_SECURE)


@pytest.mark.parametrize(
    ("distance", "size"), [(0, PAGE), (PAGE, PAGE), (2 * MIB, 2 * MIB), (32 * MIB, 32 * MIB), (512 * MIB, 512 * MIB)]
)
def test_one_realm_granule_shatters_only_the_blocks_around_it(distance: int, size: int) -> None:
    gpt = table()
    gpt.set(5 * GIB, Gpi.REALM)
    found = gpt.entry(5 * GIB + distance)
    gpi = Gpi.REALM if distance == 0 else Gpi.NON_SECURE
    assert found == GptEntry(1, 5 * GIB + distance, size, gpi)


def test_returning_the_granule_fuses_everything_again() -> None:
    gpt = table()
    gpt.set(5 * GIB, Gpi.REALM)
    gpt.set(5 * GIB, Gpi.NON_SECURE)
    assert gpt.entry(5 * GIB) == GptEntry(0, 5 * GIB, GIB, Gpi.NON_SECURE)


def test_counts_are_by_gpi() -> None:
    gpt = table()
    gpt.set_run(5 * GIB, Gpi.REALM, 1000)
    assert gpt.counts() == {Gpi.NON_SECURE: 4 * GIB // PAGE - 1000, Gpi.REALM: 1000}


def test_space_without_memory_is_no_access() -> None:
    assert table().gpi(GIB) is Gpi.NO_ACCESS
