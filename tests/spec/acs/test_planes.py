"""Scenarios of the compliance suite about planes, on RMI 2.0; a test has the name of its scenario.

Written from ARM-software/cca-rmm-acs docs/planes_scenarios.rst.
"""

from __future__ import annotations

import pytest
from acs_stage import DATA_ABORT, EMPTY, HALF, INSTRUCTION_ABORT, LOST, MAPPED, MISSING, sync
from acs_stage_2_0 import CALL, CODE, DATA, RUN, Paravisor
from spec_door import PAGE
from spec_door_2_0 import SUCCESS, desc

from cca_machine.abi.guest import (
    Access,
    ExceptionKind,
    GuestEvent,
    Poke,
    SetListRegister,
    SetSystemRegister,
    Smc,
    SystemRegister,
    Yield,
)
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import ExitReason
from cca_machine.abi.rmi2 import Rmi2
from cca_machine.abi.rsi import HostCall, Rsi, RsiStatus
from cca_machine.abi.rsi2 import PlaneEnterFlags, PlaneExitReason, Rsi2
from cca_machine.hardware.gpt import World
from cca_machine.rmm.permissions import Label

WFX, HVC, SMC = 0x01, 0x16, 0x17
TRAP_WFX = PlaneEnterFlags.TRAP_WFI | PlaneEnterFlags.TRAP_WFE
PENDING, ACTIVE, INTID = 1 << 62, 1 << 63, 27


@pytest.fixture
def p() -> Paravisor:
    return Paravisor()


def _exits_to_p0(p: Paravisor, cause: int, ipa: int | None = None) -> None:
    page = p.stopped()
    assert (page.reason, page.esr_el2 >> 26) == (PlaneExitReason.SYNC, cause)
    if ipa is not None:
        assert (page.far_el2, page.hpfar_el2) == (ipa, ipa >> 8)


def test_planes_plane_exit_smc_hvc(p: Paravisor) -> None:
    p.runs(Smc((Psci.VERSION,)))
    _exits_to_p0(p, SMC)
    assert p.stopped().gprs[0] == Psci.VERSION
    p.runs(sync(HVC << 26))
    _exits_to_p0(p, HVC)


def _trapped_wait(p: Paravisor, kind: int) -> None:
    p.runs(sync(WFX << 26 | kind), flags=TRAP_WFX)
    _exits_to_p0(p, WFX)
    assert p.stopped().esr_el2 & 1 == kind


def test_planes_plane_exit_wfe(p: Paravisor) -> None:
    _trapped_wait(p, 1)


def test_planes_plane_exit_wfi(p: Paravisor) -> None:
    _trapped_wait(p, 0)


def test_planes_plane_exit_ia_unprotected(p: Paravisor) -> None:
    p.door.ok(Rmi2.RTT_UNPROT_MAP, p.rd, HALF, HALF + PAGE, 1 | 3 << 19, desc(p.door.granules()))
    p.runs(Access(ipa=HALF, instruction=True))
    _exits_to_p0(p, INSTRUCTION_ABORT, HALF)


def test_planes_plane_exit_da_ia_ripas_empty(p: Paravisor) -> None:
    p.runs(Access(ipa=EMPTY))
    _exits_to_p0(p, DATA_ABORT, EMPTY)
    p.runs(Access(ipa=EMPTY, instruction=True))
    _exits_to_p0(p, INSTRUCTION_ABORT, EMPTY)


def test_planes_plane_exit_da_ia_permission(p: Paravisor) -> None:
    p.runs(Access(ipa=MAPPED))
    _exits_to_p0(p, DATA_ABORT, MAPPED)
    assert p.stopped().esr_el2 & 0x3C == 0x0C
    p.runs(Access(ipa=MAPPED, instruction=True))
    _exits_to_p0(p, INSTRUCTION_ABORT, MAPPED)
    p.runs(Access(ipa=CODE, write=True))
    _exits_to_p0(p, DATA_ABORT, CODE)


def test_planes_plane_exit_host_call(p: Paravisor) -> None:
    p.runs(Smc((Rsi.HOST_CALL, CALL)), flags=PlaneEnterFlags.TRAP_HOST_CALL)
    _exits_to_p0(p, SMC)
    assert p.stopped().gprs[0] == Rsi.HOST_CALL


def _exits_to_host(p: Paravisor, ipa: int, cause: int, *, instruction: bool = False) -> None:
    out = p.runs(Access(ipa=ipa, instruction=instruction))
    assert (out.exit_reason, out.esr >> 26, out.hpfar) == (ExitReason.SYNC, cause, ipa >> 8)
    assert p.active() == 1


