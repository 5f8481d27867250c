"""Scenarios of the compliance suite about commands of planes and MECs, on RMI 2.0; a test has the name of its scenario.

Written from the suite's lists of stimuli (ARM-software/cca-rmm-acs test/command). Where 2.0 has another interface than
the 1.1 that the suite speaks, the scenario is followed as far as 2.0 has it.
"""

from __future__ import annotations

import pytest
from acs_stage import BLOCK, HALF, WIDTH
from acs_stage_2_0 import CODE, DATA, RUN, Paravisor, Stage2
from spec_door import PAGE
from spec_door_2_0 import GLOBAL, INPUT, REC, Door2, rtt, rtt_aux

from cca_machine.abi.guest import Smc
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rsi import RsiStatus
from cca_machine.abi.rsi2 import Rsi2, sysreg_code
from cca_machine.rmm.permissions import Label

VBAR, GIB = sysreg_code(3, 0, 12, 0, 0), 1 << 30
PRIVATE = 1 << 7


@pytest.fixture
def stage() -> Stage2:
    return Stage2()


def _refuses_trees(stage: Stage2, command: Rmi2, good: dict[str, int]) -> None:
    stage.refuses(command, good, rd=stage.single)
    stage.refuses(command, good, index=0)
    stage.refuses(command, good, index=2)


def _refuses_structure(stage: Stage2, command: Rmi2, good: dict[str, int]) -> None:
    stage.refuses_every(command, good, "rd", "RD")
    stage.refuses(command, good, level=1)
    stage.refuses(command, good, level=4)
    stage.refuses(command, good, ipa=PAGE)
    stage.refuses(command, good, ipa=WIDTH)
    _refuses_trees(stage, command, good)


def test_cmd_rtt_aux_create(stage: Stage2) -> None:
    good = {"rd": stage.new, "rtt": stage.delegated(), "ipa": BLOCK, "level": 3, "index": 1}
    _refuses_structure(stage, Rmi2.RTT_AUX_CREATE, good)
    stage.refuses_every(Rmi2.RTT_AUX_CREATE, good, "rtt", "DELEGATED")
    stage.refuses(Rmi2.RTT_AUX_CREATE, good, rtt_aux(1), ipa=GIB)
    stage.refuses(Rmi2.RTT_AUX_CREATE, good, rtt_aux(2), ipa=0)
    stage.succeeds(Rmi2.RTT_AUX_CREATE, good)


def test_cmd_rtt_aux_destroy(stage: Stage2) -> None:
    good = {"rd": stage.new, "ipa": 0, "level": 3, "index": 1}
    _refuses_structure(stage, Rmi2.RTT_AUX_DESTROY, good)
    stage.refuses(Rmi2.RTT_AUX_DESTROY, good, rtt_aux(1), ipa=GIB)
    stage.refuses(Rmi2.RTT_AUX_DESTROY, good, rtt_aux(2), ipa=BLOCK)
    stage.ok(Rmi2.RTT_AUX_MAP_PROTECTED, stage.new, 0, 1)
    stage.refuses(Rmi2.RTT_AUX_DESTROY, good, rtt_aux(3))
    stage.ok(Rmi2.RTT_AUX_UNMAP_PROTECTED, stage.new, 0, 1)
    stage.succeeds(Rmi2.RTT_AUX_DESTROY, good)


def test_cmd_rtt_aux_fold(stage: Stage2) -> None:
    good = {"rd": stage.new, "ipa": 0, "level": 3, "index": 1}
    _refuses_structure(stage, Rmi2.RTT_AUX_FOLD, good)
    stage.refuses(Rmi2.RTT_AUX_FOLD, good, rtt_aux(1), ipa=GIB)
    stage.refuses(Rmi2.RTT_AUX_FOLD, good, rtt_aux(2), ipa=BLOCK)
    stage.ok(Rmi2.RTT_AUX_MAP_PROTECTED, stage.new, 0, 1)
    stage.refuses(Rmi2.RTT_AUX_FOLD, good, rtt_aux(3))
    # orderings of the suite: a level out of bounds decides before the walk and the entry
    stage.refuses(Rmi2.RTT_AUX_FOLD, good, level=1, ipa=GIB)
    stage.refuses(Rmi2.RTT_AUX_FOLD, good, level=4, ipa=BLOCK)
    stage.ok(Rmi2.RTT_AUX_UNMAP_PROTECTED, stage.new, 0, 1)
    stage.succeeds(Rmi2.RTT_AUX_FOLD, good)


