"""What successful RMI commands do, and the outputs of refused ones, as the tables of DEN0137 1.0-rel0 say."""

from __future__ import annotations

import pytest
from spec_door import DRAM, INPUT, PAGE, REALM, SUCCESS, Door, rtt

from cca_machine.abi.rmi import Ripas, Rmi
from cca_machine.hardware.gpt import Gpi, GranuleProtectionFault, World
from cca_machine.rmm.granule import GranuleState

EMPTY, RAM, DESTROYED = int(Ripas.EMPTY), int(Ripas.RAM), int(Ripas.DESTROYED)
UNASSIGNED, ASSIGNED, TABLE = 0, 1, 2
BLOCK, GIB = 1 << 21, 1 << 30
HALF = 1 << 39
ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF


def entry(door: Door, rd: int, ipa: int, level: int = 3) -> tuple[int, ...]:
    """walk_level, state, desc, ripas of RTT_READ_ENTRY."""
    return door.ok(Rmi.RTT_READ_ENTRY, rd, ipa, level)[1:5]


def state(door: Door, pa: int) -> int:
    return door.rmm.state.granules.get(pa)


def test_delegation_moves_a_granule_to_the_realm_world_and_wipes_it() -> None:
    door = Door()
    pa = door.host_page(b"secret of the host")
    door.ok(Rmi.GRANULE_DELEGATE, pa)
    assert (state(door, pa), door.hardware.gpt.gpi(pa)) == (GranuleState.DELEGATED, Gpi.REALM)
    with pytest.raises(GranuleProtectionFault):
        door.hardware.memory.read(World.NS, pa, 1)
    door.ok(Rmi.GRANULE_UNDELEGATE, pa)
    assert (state(door, pa), door.hardware.gpt.gpi(pa)) == (GranuleState.UNDELEGATED, Gpi.NON_SECURE)
    assert door.hardware.memory.read(World.NS, pa, PAGE) == bytes(PAGE)


def test_an_undelegation_that_el3_refuses_stops_the_rmm_for_good() -> None:
    door = Door()
    pa = door.delegated()
    door.el3.refused.add(pa)
    assert door.call(Rmi.GRANULE_UNDELEGATE, pa)[0] == ALL_ONES
    assert door.rmm.panicked
    assert door.call(Rmi.VERSION, 0x1_0000)[0] == ALL_ONES


def test_a_delegation_that_el3_refuses_leaves_the_granule_with_the_host() -> None:
    door = Door()
    pa = door.granules()
    door.el3.refused.add(pa)
    assert door.call(Rmi.GRANULE_DELEGATE, pa)[0] == INPUT
    assert not door.rmm.panicked
    assert state(door, pa) == GranuleState.UNDELEGATED


def test_created_data_carries_the_hosts_bytes_and_undelegation_never_shows_them() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    pa = door.data(rd, 0x3000, b"payload")
    assert door.hardware.memory.read(World.REALM, pa, 7) == b"payload"
    assert entry(door, rd, 0x3000) == (3, ASSIGNED, pa, RAM)
    assert door.ok(Rmi.DATA_DESTROY, rd, 0x3000)[1] == pa
    assert entry(door, rd, 0x3000) == (3, UNASSIGNED, 0, DESTROYED)
    assert door.hardware.memory.read(World.REALM, pa, 7) == bytes(7)


@pytest.mark.parametrize("ripas", [EMPTY, RAM, DESTROYED])
def test_unknown_data_leaves_ripas_and_destroying_it_follows_the_table(ripas: int) -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    if ripas == RAM:
        door.ok(Rmi.RTT_INIT_RIPAS, rd, 0, PAGE)
    if ripas == DESTROYED:
        door.data(rd, 0)
        door.ok(Rmi.DATA_DESTROY, rd, 0)
    pa = door.delegated()
    door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, pa, 0)
    assert entry(door, rd, 0) == (3, ASSIGNED, pa, ripas)
    door.ok(Rmi.DATA_DESTROY, rd, 0)
    assert entry(door, rd, 0) == (3, UNASSIGNED, 0, EMPTY if ripas == EMPTY else DESTROYED)


def test_data_create_sets_ram_whatever_the_ripas_was() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    door.data(rd, 0)
    door.ok(Rmi.DATA_DESTROY, rd, 0)
    pa = door.data(rd, 0)
    assert entry(door, rd, 0) == (3, ASSIGNED, pa, RAM)


