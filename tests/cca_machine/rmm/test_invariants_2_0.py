"""Invariants that only a machine of RMI 2.0 can break: each holds there, and notices a planted breakage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from spec_door import PAGE
from spec_door_2_0 import GOES_ON, Door2, desc

from cca_machine.abi.rmi2 import Rmi2
from cca_machine.invariants import INVARIANTS, violations
from cca_machine.ownership import owners, trees_of
from cca_machine.rmm.granule import GranuleState
from cca_machine.rmm.rtt import DRAINING, assigned
from cca_machine.rmm.state import PlaneContext, RmmState

HALF = 1 << 39


def busy_machine() -> tuple[Door2, int, int]:
    """A Realm with a tree per plane that share memory, a Realm with a private context, and three operations."""
    door = Door2(yields=True)
    rd, (rec,) = door.running_realm(num_aux_planes=2, flags1=1)
    door.tables(rd, 0x1000, tree=1)
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, rd, 0x1000, 1)
    door.tables(rd, HALF)
    door.ok(Rmi2.RTT_UNPROT_MAP, rd, HALF, HALF + PAGE, 1, desc(door.granules()))
    door.ok(Rmi2.RTT_AUX_MAP_UNPROTECTED, rd, HALF, 2)
    door.realm(flags=1 << 7)
    _, handle = door.begin_rec(rd)
    door.call(Rmi2.OP_MEM_DONATE, handle, door.host_list(desc(door.delegated(5), 5)), 1)
    door.ok(Rmi2.RTT_DATA_MAP, rd, 0x8000, 0xA000, 1, desc(door.delegated(2), 2))
    for irq, call in ((1, (Rmi2.RTT_DATA_MAP, 0x4000, 0x5000, 1, desc(door.delegated()))),
                      (513, (Rmi2.RTT_DATA_UNMAP, 0x8000, 0xA000, 1, 0))):  # fmt: skip
        door.hardware.pes[0].irq_after = irq
        fid, *args = call
        assert door.call(fid, rd, *args)[0] == GOES_ON
    door.hardware.pes[0].irq_after = -1
    return door, rd, rec


def another_context(state: RmmState) -> None:
    state.mec.private.clear()


def primary_page_elsewhere(state: RmmState, rd: int) -> None:
    realm = state.realms[rd]
    (leaf,) = [
        table for table in state.tables.values() if table.level == 3 and table.get(1) & 7 == 1 and table.live > 2
    ]
    leaf.set(1, assigned(realm.rtt_base + 64 * PAGE, 1))


def an_entry_of_nobody(state: RmmState, rd: int) -> None:
    table = state.tables[state.realms[rd].rtt_base]
    table.set(7, DRAINING | 99 << 12)


def a_plane_that_runs_and_waits(state: RmmState, rec: int) -> None:
    context = PlaneContext(
        gprs=[0] * 31, pc=0, pstate=0, system={}, registers={}, list_registers=[], last_exit=state.recs[rec].last_exit
    )
    state.recs[rec].planes[0] = context


BREAKAGES: dict[str, Callable[[RmmState, int, int], None]] = {
    "contexts-are-private": lambda state, rd, rec: another_context(state),
    "auxiliary-trees-follow": lambda state, rd, rec: state.references.clear(),
    "held-entries-have-an-operation": lambda state, rd, rec: an_entry_of_nobody(state, rd),
    "one-owner-per-granule": lambda state, rd, rec: state.operations.clear(),
    "vmids-are-unique": lambda state, rd, rec: state.realms[rd].planes.vmids.__setitem__(1, 77),
    "requests-stay-in-range": lambda state, rd, rec: a_plane_that_runs_and_waits(state, rec),
    "entries-fit-their-place": lambda state, rd, rec: state.tables[
        state.realms[rd].planes.aux_rtt_base[0] + PAGE
    ].set(3, 0),
}  # fmt: skip


def test_a_busy_machine_of_2_0_breaks_nothing_and_every_granule_in_use_has_one_owner() -> None:
    door, rd, _ = busy_machine()
    assert violations(door.rmm.state, door.hardware) == []
    owned = list(owners(door.rmm.state))
    assert len(trees_of(door.rmm.state.realms[rd])) == 3
    counts = dict.fromkeys(GranuleState, 0)
    for _, count, state in owned:
        counts[state] += count
    assert (counts[GranuleState.PARTIAL], counts[GranuleState.REC_AUX]) == (1, 16 + 5)
    assert counts[GranuleState.DATA] == 1 + 1 + 0


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_invariant_notices_its_own_breakage(name: str) -> None:
    door, rd, rec = busy_machine()
    BREAKAGES[name](door.rmm.state, rd, rec)
    assert name in {violation.invariant for violation in violations(door.rmm.state, door.hardware)}


def test_an_auxiliary_tree_that_maps_what_the_primary_does_not_is_noticed() -> None:
    door, rd, _ = busy_machine()
    primary_page_elsewhere(door.rmm.state, rd)
    assert "auxiliary-trees-follow" in {found.invariant for found in violations(door.rmm.state, door.hardware)}


def test_every_invariant_has_a_planted_breakage_here_or_in_test_state() -> None:
    of_1_0 = Path(__file__).with_name("test_state.py").read_text(encoding="utf-8")
    assert all(name in BREAKAGES or f'"{name}": lambda' in of_1_0 for name in INVARIANTS)


def test_invariants_hold_on_a_machine_that_comes_from_a_snapshot() -> None:
    door, _, _ = busy_machine()
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(door.rmm.state), type=RmmState)
    assert violations(again, door.hardware) == []
