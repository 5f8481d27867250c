"""Planes: entering and stopping one, what reaches P0, auxiliary trees and overlays, and who may touch what."""

from __future__ import annotations

import pytest
from spec_door import PAGE
from spec_door_2_0 import INPUT, REALM, SUCCESS, Door2, desc, rtt, rtt_aux

from cca_machine.abi.guest import Access, Exception_, ExceptionKind, GuestEvent, Poke, Smc
from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmi2 import RecEnterFlags2, Rmi2
from cca_machine.abi.rsi import HostCall, Rsi
from cca_machine.abi.rsi2 import PlaneEnter, PlaneEnterFlags, PlaneExit, PlaneExitReason, Rsi2, sysreg_code
from cca_machine.hardware.gpt import World
from cca_machine.rmm.permissions import Label, effective
from cca_machine.rmm.quirks import TF_RMM_2_0, QuirkSet
from cca_machine.rmm.rtt import address_of

RUN, RAM, CALL = 0x2000, 0x5000, 0x6000
TREE_PER_PLANE, OVERLAYS = 1, 2
HVC = Exception_(ExceptionKind.SYNC, 0x16 << 26)
VBAR = sysreg_code(3, 0, 12, 0, 0)


class Paravisor:
    """An ACTIVE Realm with planes P0 and P1, pages for run page, data and host call, and one REC."""

    def __init__(self, flags1: int = OVERLAYS, quirks: QuirkSet | None = None, aux: int = 1) -> None:
        self.door = Door2(quirks) if quirks else Door2()
        self.rd = self.door.realm(num_aux_planes=aux, flags1=flags1)
        self.door.tables(self.rd, 0)
        self.pages = {ipa: self.door.data(self.rd, ipa, b"\0") for ipa in (RUN, RAM, CALL)}
        self.rec = self.door.rec(self.rd, pc=0x1000)
        self.door.ok(Rmi2.REALM_ACTIVATE, self.rd)
        if flags1 & TREE_PER_PLANE:
            for tree in range(1, aux + 1):
                self.door.tables(self.rd, 0, tree=tree)

    @property
    def state(self):
        return self.door.rmm.state.recs[self.rec]

    def start(self, flags: int = 0, **entry: object) -> list[GuestEvent]:
        """Events with which P0 enters P1."""
        page = PlaneEnter(flags=flags, pc=0x4000, pstate=0x3C5, **entry).encode()  # type: ignore[arg-type]
        self.door.hardware.memory.write(World.REALM, self.pages[RUN], page)
        return [Smc((Rsi2.PLANE_ENTER, 1, RUN))]

    def exit_page(self) -> PlaneExit:
        return PlaneExit.decode(self.door.hardware.memory.read(World.REALM, self.pages[RUN] + 0x800, 0x800))


def test_a_plane_runs_with_what_p0_gave_it_and_p0_goes_on_behind_its_call() -> None:
    p = Paravisor()
    x0, out = p.door.enter(p.rec, [*p.start(gprs=(7,) * 31), HVC])
    assert (x0, out.exit_reason) == (SUCCESS, ExitReason.FIQ)
    assert p.door.guest.pcs == [0x1000, 0x4000, 0x1004]
    assert p.door.guest.gprs[1] == [7] * 31
    assert p.door.guest.gprs[2][:4] == [0, 0, 0, 0]
    page = p.exit_page()
    assert (page.reason, page.elr_el2, page.gprs[30], page.esr_el2) == (PlaneExitReason.SYNC, 0x4000, 7, HVC.esr)


@pytest.mark.parametrize(
    "change",
    [
        {"plane": 0}, {"plane": 2}, {"run": RUN + 8}, {"run": 1 << 39}, {"run": 0x9000},
        {"pstate": 0x3D0}, {"lrs": (1 << 62 | 1 << 61,)}, {"lrs": (1 << 62 | 5, 1 << 63 | 5)},
    ],
)  # fmt: skip
def test_a_plane_entry_that_is_not_valid_changes_nothing(change: dict) -> None:
    p = Paravisor()
    p.start(gicv3_lrs=change.get("lrs", ()))
    if "pstate" in change:
        page = PlaneEnter(pstate=change["pstate"]).encode()
        p.door.hardware.memory.write(World.REALM, p.pages[RUN], page)
    call = Smc((Rsi2.PLANE_ENTER, change.get("plane", 1), change.get("run", RUN)))
    p.door.enter(p.rec, [call])
    assert p.door.guest.gprs[-1][:4] == [1, 0, 0, 0]
    assert p.state.active_plane == 0
    assert p.state.pc == 0x1004