def test_tops_of_data_destroy_lead_from_page_to_page() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    for ipa in (0x2000, 0x9000):
        door.data(rd, ipa)
    assert door.call(Rmi.DATA_DESTROY, rd, 0)[:3] == (rtt(3), 0, 0x2000)
    assert door.ok(Rmi.DATA_DESTROY, rd, 0x2000)[2] == 0x9000
    assert door.ok(Rmi.DATA_DESTROY, rd, 0x9000)[2] == BLOCK
    assert door.call(Rmi.DATA_DESTROY, rd, 0x0)[:3] == (rtt(3), 0, BLOCK)


def test_top_without_a_table_passes_to_the_next_live_entry_of_the_table_reached() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    door.tables(rd, 7 * GIB, to=2)
    assert door.call(Rmi.DATA_DESTROY, rd, 2 * GIB + PAGE)[:3] == (rtt(1), 0, 7 * GIB)
    assert door.call(Rmi.DATA_DESTROY, rd, BLOCK + PAGE)[:3] == (rtt(2), 0, GIB)
    assert door.call(Rmi.DATA_DESTROY, rd, 8 * GIB)[:3] == (rtt(1), 0, 512 * GIB)


def test_a_block_covers_its_pages_until_it_is_unfolded() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    base = door.delegated(512, BLOCK)
    for index in range(512):
        door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, base + index * PAGE, index * PAGE)
    child = door.ok(Rmi.RTT_FOLD, rd, 0, 3)[1]
    assert state(door, child) == GranuleState.DELEGATED
    assert entry(door, rd, 0) == (2, ASSIGNED, base, EMPTY)
    assert door.call(Rmi.DATA_DESTROY, rd, 0x5000)[:3] == (rtt(2), 0, 0x5000)
    assert door.call(Rmi.DATA_CREATE_UNKNOWN, rd, door.delegated(), 0x5000)[0] == rtt(2)
    door.ok(Rmi.RTT_CREATE, rd, child, 0, 3)
    assert entry(door, rd, 0x5000) == (3, ASSIGNED, base + 0x5000, EMPTY)
    assert state(door, base) == GranuleState.DATA


@pytest.mark.parametrize("break_at", [0, 17, 511])
def test_a_table_with_one_entry_out_of_line_does_not_fold(break_at: int) -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    base = door.delegated(513, BLOCK)
    for index in range(512):
        pa = base + (512 if index == break_at else index) * PAGE
        door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, pa, index * PAGE)
    assert door.call(Rmi.RTT_FOLD, rd, 0, 3)[0] == rtt(3)


def test_a_table_of_contiguous_memory_that_is_not_block_aligned_does_not_fold() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    base = door.delegated(513, BLOCK) + PAGE
    for index in range(512):
        door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, base + index * PAGE, index * PAGE)
    assert door.call(Rmi.RTT_FOLD, rd, 0, 3)[0] == rtt(3)


def test_folding_keeps_the_ripas_and_unfolding_spreads_it() -> None:
    door = Door()
    rd = door.realm()
    tables = door.tables(rd, 0)
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0, BLOCK)[1] == BLOCK
    assert door.ok(Rmi.RTT_FOLD, rd, 0, 3)[1] == tables[1]
    assert entry(door, rd, 0, 2) == (2, UNASSIGNED, 0, RAM)
    door.ok(Rmi.RTT_CREATE, rd, tables[1], 0, 3)
    assert entry(door, rd, BLOCK - PAGE) == (3, UNASSIGNED, 0, RAM)


def test_destroying_a_table_destroys_the_ripas_below_it() -> None:
    door = Door()
    rd = door.realm()
    tables = door.tables(rd, 0)
    door.ok(Rmi.RTT_INIT_RIPAS, rd, 0, 4 * PAGE)
    assert door.ok(Rmi.RTT_DESTROY, rd, 0, 3)[1:3] == (tables[1], GIB)
    assert entry(door, rd, 0, 3) == (2, UNASSIGNED, 0, DESTROYED)
    assert state(door, tables[1]) == GranuleState.DELEGATED


def test_a_live_table_is_refused_with_its_own_address_as_top() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    door.data(rd, 0x7000)
    assert door.call(Rmi.RTT_DESTROY, rd, 0, 3)[:3] == (rtt(3), 0, 0)
    assert door.call(Rmi.RTT_DESTROY, rd, 0, 2)[:3] == (rtt(2), 0, 0)
    assert door.call(Rmi.RTT_DESTROY, rd, GIB, 3)[:3] == (rtt(1), 0, 512 * GIB)