def test_cmd_rtt_aux_map_protected(stage: Stage2) -> None:
    good = {"rd": stage.new, "ipa": 0, "index": 1}
    command = Rmi2.RTT_AUX_MAP_PROTECTED
    stage.refuses_every(command, good, "rd", "RD")
    for ipa in (8, HALF, WIDTH):
        stage.refuses(command, good, ipa=ipa)
    _refuses_trees(stage, command, good)
    stage.refuses(command, good, rtt(3), ipa=PAGE)
    stage.data(stage.new, 2 * PAGE)
    stage.ok(Rmi2.RTT_DATA_UNMAP, stage.new, 2 * PAGE, 3 * PAGE, 0, 0)
    stage.refuses(command, good, rtt(3), ipa=2 * PAGE)
    stage.refuses(command, good, ipa=PAGE, index=2)
    table = stage.ok(Rmi2.RTT_AUX_DESTROY, stage.new, 0, 3, 1)[1]
    stage.refuses(command, good, rtt_aux(2))
    stage.ok(Rmi2.RTT_AUX_CREATE, stage.new, table, 0, 3, 1)
    stage.refuses(command, good, rtt_aux(3))
    fresh = Stage2()
    fresh.succeeds(command, {**good, "rd": fresh.new})
    fresh.ok(Rmi2.RTT_AUX_UNMAP_PROTECTED, fresh.new, 0, 1)
    fresh.ok(Rmi2.RTT_AUX_FOLD, fresh.new, 0, 3, 1)
    fresh.refuses(command, {**good, "rd": fresh.new}, rtt_aux(2))


def test_cmd_rtt_aux_map_unprotected(stage: Stage2) -> None:
    """In 2.0 an auxiliary tree shares an entry of the primary root, whatever is below it."""
    good = {"rd": stage.new, "ipa": HALF, "index": 1}
    command = Rmi2.RTT_AUX_MAP_UNPROTECTED
    stage.refuses_every(command, good, "rd", "RD")
    for ipa in (HALF + PAGE, 0, WIDTH):
        stage.refuses(command, good, ipa=ipa)
    _refuses_trees(stage, command, good)
    stage.refuses(command, good, rtt(1))
    stage.refuses(command, good, index=2)
    stage.tables(stage.new, HALF)
    stage.succeeds(command, good)


def test_cmd_rtt_aux_unmap_protected(stage: Stage2) -> None:
    good = {"rd": stage.new, "ipa": 0, "index": 1}
    command = Rmi2.RTT_AUX_UNMAP_PROTECTED
    stage.refuses_every(command, good, "rd", "RD")
    for ipa in (8, HALF, WIDTH):
        stage.refuses(command, good, ipa=ipa)
    _refuses_trees(stage, command, good)
    stage.refuses(command, good, rtt_aux(3))
    stage.refuses(command, good, index=2)
    stage.ok(Rmi2.RTT_AUX_MAP_PROTECTED, stage.new, 0, 1)
    stage.succeeds(command, good)


def test_cmd_rtt_aux_unmap_unprotected(stage: Stage2) -> None:
    good = {"rd": stage.new, "ipa": HALF, "index": 1}
    command = Rmi2.RTT_AUX_UNMAP_UNPROTECTED
    stage.refuses_every(command, good, "rd", "RD")
    for ipa in (HALF + PAGE, 0, WIDTH):
        stage.refuses(command, good, ipa=ipa)
    _refuses_trees(stage, command, good)
    stage.tables(stage.new, HALF)
    stage.ok(Rmi2.RTT_AUX_MAP_UNPROTECTED, stage.new, HALF, 1)
    stage.succeeds(command, good)
    assert stage.succeeds(command, good)[0] == 0


def test_cmd_rtt_set_s2ap() -> None:
    door = Stage2()
    rd = door.realm(num_aux_planes=1, flags1=1)
    door.tables(rd, 0)
    door.tables(rd, 0, tree=1)
    door.tables(rd, GIB, 2)
    rec = door.rec(rd)
    door.ok(Rmi2.REALM_ACTIVATE, rd)
    door.enter(rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, PAGE, 3 * PAGE, 3, 0))])
    good = {"rd": rd, "rec": rec, "base": PAGE, "top": 3 * PAGE}
    command = Rmi2.RTT_SET_S2AP
    door.refuses_every(command, good, "rd", "RD")
    door.refuses_every(command, good, "rec", "REC")
    door.refuses(command, good, REC, rd=door.new)
    for wrong in ({"top": PAGE}, {"base": 2 * PAGE}, {"top": 4 * PAGE}, {"top": 3 * PAGE - 8}):
        door.refuses(command, good, **wrong)
    assert door.succeeds(command, good)[1] == 3 * PAGE
    door.enter(rec)
    cookie = door.guest.gprs[0][3]
    assert cookie & 0xFFF == 1
    door.enter(rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, PAGE, 3 * PAGE, 3, cookie))])
    assert door.succeeds(command, good)[1] == 3 * PAGE
    for cookie, fault in ((0, rtt(2)), (BLOCK | 1, rtt_aux(2))):
        door.enter(rec)
        door.enter(rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, BLOCK, BLOCK + PAGE, 3, cookie))])
        door.refuses(command, good, fault, base=BLOCK, top=BLOCK + PAGE)