def test_a_run_page_that_is_not_there_is_asked_of_the_host_and_the_call_repeated() -> None:
    p = Paravisor()
    p.door.ok(Rmi2.RTT_DATA_UNMAP, p.rd, RUN, RUN + PAGE, 0, 0)
    x0, out = p.door.enter(p.rec, [Smc((Rsi2.PLANE_ENTER, 1, RUN))])
    assert (x0, out.exit_reason, out.hpfar) == (SUCCESS, ExitReason.SYNC, RUN >> 8)
    assert p.state.pc == 0x1000


def test_only_p0_reaches_the_services_except_host_calls_it_lets_through() -> None:
    p = Paravisor()
    p.door.enter(p.rec, [*p.start(), Smc((Rsi.VERSION, 0x10000))])
    assert p.exit_page().gprs[0] == Rsi.VERSION
    assert p.exit_page().esr_el2 >> 26 == 0x17
    p.door.hardware.memory.write(World.REALM, p.pages[CALL], HostCall(imm=9).encode())
    _, out = p.door.enter(p.rec, [*p.start(), Smc((Rsi.HOST_CALL, CALL))])
    assert (out.exit_reason, out.imm, out.plane) == (ExitReason.HOST_CALL, 9, 1)
    _, out = p.door.enter(p.rec, [HVC])
    assert out.exit_reason == ExitReason.FIQ
    assert p.state.active_plane == 0
    _, out = p.door.enter(p.rec, [*p.start(PlaneEnterFlags.TRAP_HOST_CALL), Smc((Rsi.HOST_CALL, CALL))])
    assert out.exit_reason == ExitReason.FIQ
    assert p.state.active_plane == 0


def test_the_plane_that_was_interrupted_goes_on_and_the_host_can_force_p0() -> None:
    p = Paravisor()
    p.door.enter(p.rec, p.start())
    assert p.state.active_plane == 1
    p.door.enter(p.rec)
    assert p.door.guest.pcs == [0x4000]
    p.door.enter(p.rec, flags=RecEnterFlags2.FORCE_P0)
    assert p.door.guest.pcs == [0x1004]
    assert p.exit_page().reason == PlaneExitReason.HOST
    firmware = Paravisor(quirks=TF_RMM_2_0)
    firmware.door.enter(firmware.rec, firmware.start())
    firmware.door.enter(firmware.rec, flags=RecEnterFlags2.FORCE_P0)
    assert firmware.exit_page().reason == PlaneExitReason.SYNC


def test_p0_sets_registers_of_a_plane_that_others_do_not_see() -> None:
    p = Paravisor(aux=2)
    assert p.door.rsi(p.rec, Rsi2.PLANE_SYSREG_WRITE, 1, VBAR, 0x8000)[0] == 0
    assert p.door.rsi(p.rec, Rsi2.PLANE_SYSREG_READ, 1, VBAR)[:3] == [0, 0x8000, 0]
    assert p.door.rsi(p.rec, Rsi2.PLANE_SYSREG_READ, 2, VBAR)[:3] == [0, 0, 0]
    for plane, code in ((0, VBAR), (3, VBAR), (1, VBAR | 1 << 20), (1, 0)):
        assert p.door.rsi(p.rec, Rsi2.PLANE_SYSREG_READ, plane, code)[0] == 1
    p.door.enter(p.rec, [*p.start(), HVC])
    assert p.exit_page().vbar_el1 == 0x8000


def test_a_plane_reaches_only_what_its_overlay_lets_it_reach() -> None:
    p = Paravisor()
    write = Access(ipa=RAM, write=True, register=1)
    p.door.enter(p.rec, [*p.start(), write])
    page = p.exit_page()
    assert (page.esr_el2 >> 26, page.esr_el2 & 0x3C, page.hpfar_el2) == (0x24, 0x0C, RAM >> 8)
    assert p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, 1, 3, Label.RW)[0] == 0
    _, out = p.door.enter(p.rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, RAM, RAM + PAGE, 3, 0))])
    assert (out.exit_reason, out.s2ap_base, out.s2ap_top) == (ExitReason.S2AP_CHANGE, RAM, RAM + PAGE)
    assert p.door.ok(Rmi2.RTT_SET_S2AP, p.rd, p.rec, RAM, RAM + PAGE)[1] == RAM + PAGE
    p.door.enter(p.rec)
    assert p.door.guest.gprs[0][:4] == [0, RAM + PAGE, 0, 0]
    p.door.enter(p.rec, [*p.start(gprs=(0, 0x77)), write])
    assert p.state.active_plane == 1
    assert p.door.hardware.memory.read(World.REALM, p.pages[RAM], 1) == b"\x77"
    assert p.door.rmm.state.realms[p.rd].planes.locked >> 3 & 1