def test_unprotected_mappings_show_what_the_host_gave_and_do_not_hold_their_table() -> None:
    door = Door()
    rd = door.realm()
    tables = door.tables(rd, HALF)
    desc = 0xDEAD_0000_0000 & ~0xFFF | 0b101 << 2 | 0b10 << 6
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF + PAGE, 3, desc)
    assert entry(door, rd, HALF + PAGE)[:3] == (3, ASSIGNED, desc)
    assert door.call(Rmi.RTT_UNMAP_UNPROTECTED, rd, HALF, 3)[:2] == (rtt(3), HALF + PAGE)
    assert door.ok(Rmi.RTT_DESTROY, rd, HALF, 3)[1] == tables[1]
    assert entry(door, rd, HALF, 2)[:3] == (2, UNASSIGNED, 0)


def test_a_shared_block_is_refused_at_page_level_with_its_address_as_top_and_unfolds_with_its_attributes() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, HALF, to=2)
    desc = 64 * BLOCK | 0b001 << 2 | 0b11 << 6
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF + BLOCK, 2, desc)
    assert door.call(Rmi.RTT_UNMAP_UNPROTECTED, rd, HALF + BLOCK + PAGE, 3)[:2] == (rtt(2), HALF + BLOCK + PAGE)
    door.ok(Rmi.RTT_CREATE, rd, door.delegated(), HALF + BLOCK, 3)
    assert entry(door, rd, HALF + BLOCK + 3 * PAGE)[:3] == (3, ASSIGNED, desc + 3 * PAGE)
    door.ok(Rmi.RTT_FOLD, rd, HALF + BLOCK, 3)
    assert door.ok(Rmi.RTT_UNMAP_UNPROTECTED, rd, HALF + BLOCK, 2)[1] == HALF + GIB


@pytest.mark.parametrize("level", [1, 2])
def test_a_shared_block_needs_an_address_of_its_size(level: int) -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, HALF, to=2)
    span = 1 << 39 - 9 * level
    assert door.call(Rmi.RTT_MAP_UNPROTECTED, rd, HALF + GIB, level, span + PAGE)[0] == INPUT
    assert door.call(Rmi.RTT_MAP_UNPROTECTED, rd, HALF + (GIB if level == 1 else 0), level, span)[0] == SUCCESS


def test_init_ripas_works_on_the_entries_of_one_table_and_reports_how_far_it_came() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0x4000, 4 * GIB)[1] == BLOCK
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, BLOCK, 4 * GIB)[1] == GIB
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, GIB, 4 * GIB)[1] == 4 * GIB
    assert entry(door, rd, 0x3000)[3] == EMPTY
    assert entry(door, rd, 3 * GIB, 1) == (1, UNASSIGNED, 0, RAM)


def test_init_ripas_stops_before_what_is_mapped_or_destroyed() -> None:
    door = Door()
    rd = door.realm()
    door.tables(rd, 0)
    door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, door.delegated(), 0x3000)
    door.data(rd, 0x8000)
    door.ok(Rmi.DATA_DESTROY, rd, 0x8000)
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0, BLOCK)[1] == 0x3000
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0x4000, BLOCK)[1] == 0x8000
    assert door.call(Rmi.RTT_INIT_RIPAS, rd, 0x8000, BLOCK)[0] == rtt(3)


def test_a_realm_gives_everything_back_when_it_is_destroyed() -> None:
    door = Door()
    rd = door.realm(vmid=9)
    root = door.rmm.state.realms[rd].rtt_base
    door.ok(Rmi.REALM_DESTROY, rd)
    assert {state(door, pa) for pa in (rd, root, root + PAGE)} == {GranuleState.DELEGATED}
    assert not door.rmm.state.tables
    door.realm(vmid=9)


def test_a_realm_that_only_shares_can_be_destroyed() -> None:
    door = Door()
    rd = door.realm()
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 1, GIB)
    door.ok(Rmi.REALM_DESTROY, rd)


def test_a_failed_creation_leaves_the_vmid_free() -> None:
    door = Door()
    params = door.realm_params(vmid=33)
    page = door.host_page(params.encode())
    assert door.call(Rmi.REALM_CREATE, door.granules(), page)[0] == INPUT
    door.ok(Rmi.REALM_CREATE, door.delegated(), page)