def test_planes_rec_exit_da_ia_hipas_unassigned_ripas_ram() -> None:
    for instruction, cause in ((False, DATA_ABORT), (True, INSTRUCTION_ABORT)):
        p = Paravisor()
        _exits_to_host(p, MISSING, cause, instruction=instruction)
        p.door.ok(Rmi2.RTT_DATA_MAP, p.rd, MISSING, MISSING + PAGE, 1, desc(p.door.delegated()))
        p.door.enter(p.rec)
        assert p.door.guest.pcs[0] == CODE


def test_planes_rec_exit_da_ripas_destroyed(p: Paravisor) -> None:
    _exits_to_host(p, LOST, DATA_ABORT)


def test_planes_rec_exit_ia_ripas_destroyed(p: Paravisor) -> None:
    _exits_to_host(p, LOST, INSTRUCTION_ABORT, instruction=True)


def test_planes_rec_exit_da_hipas_unassigned_ns(p: Paravisor) -> None:
    _exits_to_host(p, HALF + PAGE, DATA_ABORT)


def test_planes_rec_exit_irq(p: Paravisor) -> None:
    out = p.runs(Yield(ExceptionKind.IRQ))
    assert (out.exit_reason, out.esr) == (ExitReason.IRQ, 0)
    assert p.active() == 1


def test_planes_rec_exit_host_call(p: Paravisor) -> None:
    call = HostCall(imm=7, gprs=tuple(range(31))).encode()
    out = p.runs(Poke(CALL, call), Smc((Rsi.HOST_CALL, CALL)))
    assert (out.exit_reason, out.plane, out.imm, out.esr) == (ExitReason.HOST_CALL, 1, 7, 0)


def test_planes_s2ap_locking(p: Paravisor) -> None:
    def put(index: int) -> int:
        return p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, 1, index, Label.RW)[0]

    assert put(0) == RsiStatus.ERROR_INPUT
    assert put(5) == RsiStatus.SUCCESS
    p.assign(5, DATA)
    assert put(5) == RsiStatus.ERROR_INPUT


def test_planes_s2ap_unprotected(p: Paravisor) -> None:
    target = p.door.granules()
    p.door.ok(Rmi2.RTT_UNPROT_MAP, p.rd, HALF, HALF + PAGE, 1 | 3 << 19, desc(target))
    p.runs(Access(ipa=HALF, write=True, register=1), Access(ipa=HALF, register=2), gprs=(0, 0x5A, *(0,) * 29))
    assert p.door.hardware.memory.read(World.NS, target, 1) == b"\x5a"
    assert p.door.guest.gprs[-1][2] == 0x5A
    p.door.enter(p.rec, [Access(ipa=HALF, instruction=True)])
    _exits_to_p0(p, INSTRUCTION_ABORT, HALF)


def test_planes_s2ap_protected(p: Paravisor) -> None:
    p.runs(Access(ipa=CODE, instruction=True), Access(ipa=MAPPED))
    _exits_to_p0(p, DATA_ABORT, MAPPED)
    assert p.stopped().esr_el2 & 0x3C == 0x0C


ENFORCED = {
    # page -> label of P1, label of P2
    "DATA1": (Label.RO, Label.NO_ACCESS), "DATA2": (Label.RW, Label.NO_ACCESS), "DATA3": (Label.WO, Label.NO_ACCESS),
    "DATA4": (Label.NO_ACCESS, Label.RO), "DATA5": (Label.NO_ACCESS, Label.RW), "DATA6": (Label.NO_ACCESS, Label.WO),
}  # fmt: skip
LOADS, STORES = {"DATA1": 1, "DATA2": 1, "DATA4": 2, "DATA5": 2}, {"DATA2": 1, "DATA3": 1, "DATA5": 2, "DATA6": 2}
"""The plane whose load (CODE3), or store (CODE4), comes to its HVC; the other aborts (tables 2 and 3 of the suite)."""


def test_planes_s2ap_enforced_by_p0() -> None:
    p = Paravisor(aux=2)
    pages = dict(zip(ENFORCED, (MAPPED, DATA, CALL, CODE, 0x10_0000, 0x10_1000), strict=True))
    for index, (name, labels) in enumerate(ENFORCED.items(), 5):
        for plane, label in enumerate(labels, 1):
            assert p.door.rsi(p.rec, Rsi2.MEM_SET_PERM_VALUE, plane, index, label)[0] == SUCCESS
        if pages[name] >= 0x10_0000:
            p.door.enter(p.rec, [Smc((Rsi.IPA_STATE_SET, pages[name], pages[name] + PAGE, 1, 0))])
            p.door.ok(Rmi2.RTT_SET_RIPAS, p.rd, p.rec, pages[name], pages[name] + PAGE)
            p.door.ok(Rmi2.RTT_DATA_MAP, p.rd, pages[name], pages[name] + PAGE, 1, desc(p.door.delegated()))
            p.door.enter(p.rec)
        p.assign(index, pages[name])
    for write, permitted in ((False, LOADS), (True, STORES)):
        for plane in (1, 2):
            for name, page in pages.items():
                p.runs(Access(ipa=page, write=write), sync(HVC << 26), plane=plane)
                _exits_to_p0(p, HVC if permitted.get(name) == plane else DATA_ABORT)
    for plane in (1, 2):
        p.runs(Access(ipa=RUN, instruction=True), plane=plane)
        _exits_to_p0(p, INSTRUCTION_ABORT)


