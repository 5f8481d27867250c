"""Tables held as runs behave as 512 separate entries do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cca_machine.rmm import rtt
from cca_machine.rmm.rtt import ENTRIES, Table, Walk

LEVEL = 3
STEPS = {0: 0, 1: 4096, 2: 4096, 3: 0, 4: 4096}
"""By kind, what one entry to the next adds at level 3: the definition, written again."""

values = st.sampled_from(
    [
        rtt.unassigned(0),
        rtt.unassigned(1),
        rtt.unassigned(2),
        rtt.assigned(0x10_0000, 1),
        rtt.assigned(0x10_1000, 1),
        rtt.assigned(0x10_2000, 0),
        rtt.UNASSIGNED_NS_ENTRY,
        rtt.assigned_ns(0x20_0000, 3),
        rtt.assigned_ns(0x20_1000, 3),
        rtt.assigned_ns(0x20_1000, 5),
    ]
)
ranges = st.tuples(st.integers(0, ENTRIES - 1), st.integers(1, 40), values)


def spread(value: int, count: int) -> list[int]:
    return [value + index * STEPS[value & 7] for index in range(count)]


@given(values, st.lists(ranges, max_size=30))
def test_a_table_of_runs_equals_a_list_of_entries(start: int, changes: list[tuple[int, int, int]]) -> None:
    table, model = Table.uniform(LEVEL, start), spread(start, ENTRIES)
    for low, length, value in changes:
        high = min(low + length, ENTRIES)
        if high == low + 1:
            table.set(low, value)
        else:
            table.set_range(low, high, value)
        model[low:high] = spread(value, high - low)
    assert [table.get(index) for index in range(ENTRIES)] == model
    assert table.live == sum(value & 7 in (1, 2) for value in model)
    assert sum(end - first for first, end, _ in table.runs()) == ENTRIES
    for (first, end, value), (_, _, following) in zip(list(table.runs()), list(table.runs())[1:], strict=False):
        assert value + (end - first) * STEPS[value & 7] != following


@given(st.lists(ranges, max_size=12), st.integers(0, ENTRIES - 1))
def test_skip_finds_the_next_mapping_as_a_scan_does(changes: list[tuple[int, int, int]], index: int) -> None:
    table = Table.uniform(LEVEL, rtt.unassigned(0))
    for low, length, value in changes:
        table.set_range(low, min(low + length, ENTRIES), value)
    ipa = (7 << 21) + index * 4096
    live = [at for at in range(index, ENTRIES) if table.get(at) & 7 in (1, 2, 4)]
    expected = (7 << 21) + (live[0] if live else ENTRIES) * 4096
    assert rtt.skip(Walk(LEVEL, 0, table, index, table.get(index)), ipa) == expected


@given(values)
def test_unfolding_and_folding_restore_the_entry_when_it_can_be_a_block(value: int) -> None:
    child = rtt.child_of(value, LEVEL)
    aligned = value & 7 not in (1, 4) or not rtt.address_of(value) % (1 << 21)
    assert rtt.folded(child) == (value if aligned else None)


def test_ascending_single_mappings_stay_one_run() -> None:
    table = Table.uniform(LEVEL, rtt.unassigned(1))
    for index in range(ENTRIES):
        table.set(index, rtt.assigned(0x80_0000 + index * 4096, 1))
    assert (len(table.starts), table.live) == (1, ENTRIES)
    assert rtt.folded(table) == rtt.assigned(0x80_0000, 1)


def test_level_1_folds_only_when_it_maps_nothing() -> None:
    assert rtt.folded(Table.uniform(1, rtt.unassigned(2))) == rtt.unassigned(2)
    assert rtt.folded(Table.uniform(1, rtt.assigned(0, 1))) is None
    assert rtt.folded(Table.uniform(1, rtt.assigned_ns(0, 3))) is None