def test_an_index_in_use_is_immutable_and_a_rejected_one_is_not() -> None:
    p = Paravisor()
    p.door.enter(p.rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, RAM, RAM + PAGE, 3, 0))])
    p.door.enter(p.rec, flags=RecEnterFlags2.S2AP_RESPONSE)
    assert p.door.guest.gprs[0][:4] == [0, RAM, 1, 0]
    assert p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, 1, 3, Label.RO)[0] == 0
    p.door.enter(p.rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, RAM, RAM + PAGE, 3, 0))])
    p.door.enter(p.rec)
    assert p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, 1, 3, Label.RW)[0] == 1
    assert p.door.rsi(p.rec, Rsi2.MEM_GET_PERM_VALUE, 1, 3)[:2] == [0, Label.RO]


@pytest.mark.parametrize(
    ("plane", "index", "value"), [(0, 3, 12), (2, 3, 12), (1, 0, 12), (1, 15, 12), (1, 3, 1), (1, 3, 16)]
)
def test_permission_values_are_refused_for_p0_fixed_indices_and_reserved_labels(
    plane: int, index: int, value: int
) -> None:
    p = Paravisor()
    before = list(p.door.rmm.state.realms[p.rd].planes.overlays)
    assert p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, plane, index, value)[0] == 1
    assert p.door.rmm.state.realms[p.rd].planes.overlays == before


def test_labels_are_limited_by_the_base_index() -> None:
    assert effective(Label.RW_X, 4) == 0b0011
    assert effective(Label.RW_X, 1) == 0b1001
    assert effective(Label.RO_UX, 4) == 0b0101
    assert effective(Label.WO, 3) == 0b1010
    assert effective(Label.MRO, 4) & 3 == 0


def test_an_auxiliary_tree_maps_what_the_primary_tree_maps_and_keeps_it_from_being_unmapped() -> None:
    p = Paravisor(TREE_PER_PLANE)
    door, rd = p.door, p.rd
    assert door.call(Rmi2.RTT_AUX_MAP_PROTECTED, rd, 0x8000, 1)[:4] == (rtt(3), 0, 3, 0)
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, rd, RAM, 1)
    found = door.rmm.core.walk_tree(door.rmm.state.realms[rd], 1, RAM, 3)
    assert address_of(found.entry) == p.pages[RAM]
    before = door.digest()
    assert door.call(Rmi2.RTT_DATA_UNMAP, rd, RAM, RAM + PAGE, 0, 0)[0] == rtt_aux(0)
    assert door.digest() == before
    assert door.ok(Rmi2.RTT_AUX_UNMAP_PROTECTED, rd, RAM, 1)[1] == 0x200000
    assert door.call(Rmi2.RTT_AUX_UNMAP_PROTECTED, rd, RAM, 1)[:2] == (rtt_aux(3), 0x200000)
    door.ok(Rmi2.RTT_DATA_UNMAP, rd, RAM, RAM + PAGE, 0, 0)
    assert door.rmm.state.references == {}


def test_a_destroyed_auxiliary_entry_is_reported_as_such() -> None:
    p = Paravisor(TREE_PER_PLANE)
    p.door.ok(Rmi2.RTT_AUX_DESTROY, p.rd, 0, 3, 1)
    p.door.ok(Rmi2.RTT_AUX_CREATE, p.rd, p.door.delegated(), 0, 3, 1)
    assert p.door.call(Rmi2.RTT_AUX_MAP_PROTECTED, p.rd, RAM, 1)[:5] == (rtt_aux(3), 1, 3, 5, 1)