def _interrupt(p: Paravisor, *list_registers: int) -> None:
    p.door.hardware.pes[0].list_registers = list(list_registers)


def _acknowledge() -> list[GuestEvent]:
    return [SetListRegister(0, ACTIVE | INTID), SetListRegister(0, 0)]


def test_planes_rec_entry_no_virt_int(p: Paravisor) -> None:
    p.runs(Access(ipa=MISSING))
    assert p.door.enter(p.rec)[0] == SUCCESS
    assert p.door.guest.pcs == [CODE]
    assert p.active() == 1


def test_planes_rec_entry_p0_owner_virt_int(p: Paravisor) -> None:
    """The text that the model follows calls the reason IRQ, where the suite's document says synchronous."""
    p.runs(Access(ipa=MISSING))
    _interrupt(p, PENDING | INTID)
    p.door.enter(p.rec, _acknowledge())
    assert p.stopped().reason == PlaneExitReason.IRQ
    assert p.stopped().elr_el2 == CODE
    assert p.door.hardware.pes[0].list_registers == [0]


def test_planes_rec_entry_pn_owner_virt_int(p: Paravisor) -> None:
    p.runs(Access(ipa=MISSING), flags=PlaneEnterFlags.OWN_GIC)
    _interrupt(p, PENDING | INTID)
    p.door.enter(p.rec, _acknowledge())
    assert (p.active(), p.door.guest.pcs[0]) == (1, CODE)
    assert p.door.hardware.pes[0].list_registers == [0]


def test_planes_rec_entry_maint_int(p: Paravisor) -> None:
    p.runs(SetSystemRegister(SystemRegister.ICH_MISR, 8), Access(ipa=MISSING))
    p.door.enter(p.rec)
    assert (p.stopped().reason, p.stopped().gicv3_misr) == (PlaneExitReason.IRQ, 8)


def test_planes_p0_gic_virt_pn(p: Paravisor) -> None:
    p.runs(Access(ipa=MISSING))
    _interrupt(p, PENDING | INTID)
    given = p.entering(gicv3_lrs=(PENDING | 40,))
    p.door.enter(p.rec, [*_acknowledge(), *given, SetListRegister(0, ACTIVE | 40), sync(HVC << 26)])
    _exits_to_p0(p, HVC)
    assert p.stopped().gicv3_lrs[0] == ACTIVE | 40
    assert p.door.hardware.pes[0].list_registers == [0]


def test_planes_el1_timer_trig(p: Paravisor) -> None:
    out = p.runs(SetSystemRegister(SystemRegister.CNTP_CTL, 5), sync(HVC << 26))
    assert (out.exit_reason, out.cntp_ctl) == (ExitReason.IRQ, 5)
    assert p.active() == 1


@pytest.mark.parametrize(
    ("p0_on", "p1_on", "v1", "v2", "shown"),
    [
        (0, 0, 5, 10, 5), (0, 0, 10, 5, 10), (0, 1, 5, 10, 10), (0, 1, 10, 5, 5),
        (1, 0, 5, 10, 5), (1, 0, 10, 5, 10), (1, 1, 5, 10, 5), (1, 1, 10, 5, 5),
    ],
)  # fmt: skip
def test_planes_timer_state_rec_exit(p: Paravisor, p0_on: int, p1_on: int, v1: int, v2: int, shown: int) -> None:
    call = HostCall().encode()
    p.door.enter(p.rec, [
        SetSystemRegister(SystemRegister.CNTV_CTL, p0_on), SetSystemRegister(SystemRegister.CNTV_CVAL, v1),
    ])  # fmt: skip
    out = p.runs(
        SetSystemRegister(SystemRegister.CNTV_CTL, p1_on), SetSystemRegister(SystemRegister.CNTV_CVAL, v2),
        Poke(CALL, call), Smc((Rsi.HOST_CALL, CALL)),
    )  # fmt: skip
    assert (out.exit_reason, out.cntv_cval) == (ExitReason.HOST_CALL, shown)
    assert out.cntv_ctl == (p0_on or p1_on)
