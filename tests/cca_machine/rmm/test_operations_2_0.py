"""Stateful operations of RMI 2.0: donating, continuing, reclaiming, and what an interrupt leaves behind."""

from __future__ import annotations

import msgspec
import pytest
from spec_door import PAGE
from spec_door_2_0 import (
    BLOCKED,
    BUSY,
    DONATE,
    GOES_ON,
    INPUT,
    REALM,
    RECLAIM,
    Door2,
    desc,
    rtt,
)

from cca_machine.abi.rmi2 import Rmi2
from cca_machine.hardware.gpt import World
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.quirks import TF_RMM_2_0
from cca_machine.rmm.state import RmmState

AUX = 16


def state_of(door: Door2, pa: int) -> GranuleState:
    return GranuleState(door.rmm.state.granules.get(pa))


def test_creating_a_rec_asks_for_sixteen_pages_and_takes_them_in_any_portion() -> None:
    door = Door2()
    rd = door.realm()
    rec, handle = door.begin_rec(rd)
    assert state_of(door, rec) is GranuleState.PARTIAL
    first, second = door.delegated(5), door.delegated(11)
    x = door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(first, 5)), 1)
    assert x[:3] == (DONATE, 5, 11 << 2)
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == INPUT
    x = door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(0, desc(second, 11)), 2)
    assert x[:3] == (GOES_ON, 11, 0)
    assert state_of(door, first) is GranuleState.REC_AUX
    door.ok(Rmi2.OP_CONTINUE, handle, 0)
    assert state_of(door, rec) is GranuleState.REC
    assert door.rmm.state.operations == {}
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == INPUT


@pytest.mark.parametrize("bad", ["too_much", "state", "misaligned_list", "not_ns"])
def test_a_donation_that_does_not_fit_the_request_changes_nothing(bad: str) -> None:
    door = Door2()
    _, handle = door.begin_rec(door.realm())
    pages = door.delegated(17)
    lists = {
        "too_much": (door.host_list(desc(pages, 17)), 1),
        "state": (door.host_list(desc(pages, 16, undelegated=True)), 1),
        "misaligned_list": (door.host_list(desc(pages, 16)) + 4, 1),
        "not_ns": (door.delegated(), 1),
    }
    before = door.digest()
    assert door.call(Rmi2.OP_MEM_DONATE, handle, *lists[bad])[0] == INPUT
    assert door.digest() == before


def test_a_refused_rec_gives_all_memory_back_before_it_tells_why() -> None:
    door = Door2()
    rd = door.realm()
    rec, handle = door.begin_rec(rd, 0)
    pages = door.delegated(AUX)
    door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(pages, AUX)), 1)
    door.ok(Rmi2.REALM_ACTIVATE, rd)
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == RECLAIM
    out = door.host_page()
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, out, 1)[:2] == (RECLAIM, 1)
    assert door.read_list(out, 1) == [desc(pages)]
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, out, 64)[:2] == (GOES_ON, 1)
    assert door.read_list(out, 1) == [desc(pages + PAGE, AUX - 1)]
    assert state_of(door, rec) is GranuleState.PARTIAL
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == REALM
    assert {state_of(door, pa) for pa in (rec, *range(pages, pages + AUX * PAGE, PAGE))} == {GranuleState.DELEGATED}


def test_a_granule_that_is_not_delegated_ends_the_operation_and_returns_what_was_given() -> None:
    door = Door2()
    _, handle = door.begin_rec(door.realm())
    given = door.delegated(4)
    door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(given, 4)), 1)
    assert door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(door.granules())), 1)[:2] == (RECLAIM, 0)
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, door.host_page(), 64)[:2] == (GOES_ON, 1)
    assert door.call(Rmi2.OP_CONTINUE, handle, 0)[0] == INPUT


def test_destroying_a_rec_reclaims_its_memory_and_its_realm_can_go_meanwhile() -> None:
    door = Door2()
    rd, (rec,) = door.running_realm()
    aux = list(door.rmm.state.recs[rec].aux)
    x = door.call(Rmi2.REC_DESTROY, rec)
    assert x[0] == RECLAIM
    assert door.call(Rmi2.REC_DESTROY, rec)[0] == INPUT
    out = door.host_page()
    assert door.call(Rmi2.OP_MEM_RECLAIM, x[1], out, 16)[:2] == (GOES_ON, 1)
    assert door.read_list(out, 1) == [desc(aux[0], AUX)]
    door.ok(Rmi2.OP_CONTINUE, x[1], 0)
    assert door.rmm.state.realms[rd].num_recs == 0


@pytest.mark.parametrize("quirk", [False, True])
def test_a_list_that_cannot_be_written_costs_nothing_unless_the_firmware_says_so(quirk: bool) -> None:
    door = Door2(TF_RMM_2_0) if quirk else Door2()
    _, (rec,) = door.running_realm()
    aux, handle = list(door.rmm.state.recs[rec].aux), door.call(Rmi2.REC_DESTROY, rec)[1]
    target = door.delegated()
    before = door.digest()
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, target, 16)[0] == INPUT
    assert (door.digest() == before) is not quirk
    out = door.host_page()
    assert door.call(Rmi2.OP_MEM_RECLAIM, handle, out, 16)[:2] == (GOES_ON, 1)
    assert door.read_list(out, 1) == [desc(aux[0], AUX)]