def test_a_block_of_the_primary_tree_is_mapped_piece_by_piece_at_its_own_address() -> None:
    door = Door2()
    rd = door.realm(num_aux_planes=1, flags1=TREE_PER_PLANE)
    door.tables(rd, 0, to=2)
    block = door.delegated(512, 512 * PAGE)
    door.ok(Rmi2.RTT_INIT_RIPAS, rd, 0, 512 * PAGE)
    door.ok(Rmi2.RTT_DATA_MAP, rd, 0, 512 * PAGE, 1, desc(block, 1, 2))
    door.tables(rd, 0, tree=1)
    door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, rd, 5 * PAGE, 1)
    assert door.rmm.state.references == {block + 5 * PAGE: 1}
    assert door.call(Rmi2.RTT_DATA_UNMAP, rd, 0, 512 * PAGE, 0, 0)[0] == rtt_aux(0)


def test_unprotected_memory_is_shared_by_root_entry_and_then_its_table_stays() -> None:
    door = Door2()
    rd = door.realm(num_aux_planes=1, flags1=TREE_PER_PLANE)
    half = 1 << 39
    assert door.call(Rmi2.RTT_AUX_MAP_UNPROTECTED, rd, half, 1)[0] == rtt(1)
    door.tables(rd, half, to=2)
    door.ok(Rmi2.RTT_AUX_MAP_UNPROTECTED, rd, half, 1)
    assert door.call(Rmi2.RTT_DESTROY, rd, half, 2)[0] == rtt(1)
    assert door.call(Rmi2.RTT_FOLD, rd, half, 2)[0] == rtt(1)
    door.ok(Rmi2.RTT_AUX_UNMAP_UNPROTECTED, rd, half, 1)
    door.ok(Rmi2.RTT_DESTROY, rd, half, 2)
    door.ok(Rmi2.REALM_TERMINATE, rd)
    assert door.call(Rmi2.RTT_AUX_MAP_UNPROTECTED, rd, half, 1)[0] == REALM
    door.ok(Rmi2.REALM_DESTROY, rd)


def test_with_a_tree_per_plane_a_cookie_leads_through_all_trees() -> None:
    p = Paravisor(TREE_PER_PLANE)
    cookie, trees = 0, []
    for _ in range(2):
        p.door.enter(p.rec, [Smc((Rsi2.MEM_SET_PERM_INDEX, RAM, RAM + PAGE, 2, cookie))])
        trees.append(p.state.permissions.cookie & 0xFFF)
        p.door.ok(Rmi2.RTT_SET_S2AP, p.rd, p.rec, RAM, RAM + PAGE)
        p.door.enter(p.rec)
        base, cookie = p.door.guest.gprs[0][1], p.door.guest.gprs[0][3]
    assert trees == [0, 1]
    assert (base, cookie) == (RAM + PAGE, 0)


def test_missing_memory_of_a_plane_goes_to_the_host_with_its_tree_and_empty_memory_to_p0() -> None:
    p = Paravisor(TREE_PER_PLANE)
    _, out = p.door.enter(p.rec, [*p.start(), Access(ipa=RAM, write=False)])
    # P1 of two planes uses the primary tree, where RAM is mapped but nothing is permitted.
    assert p.state.active_plane == 0
    assert out.exit_reason == ExitReason.FIQ
    _, out = p.door.enter(p.rec, [Access(ipa=RAM, write=False)])
    assert (out.exit_reason, out.hpfar, out.rtt_tree) == (ExitReason.SYNC, RAM >> 8, 1)
    p.door.ok(Rmi2.RTT_AUX_MAP_PROTECTED, p.rd, RAM, 1)
    assert p.door.enter(p.rec, [Poke(RAM, b"p0")])[1].exit_reason == ExitReason.FIQ
    assert p.door.hardware.memory.read(World.REALM, p.pages[RAM], 2) == b"p0"


def test_plane_parameters_must_fit_each_other_and_the_machine() -> None:
    door = Door2(plane_tables=0, s2ap_indirect=False)
    for fields in ({"num_aux_planes": 4, "flags1": 1}, {"num_aux_planes": 1, "flags1": 2}, {"flags1": 2},
                   {"num_aux_planes": 1, "flags1": 0}, {"ats_plane": 1}):  # fmt: skip
        params = door.params(**{"aux_rtt_base": (0, 0, 0), **fields})
        assert door.call(Rmi2.REALM_CREATE, door.delegated(), door.host_page(params.encode()))[0] == INPUT, fields
    door.realm(num_aux_planes=3, flags1=1)