def test_rec_indices_are_never_used_twice() -> None:
    door = Door()
    rd = door.realm()
    first = door.rec(rd, 0)
    door.ok(Rmi.REC_DESTROY, first)
    assert door.call(Rmi.REC_CREATE, rd, first, door.host_page(door.rec_params(0).encode()))[0] == INPUT
    door.rec(rd, 1)
    assert (door.rmm.state.realms[rd].rec_index, door.rmm.state.realms[rd].num_recs) == (2, 1)


def test_the_sixteenth_rec_has_its_index_in_aff1() -> None:
    door = Door()
    rd = door.realm()
    for index in range(17):
        door.rec(rd, index)
    assert door.rmm.state.realms[rd].rec_index == 17


def test_a_destroyed_rec_returns_its_granule_and_its_auxiliary_ones() -> None:
    door = Door()
    rd = door.realm()
    rec = door.rec(rd)
    aux = door.rmm.state.recs[rec].aux
    door.ok(Rmi.REC_DESTROY, rec)
    assert {state(door, pa) for pa in (rec, *aux)} == {GranuleState.DELEGATED}
    door.ok(Rmi.REALM_DESTROY, rd)


@pytest.mark.parametrize(
    ("req", "x"),
    [
        (0x1_0000, (SUCCESS, 0x1_0000, 0x1_0000)),
        (0x1_0001, (INPUT, 0x1_0000, 0x1_0000)),
        (0x2_0000, (INPUT, 0x1_0000, 0x1_0000)),
        (0x0_0001, (INPUT, 0x1_0000, 0x1_0000)),
        (ALL_ONES, (INPUT, 0x1_0000, 0x1_0000)),
    ],
)
def test_versions_are_negotiated(req: int, x: tuple[int, ...]) -> None:
    assert Door().call(Rmi.VERSION, req)[:3] == x


def test_feature_register_0_holds_the_machines_limits_and_the_others_are_zero() -> None:
    door = Door()
    value = door.ok(Rmi.FEATURES, 0)[1]
    assert (value & 0xFF, value >> 8 & 1, value >> 9 & 1) == (48, 0, 0)
    assert (value >> 14 & 0x3F, value >> 20 & 0x3F, value >> 26 & 1, value >> 27 & 0x1F) == (5, 3, 1, 6)
    assert (value >> 32 & 3, value >> 34 & 0xF, value >> 38 & 0xF, value >> 42) == (3, 3, 10, 0)
    assert door.ok(Rmi.FEATURES, 1)[1] == door.ok(Rmi.FEATURES, ALL_ONES)[1] == 0


def test_rec_aux_count_is_constant() -> None:
    door = Door()
    rd = door.realm()
    assert door.ok(Rmi.REC_AUX_COUNT, rd)[1] == 16
    door.rec(rd)
    assert door.ok(Rmi.REC_AUX_COUNT, rd)[1] == 16


@pytest.mark.parametrize("fid", [Rmi.DATA_CREATE_UNKNOWN, Rmi.RTT_CREATE, Rmi.REC_AUX_COUNT])
def test_memory_commands_work_in_every_realm_state(fid: Rmi) -> None:
    door = Door()
    rd, _ = door.running_realm()
    args = {
        Rmi.DATA_CREATE_UNKNOWN: (rd, door.delegated(), 0x2000),
        Rmi.RTT_CREATE: (rd, door.delegated(), BLOCK, 3),
        Rmi.REC_AUX_COUNT: (rd,),
    }
    door.ok(fid, *args[fid])


@pytest.mark.parametrize("fid", [Rmi.DATA_CREATE, Rmi.RTT_INIT_RIPAS, Rmi.REC_CREATE, Rmi.REALM_ACTIVATE])
def test_building_commands_end_with_activation(fid: Rmi) -> None:
    door = Door()
    rd, _ = door.running_realm()
    args = {
        Rmi.DATA_CREATE: (rd, door.delegated(), 0x2000, door.host_page(), 0),
        Rmi.RTT_INIT_RIPAS: (rd, 0, PAGE),
        Rmi.REC_CREATE: (rd, door.delegated(), door.host_page(door.rec_params(1).encode())),
        Rmi.REALM_ACTIVATE: (rd,),
    }
    assert door.call(fid, *args[fid])[0] == REALM


def test_memory_outside_any_bank_is_not_delegable() -> None:
    door = Door()
    for pa in (DRAM.base - PAGE, DRAM.top, 0, ALL_ONES & ~0xFFF):
        assert door.call(Rmi.GRANULE_DELEGATE, pa)[0] == INPUT
