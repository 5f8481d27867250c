"""RSI 1.1 as a Realm calls it on an RMM of edition 2.0: every argument that is refused."""

from __future__ import annotations

import copy

import msgspec
import pytest
from spec_door import PAGE
from spec_door_2_0 import Door2
from test_services import BAD_ARGUMENTS as BAD_ARGUMENTS_1_0
from test_services import ERROR_INPUT, HALF, LOST, MAPPED, MISSING

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rsi2 import PlaneEnter, Rsi2, RsiDevice, sysreg_code
from cca_machine.hardware.gpt import World

VBAR = sysreg_code(3, 0, 12, 0, 0)
RUN = 0x5000


def realm_with_all_kinds(door: Door2) -> int:
    """P0 and P1 with a single tree; a page of RAM, an EMPTY one, one without memory, one whose content was lost."""
    rd = door.realm(num_aux_planes=1, flags1=2)
    door.tables(rd, 0)
    door.data(rd, MAPPED)
    door.ok(Rmi2.RTT_INIT_RIPAS, rd, MISSING, MISSING + PAGE)
    door.data(rd, LOST)
    run = door.data(rd, RUN)
    door.ok(Rmi2.RTT_DATA_UNMAP, rd, LOST, LOST + PAGE, 0, 0)
    rec = door.rec(rd)
    door.ok(Rmi2.REALM_ACTIVATE, rd)
    door.hardware.memory.write(World.REALM, run, PlaneEnter(pstate=0x10).encode())
    return rec


BAD_ARGUMENTS = [
    *((name, registers) for name, registers in BAD_ARGUMENTS_1_0 if not name.startswith("VERSION")),
    ("MEM_GET_PERM_VALUE.plane", (Rsi2.MEM_GET_PERM_VALUE, 2, 0)),
    ("MEM_GET_PERM_VALUE.index", (Rsi2.MEM_GET_PERM_VALUE, 0, 15)),
    ("MEM_SET_PERM_VALUE.plane_zero", (Rsi2.MEM_SET_PERM_VALUE, 0, 3, 15)),
    ("MEM_SET_PERM_VALUE.plane", (Rsi2.MEM_SET_PERM_VALUE, 2, 3, 15)),
    ("MEM_SET_PERM_VALUE.index", (Rsi2.MEM_SET_PERM_VALUE, 1, 15, 15)),
    ("MEM_SET_PERM_VALUE.index_in_use", (Rsi2.MEM_SET_PERM_VALUE, 1, 0, 15)),
    ("MEM_SET_PERM_VALUE.label_reserved", (Rsi2.MEM_SET_PERM_VALUE, 1, 3, 1)),
    ("MEM_SET_PERM_VALUE.label_wide", (Rsi2.MEM_SET_PERM_VALUE, 1, 3, 16)),
    ("MEM_SET_PERM_INDEX.base_align", (Rsi2.MEM_SET_PERM_INDEX, 8, PAGE, 3, 0)),
    ("MEM_SET_PERM_INDEX.top_align", (Rsi2.MEM_SET_PERM_INDEX, 0, 8, 3, 0)),
    ("MEM_SET_PERM_INDEX.size_valid", (Rsi2.MEM_SET_PERM_INDEX, PAGE, PAGE, 3, 0)),
    ("MEM_SET_PERM_INDEX.rgn_bound", (Rsi2.MEM_SET_PERM_INDEX, 0, HALF + PAGE, 3, 0)),
    ("MEM_SET_PERM_INDEX.index", (Rsi2.MEM_SET_PERM_INDEX, 0, PAGE, 15, 0)),
    ("MEM_SET_PERM_INDEX.cookie", (Rsi2.MEM_SET_PERM_INDEX, 0, PAGE, 3, 1)),
    ("PLANE_ENTER.plane_zero", (Rsi2.PLANE_ENTER, 0, RUN)),
    ("PLANE_ENTER.plane", (Rsi2.PLANE_ENTER, 2, RUN)),
    ("PLANE_ENTER.run_align", (Rsi2.PLANE_ENTER, 1, RUN + 8)),
    ("PLANE_ENTER.run_bound", (Rsi2.PLANE_ENTER, 1, HALF)),
    ("PLANE_ENTER.run_empty", (Rsi2.PLANE_ENTER, 1, 0x2000)),
    ("PLANE_ENTER.pstate", (Rsi2.PLANE_ENTER, 1, RUN)),
    ("PLANE_SYSREG_READ.plane_zero", (Rsi2.PLANE_SYSREG_READ, 0, VBAR)),
    ("PLANE_SYSREG_READ.plane", (Rsi2.PLANE_SYSREG_READ, 2, VBAR)),
    ("PLANE_SYSREG_READ.register", (Rsi2.PLANE_SYSREG_READ, 1, 0)),
    ("PLANE_SYSREG_READ.wide", (Rsi2.PLANE_SYSREG_READ, 1, VBAR | 1 << 20)),
    ("PLANE_SYSREG_WRITE.plane_zero", (Rsi2.PLANE_SYSREG_WRITE, 0, VBAR, 1)),
    ("PLANE_SYSREG_WRITE.plane", (Rsi2.PLANE_SYSREG_WRITE, 2, VBAR, 1)),
    ("PLANE_SYSREG_WRITE.register", (Rsi2.PLANE_SYSREG_WRITE, 1, 0, 1)),
    *((f"{fid.name}.no_device", (fid, 0, 0, 0)) for fid in RsiDevice),
]


@pytest.mark.parametrize("registers", [pytest.param(given, id=name) for name, given in BAD_ARGUMENTS])
def test_a_bad_argument_of_rsi_returns_error_input_to_the_realm(registers: tuple[int, ...]) -> None:
    door = Door2()
    rec = realm_with_all_kinds(door)
    door.enter(rec, [])
    state = door.rmm.state
    before = copy.deepcopy((state.recs[rec], state.realms))
    door.rsi(rec, *registers)
    assert door.guest.gprs[-1][0] == ERROR_INPUT
    after = msgspec.structs.replace(state.recs[rec], gprs=before[0].gprs, pc=before[0].pc)
    assert (after, state.realms) == before


def test_list_registers_that_are_not_valid_are_refused_at_plane_entry() -> None:
    door = Door2()
    rec = realm_with_all_kinds(door)
    realm = door.rmm.state.realms[door.rmm.state.recs[rec].rd]
    run = door.rmm.core.walk(realm, RUN, 3).entry & (1 << 48) - PAGE
    door.hardware.memory.write(World.REALM, run, PlaneEnter(pstate=0x3C5, gicv3_lrs=(1 << 62 | 1 << 61,)).encode())
    door.enter(rec, [Smc((Rsi2.PLANE_ENTER, 1, RUN))])
    assert door.guest.gprs[-1][0] == ERROR_INPUT