def test_operations_are_limited_by_contexts_and_the_lowest_handle_is_reused() -> None:
    door = Door2(contexts=2)
    rd = door.realm()
    (_, first), (_, second) = door.begin_rec(rd), door.begin_rec(rd)
    assert (first, second) == (0, 1)
    third = door.delegated()
    before = door.digest()
    assert door.call(Rmi2.REC_CREATE, rd, third, door.host_page())[0] == BLOCKED
    assert door.call(Rmi2.RTT_DATA_UNMAP, rd, 0, PAGE, 0, 0)[0] == BLOCKED
    assert door.digest() != b""
    assert door.rmm.digest() == before[:32]
    door.call(Rmi2.OP_MEM_DONATE, first, door.host_list(desc(door.granules())), 1)
    door.call(Rmi2.OP_MEM_RECLAIM, first, door.host_page(), 1)
    assert door.call(Rmi2.OP_CONTINUE, first, 0)[0] == INPUT
    assert door.begin_rec(rd)[1] == 0


def test_no_operation_can_be_cancelled() -> None:
    door = Door2()
    _, handle = door.begin_rec(door.realm())
    before = door.digest()
    assert door.call(Rmi2.OP_CANCEL, handle)[0] == INPUT
    assert door.digest() == before


def yielding(after: int) -> tuple[Door2, int, int]:
    door = Door2(yields=True)
    rd = door.realm()
    door.tables(rd, 0)
    pages = door.delegated(4)
    door.hardware.pes[0].irq_after = after
    return door, rd, pages


def test_an_interrupt_leaves_a_block_to_be_continued_and_nobody_else_may_touch_its_entry() -> None:
    door, rd, pages = yielding(1)
    x = door.call(Rmi2.RTT_DATA_MAP, rd, 0, 4 * PAGE, 1, desc(pages, 4))
    assert x[:2] == (GOES_ON, 0)
    door.hardware.pes[0].irq_after = -1
    src = door.host_page()
    assert door.call(Rmi2.RTT_DATA_MAP_INIT, rd, pages + 3 * PAGE, 0, src, 0)[0] == BUSY
    assert door.call(Rmi2.RTT_DATA_MAP, rd, 0, PAGE, 1, desc(pages + 3 * PAGE))[0] == BUSY
    assert door.call(Rmi2.RTT_INIT_RIPAS, rd, 0, PAGE)[0] == rtt(3)
    assert door.ok(Rmi2.OP_CONTINUE, 0, 0)[1] == PAGE
    assert state_of(door, pages) is GranuleState.DATA
    assert state_of(door, pages + PAGE) is GranuleState.DELEGATED


def test_an_unmap_that_yields_keeps_its_table_alive_until_it_is_continued() -> None:
    door, rd, pages = yielding(-1)
    door.ok(Rmi2.RTT_DATA_MAP, rd, 0, 4 * PAGE, 1, desc(pages, 4))
    door.hardware.pes[0].irq_after = 514
    x = door.call(Rmi2.RTT_DATA_UNMAP, rd, 0, 4 * PAGE, 1, 0)
    assert x[:2] == (GOES_ON, 0)
    door.hardware.pes[0].irq_after = -1
    assert [state_of(door, pages + at * PAGE) for at in (1, 2)] == [GranuleState.DELEGATED, GranuleState.DATA]
    assert door.call(Rmi2.RTT_DESTROY, rd, 0, 3)[0] == rtt(3)
    assert door.ok(Rmi2.OP_CONTINUE, 0, 0)[1:3] == (4 * PAGE, desc(pages, 4))
    door.ok(Rmi2.RTT_DESTROY, rd, 0, 3)


def test_a_block_that_cannot_be_claimed_is_given_back_granule_by_granule() -> None:
    door = Door2()
    rd = door.realm()
    door.tables(rd, 0, to=2)
    block = door.granules(512, 512 * PAGE)
    door.ok(Rmi2.GRANULE_RANGE_DELEGATE, block, block + 511 * PAGE)
    before = door.digest()
    assert door.call(Rmi2.RTT_DATA_MAP, rd, 0, 512 * PAGE, 1, desc(block, 1, 2))[0] == INPUT
    assert door.digest() == before
    door.ok(Rmi2.GRANULE_RANGE_DELEGATE, block + 511 * PAGE, block + 512 * PAGE)
    assert door.ok(Rmi2.RTT_DATA_MAP, rd, 0, 512 * PAGE, 1, desc(block, 1, 2))[1] == 512 * PAGE
    assert door.ok(Rmi2.RTT_READ_ENTRY, rd, 0, 3)[1:5] == (2, 1, block, 0)


def test_operations_survive_a_snapshot() -> None:
    door, rd, pages = yielding(1)
    door.call(Rmi2.RTT_DATA_MAP, rd, 0, 4 * PAGE, 1, desc(pages, 4))
    door.begin_rec(rd)
    image = msgspec.msgpack.encode(door.rmm.state)
    again = msgspec.msgpack.decode(image, type=RmmState)
    assert again.digest() == door.rmm.state.digest()
    assert sorted(again.operations) == [0, 1]


def test_unmapped_memory_is_empty_and_the_host_cannot_read_what_was_in_it() -> None:
    door = Door2()
    rd = door.realm()
    door.tables(rd, 0)
    pa = door.data(rd, 0, b"secret")
    out = door.host_page()
    assert door.ok(Rmi2.RTT_DATA_UNMAP, rd, 0, PAGE, 2 | 1 << 2, out)[1:4] == (PAGE, 0, 1)
    assert door.read_list(out, 1) == [desc(pa)]
    assert door.ok(Rmi2.RTT_READ_ENTRY, rd, 0, 3)[2:5] == (0, 0, 2)
    assert door.hardware.memory.read(World.ROOT, pa, PAGE) == bytes(PAGE)
    door.ok(Rmi2.GRANULE_RANGE_UNDELEGATE, pa, pa + PAGE)
    assert door.hardware.memory.read(World.NS, pa, PAGE) == bytes(PAGE)