def _answers(p: Paravisor, status: RsiStatus, *registers: int) -> list[int]:
    found = p.door.rsi(p.rec, *registers)
    assert found[0] == status, registers
    return found


def test_cmd_mem_get_perm_value() -> None:
    p = Paravisor()
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.MEM_GET_PERM_VALUE, 2, 0)
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.MEM_GET_PERM_VALUE, 1, 15)
    assert _answers(p, RsiStatus.SUCCESS, Rsi2.MEM_GET_PERM_VALUE, 0, 0)[1] == Label.RW_X
    assert _answers(p, RsiStatus.SUCCESS, Rsi2.MEM_GET_PERM_VALUE, 1, 0)[1] == Label.NO_ACCESS


def test_cmd_mem_set_perm_value() -> None:
    p = Paravisor()
    for wrong in ((0, 3, Label.RW), (2, 3, Label.RW), (1, 15, Label.RW), (1, 0, Label.RW), (1, 3, 1)):
        _answers(p, RsiStatus.ERROR_INPUT, Rsi2.MEM_SET_PERM_VALUE, *wrong)
    _answers(p, RsiStatus.SUCCESS, Rsi2.MEM_SET_PERM_VALUE, 1, 3, Label.RW)
    assert _answers(p, RsiStatus.SUCCESS, Rsi2.MEM_GET_PERM_VALUE, 1, 3)[1] == Label.RW


def test_cmd_mem_set_perm_index() -> None:
    p = Paravisor()
    for wrong in ((8, PAGE, 3, 0), (0, 8, 3, 0), (PAGE, PAGE, 3, 0), (HALF, HALF + PAGE, 3, 0), (0, PAGE, 15, 0),
                  (0, PAGE, 3, 7)):  # fmt: skip
        _answers(p, RsiStatus.ERROR_INPUT, Rsi2.MEM_SET_PERM_INDEX, *wrong)
    p.assign(3, DATA)


def test_cmd_plane_enter() -> None:
    p = Paravisor()
    p.entering()
    for wrong in ((0, RUN), (2, RUN), (1, RUN + 8), (1, HALF)):
        _answers(p, RsiStatus.ERROR_INPUT, Rsi2.PLANE_ENTER, *wrong)
    p.runs()
    assert p.active() == 1
    assert p.door.guest.pcs[-1] == CODE


def test_cmd_plane_reg_read() -> None:
    p = Paravisor()
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.PLANE_SYSREG_READ, 2, VBAR)
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.PLANE_SYSREG_READ, 1, 0)
    assert _answers(p, RsiStatus.SUCCESS, Rsi2.PLANE_SYSREG_READ, 1, VBAR)[1] == 0


def test_cmd_plane_reg_write() -> None:
    p = Paravisor()
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.PLANE_SYSREG_WRITE, 2, VBAR, 1)
    _answers(p, RsiStatus.ERROR_INPUT, Rsi2.PLANE_SYSREG_WRITE, 1, 0, 1)
    _answers(p, RsiStatus.SUCCESS, Rsi2.PLANE_SYSREG_WRITE, 1, VBAR, 0x8000)
    assert _answers(p, RsiStatus.SUCCESS, Rsi2.PLANE_SYSREG_READ, 1, VBAR)[1] == 0x8000


def _realm_with(door: Door2, policy: int) -> tuple[int, dict[str, int]]:
    return door.delegated(), {"params_ptr": door.host_page(door.params(flags=policy << 7).encode())}


def test_cmd_mec_set_shared() -> None:
    """In 2.0 the Host names a policy, the RMM the MEC: there is one Shared MEC, and a reserved policy is refused."""
    door = Stage2(mec_count=2)
    mecids = {door.rmm.state.realms[door.realm()].mecid for _ in range(3)}
    assert len(mecids) == 1
    rd, more = _realm_with(door, 2)
    door.refuses(Rmi2.REALM_CREATE, {"rd": rd, **more}, INPUT)


def test_cmd_mec_set_private() -> None:
    """In 2.0: a Private MEC per Realm, refused when none is left, and free again when its Realm has gone."""
    door = Stage2(mec_count=1)
    first = door.realm(flags=PRIVATE)
    rd, more = _realm_with(door, 1)
    door.refuses(Rmi2.REALM_CREATE, {"rd": rd, **more}, GLOBAL)
    door.ok(Rmi2.REALM_TERMINATE, first)
    door.ok(Rmi2.REALM_DESTROY, first)
    door.succeeds(Rmi2.REALM_CREATE, {"rd": rd, **more})
    without = Stage2(mec_count=0)
    assert without.ok(Rmi2.FEATURES, 4)[1] == 0
    assert without.rmm.state.realms[without.realm(flags=PRIVATE)].mecid == 0
