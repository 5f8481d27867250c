"""Exception, GIC, timer and PMU scenarios of the compliance suite; a test has the name of its scenario.

Written from the suite's scenario documents (ARM-software/cca-rmm-acs docs/exception_scenarios.md, gic_scenarios.md,
pmu_debug.md).
"""

from __future__ import annotations

import pytest
from acs_stage import BLOCK, DATA_ABORT, EMPTY, HALF, INSTRUCTION_ABORT, LOST, MAPPED, MINUS_1, MISSING, Stage, sync
from spec_door import INPUT, PAGE, REC, SUCCESS

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    Poke,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    Smc,
    SystemRegister,
)
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import RUN_EXIT_OFFSET, ExitReason, RecEnter, RecExit, Ripas, Rmi
from cca_machine.abi.rsi import HostCall, Rsi
from cca_machine.hardware.gpt import GranuleProtectionFault, World

MARKS = [SetRegister(index, 0x100 + index) for index in range(31)]
WFX, HVC, MSR = 0x01, 0x16, 0x18
IL, ISV, WNR, SF = 1 << 25, 1 << 24, 1 << 6, 1 << 15
EMULATE, INJECT, TRAP_WFI, TRAP_WFE, REJECT = 1, 2, 4, 8, 16
PENDING, ACTIVE, HW = 1 << 62, 1 << 63, 1 << 61


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def realm(stage: Stage) -> tuple[int, int]:
    rd, (rec,) = stage.realm_of_pages()
    return rd, rec


def _trapped_wait(stage: Stage, rec: int, kind: int, flag: int) -> None:
    out = stage.runs(rec, *MARKS, sync(WFX << 26 | IL | kind), flags=flag)
    assert (out.exit_reason, out.esr >> 26, out.esr & 1) == (ExitReason.SYNC, WFX, kind)
    assert not any(out.gprs)
    stage.runs(rec, gprs=(99,) * 31)
    assert stage.guest.gprs[0] == [0x100 + index for index in range(31)]


def test_exception_rec_exit_wfe(stage: Stage, realm: tuple[int, int]) -> None:
    _trapped_wait(stage, realm[1], 1, TRAP_WFE)


def test_exception_rec_exit_wfi(stage: Stage, realm: tuple[int, int]) -> None:
    _trapped_wait(stage, realm[1], 0, TRAP_WFI)


def test_exception_rec_exit_hostcall(stage: Stage, realm: tuple[int, int]) -> None:
    given = tuple(range(31))
    call = Poke(MAPPED, HostCall(imm=0x1234, gprs=given).encode())
    out = stage.runs(realm[1], call, Smc((Rsi.HOST_CALL, MAPPED)))
    assert out == RecExit(exit_reason=ExitReason.HOST_CALL, imm=0x1234, gprs=given)
    stage.runs(realm[1], gprs=tuple(range(100, 131)))
    assert stage.guest.view is not None
    assert HostCall.decode(stage.guest.view.read(MAPPED, 256)).gprs == tuple(range(100, 131))


def test_exception_rec_exit_psci(stage: Stage) -> None:
    _, (first, second) = stage.realm_of_pages(2)
    out = stage.runs(first, *MARKS, Smc((Psci.AFFINITY_INFO, 1, 0, 0)))
    assert (out.exit_reason, out.esr) == (ExitReason.PSCI, 0)
    assert out.gprs[:5] == (Psci.AFFINITY_INFO, 1, 0, 0, 0)
    stage.ok(Rmi.PSCI_COMPLETE, first, second, 0)
    stage.runs(first, gprs=(99,) * 31)
    assert stage.guest.gprs[0][:4] == [0, 0, 0, 0]
    assert stage.guest.gprs[0][7:] == [0x100 + index for index in range(7, 31)]


def test_exception_realm_unsupported_smc(stage: Stage, realm: tuple[int, int]) -> None:
    for fid in (Rmi.VERSION, Rmi.REALM_CREATE, 0xC400_01B0, 0x8200_0000):
        assert stage.asks(realm[1], fid, 1)[0] == MINUS_1


def test_exception_rec_exit_hvc(stage: Stage, realm: tuple[int, int]) -> None:
    out = stage.runs(realm[1], sync(HVC << 26 | IL))
    assert out.exit_reason == ExitReason.FIQ
    assert stage.guest.view is not None
    assert (stage.guest.view.system_register(SystemRegister.ESR_EL1) >> 26, stage.guest.pcs[-1]) == (0, 0x200)


@pytest.mark.parametrize(
    ("ripas", "done", "flag", "response"),
    [
        (Ripas.RAM, 2, 0, 0), (Ripas.RAM, 0, REJECT, 1), (Ripas.EMPTY, 2, 0, 0), (Ripas.EMPTY, 1, 0, 0),
        (Ripas.EMPTY, 0, REJECT, 0),
    ],
    ids=["to RAM", "to RAM rejected", "to EMPTY", "to EMPTY partly", "to EMPTY cannot be rejected"],
)  # fmt: skip
def test_exception_rec_exit_ripas(
    stage: Stage, realm: tuple[int, int], ripas: Ripas, done: int, flag: int, response: int
) -> None:
    rd, rec = realm
    base = 0 if ripas == Ripas.RAM else MAPPED - PAGE
    top = base + 2 * PAGE
    out = stage.runs(rec, Smc((Rsi.IPA_STATE_SET, base, top, ripas, 0)))
    wanted = RecExit(exit_reason=ExitReason.RIPAS_CHANGE, ripas_base=base, ripas_top=top, ripas_value=ripas)
    assert out == wanted
    if done:
        stage.ok(Rmi.RTT_SET_RIPAS, rd, rec, base, base + done * PAGE)
    stage.runs(rec, flags=flag)
    assert stage.guest.gprs[0][:3] == [0, base + done * PAGE, response]


def test_exception_rec_exit_ia(stage: Stage, realm: tuple[int, int]) -> None:
    kind, out = stage.touched(realm[1], MISSING, instruction=True)
    assert kind == "exit"
    assert out == RecExit(exit_reason=ExitReason.SYNC, esr=INSTRUCTION_ABORT << 26 | 7, hpfar=MISSING >> 8)


def test_exception_rec_exit_irq(stage: Stage, realm: tuple[int, int]) -> None:
    out = stage.runs(realm[1], Exception_(ExceptionKind.IRQ, 0x55, 0x66))
    assert out == RecExit(exit_reason=ExitReason.IRQ)


def test_exception_rec_exit_fiq(stage: Stage, realm: tuple[int, int]) -> None:
    out = stage.runs(realm[1], Exception_(ExceptionKind.FIQ, 0x55, 0x66))
    assert out == RecExit(exit_reason=ExitReason.FIQ)


def test_exception_rec_exit_serror(stage: Stage, realm: tuple[int, int]) -> None:
    shown = 0x2F << 26 | 0b010 << 10 | 0x11
    out = stage.runs(realm[1], Exception_(ExceptionKind.SERROR, shown | IL | 1 << 7))
    assert out == RecExit(exit_reason=ExitReason.SERROR, esr=shown)


def test_exception_emulatable_da(stage: Stage, realm: tuple[int, int]) -> None:
    _, rec = realm
    load = sync(DATA_ABORT << 26 | IL | ISV | 3 << 22 | 6 << 16 | SF | 5, HALF + BLOCK)
    out = stage.runs(rec, load)
    assert (out.esr & ISV, out.hpfar) == (ISV, (HALF + BLOCK) >> 8)
    stage.runs(rec, flags=EMULATE, gprs=(0x77, *(0,) * 30))
    assert (stage.guest.gprs[0][6], stage.guest.pcs[0]) == (0x77, 4)
    stage.runs(rec, load)
    stage.runs(rec, flags=INJECT)
    assert stage.guest.pcs[0] == 0x200


def test_exception_non_emulatable_da(stage: Stage, realm: tuple[int, int]) -> None:
    """No valid syndrome at an unprotected IPA."""
    out = stage.runs(realm[1], sync(DATA_ABORT << 26 | IL | 7, HALF + BLOCK))
    assert (out.exit_reason, out.esr & ISV, out.hpfar) == (ExitReason.SYNC, 0, (HALF + BLOCK) >> 8)
    assert stage.enter(realm[1], flags=EMULATE)[0] == REC


def test_exception_non_emulatable_da_1(stage: Stage, realm: tuple[int, int]) -> None:
    """A permission fault at an unprotected IPA that is mapped."""
    rd, rec = realm
    stage.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, stage.host_page() | 1 << 6)
    kind, out = stage.touched(rec, HALF, write=True)
    assert (kind, out.esr & 0x3F) == ("exit", 0x0F)


def test_exception_non_emulatable_da_2(stage: Stage, realm: tuple[int, int]) -> None:
    """A protected IPA without memory whose RIPAS is RAM."""
    kind, out = stage.touched(realm[1], MISSING)
    assert (kind, out.esr, out.far) == ("exit", DATA_ABORT << 26 | 7, 0)
    assert stage.enter(realm[1], flags=EMULATE)[0] == REC


def test_exception_non_emulatable_da_3(stage: Stage, realm: tuple[int, int]) -> None:
    """A protected IPA whose content was lost."""
    kind, out = stage.touched(realm[1], LOST)
    assert (kind, out.hpfar) == ("exit", LOST >> 8)
    assert stage.enter(realm[1], flags=EMULATE)[0] == REC


def test_exception_entry_gpf(stage: Stage, realm: tuple[int, int]) -> None:
    taken = stage.host_page(RecEnter().encode())
    stage.take_away(taken)
    assert stage.call(Rmi.REC_ENTER, realm[1], taken)[0] == INPUT

    class Thief:
        """While the Realm runs, its run page goes to another world."""

        def next_event(self, rec: object) -> Exception_:
            stage.take_away(run)
            return Exception_(ExceptionKind.FIQ)

    run = stage.host_page(RecEnter().encode())
    stage.rmm.guest = Thief()  # type: ignore[assignment]  # the port takes any view
    assert stage.call(Rmi.REC_ENTER, realm[1], run)[0] == INPUT
    assert stage.hardware.memory.page(run)[RUN_EXIT_OFFSET:] == bytes(PAGE - RUN_EXIT_OFFSET)


def test_exception_trapped_write(stage: Stage, realm: tuple[int, int]) -> None:
    sgi = MSR << 26 | IL | 3 << 20 | 5 << 17 | 12 << 10 | 3 << 5 | 11 << 1
    out = stage.runs(realm[1], SetRegister(3, 0xABCD), sync(sgi))
    assert (out.exit_reason, out.esr >> 26, out.gprs[0]) == (ExitReason.SYNC, MSR, 0xABCD)
    stage.runs(realm[1])
    assert stage.guest.pcs[0] == 4


# -- GIC, timers, PMU -------------------------------------------------------------------------------------------------


def test_gic_ctrl_list_invalid(stage: Stage, realm: tuple[int, int]) -> None:
    for state in (PENDING, ACTIVE, PENDING | ACTIVE):
        assert stage.enter(realm[1], gicv3_lrs=(state | HW | 27,))[0] == REC
        assert stage.enter(realm[1], gicv3_lrs=(state | 27,))[0] == SUCCESS


def test_gic_hcr_invalid(stage: Stage, realm: tuple[int, int]) -> None:
    for bit in (0, *range(8, 14), *range(15, 32)):
        assert stage.enter(realm[1], gicv3_hcr=1 << bit)[0] == REC


def test_gic_ctrl_list(stage: Stage, realm: tuple[int, int]) -> None:
    for vintid in (7, 27, 40):
        out = stage.runs(realm[1], SetListRegister(0, ACTIVE | vintid), gicv3_lrs=(PENDING | vintid,))
        assert out.gicv3_lrs[0] == ACTIVE | vintid
        out = stage.runs(realm[1], SetListRegister(0, vintid), gicv3_lrs=(ACTIVE | vintid,))
        assert out.gicv3_lrs[0] == vintid
        assert stage.runs(realm[1], gicv3_lrs=(vintid,)).gicv3_lrs[0] == vintid


def test_gic_ctrl_hcr(stage: Stage, realm: tuple[int, int]) -> None:
    for bit, misr in ((1, 2), (2, 4), (3, 8), (14, 0)):
        deeds = [
            SetSystemRegister(SystemRegister.ICH_MISR, misr),
            SetSystemRegister(SystemRegister.ICH_HCR_EOICOUNT, 1),
        ]
        out = stage.runs(realm[1], *deeds, gicv3_hcr=1 << bit)
        assert (out.gicv3_hcr, out.gicv3_misr) == (1 << 27 | 1 << bit, misr)
        assert not out.gicv3_hcr & 1


def test_gic_obsv_vmcr(stage: Stage, realm: tuple[int, int]) -> None:
    seen = 0xF8 << 24 | 3 << 21 | 2 << 18 | 1 << 9 | 3
    assert stage.runs(realm[1], SetSystemRegister(SystemRegister.ICH_VMCR, seen)).gicv3_vmcr == seen


@pytest.mark.parametrize("timer", ["cntp", "cntv"])
def test_gic_timer_rel1_trig(stage: Stage, realm: tuple[int, int], timer: str) -> None:
    out = stage.runs(
        realm[1],
        SetSystemRegister(SystemRegister(f"{timer}_cval"), 12345),
        SetSystemRegister(SystemRegister(f"{timer}_ctl"), 0b101),
        SetRegister(0, 1),
    )
    assert out.exit_reason == ExitReason.IRQ
    assert (getattr(out, f"{timer}_ctl"), getattr(out, f"{timer}_cval")) == (0b101, 12345)


def test_gic_timer_nsel2_trig(stage: Stage, realm: tuple[int, int]) -> None:
    assert stage.runs(realm[1], Exception_(ExceptionKind.IRQ)).exit_reason == ExitReason.IRQ


def test_pmu_overflow(stage: Stage) -> None:
    _, (rec,) = stage.realm_of_pages(flags=4, pmu_num_ctrs=4)
    overflow = SetSystemRegister(SystemRegister.PMU_OVERFLOW, 1)
    out = stage.runs(rec, overflow, Exception_(ExceptionKind.IRQ))
    assert (out.exit_reason, out.pmu_ovf_status) == (ExitReason.IRQ, 1)
    out = stage.runs(rec, SetSystemRegister(SystemRegister.PMU_OVERFLOW, 0), gicv3_lrs=(PENDING | 23,))
    assert (out.pmu_ovf_status, out.gicv3_misr) == (0, 0)


# -- memory -----------------------------------------------------------------------------------------------------------


def test_mm_gpf_exception(stage: Stage, realm: tuple[int, int]) -> None:
    data = stage.entry(realm[0], MAPPED)[2]
    with pytest.raises(GranuleProtectionFault):
        stage.hardware.memory.read(World.NS, data, 8)


def test_mm_hipas_assigned_ripas_empty_da_ia(stage: Stage, realm: tuple[int, int]) -> None:
    rd, rec = realm
    stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, stage.delegated(), EMPTY)
    assert stage.touched(rec, EMPTY)[0] == "SEA"
    assert stage.touched(rec, EMPTY, instruction=True)[0] == "SEA"


def test_mm_hipas_unassigned_ripas_empty_da_ia(stage: Stage, realm: tuple[int, int]) -> None:
    assert stage.touched(realm[1], EMPTY)[0] == "SEA"
    assert stage.touched(realm[1], EMPTY, instruction=True)[0] == "SEA"


def test_mm_hipas_unassigned_ripas_ram_da_ia(stage: Stage, realm: tuple[int, int]) -> None:
    assert stage.touched(realm[1], MISSING)[0] == "exit"
    assert stage.touched(realm[1], MISSING, instruction=True)[0] == "exit"


def test_mm_hipas_unassigned_ns_da_ia(stage: Stage, realm: tuple[int, int]) -> None:
    rd, rec = realm
    stage.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, stage.host_page() | 3 << 6)
    assert stage.touched(rec, HALF)[0] == "works"
    stage.ok(Rmi.RTT_UNMAP_UNPROTECTED, rd, HALF, 3)
    assert stage.touched(rec, HALF)[0] == "exit"
    assert stage.touched(rec, HALF, instruction=True)[0] == "SEA"


@pytest.mark.parametrize("backed", [False, True])
def test_mm_ripas_destroyed_da(stage: Stage, realm: tuple[int, int], backed: bool) -> None:
    rd, rec = realm
    if backed:
        stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, stage.delegated(), LOST)
    kind, out = stage.touched(rec, LOST)
    assert (kind, out.esr >> 26) == ("exit", DATA_ABORT)


@pytest.mark.parametrize("backed", [False, True])
def test_mm_ripas_destroyed_ia(stage: Stage, realm: tuple[int, int], backed: bool) -> None:
    rd, rec = realm
    if backed:
        stage.ok(Rmi.DATA_CREATE_UNKNOWN, rd, stage.delegated(), LOST)
    kind, out = stage.touched(rec, LOST, instruction=True)
    assert (kind, out.esr >> 26) == ("exit", INSTRUCTION_ABORT)


def test_mm_realm_access_outside_ipa(stage: Stage, realm: tuple[int, int]) -> None:
    assert stage.runs(realm[1], Access(ipa=1 << 40, register=1)).exit_reason == ExitReason.FIQ
    assert stage.guest.view is not None
    esr = stage.guest.view.system_register(SystemRegister.ESR_EL1)
    assert (esr >> 26, stage.guest.pcs[-1]) == (0x25, 0x200)


def _at_the_boundary(stage: Stage, protected: bool) -> RecExit:
    """A Realm reads the last protected and the first unprotected page, one of which is mapped."""
    rd = stage.realm()
    last = HALF - PAGE
    stage.tables(rd, last)
    stage.tables(rd, HALF)
    stage.ok(Rmi.RTT_INIT_RIPAS, rd, last, HALF)
    if protected:
        stage.data(rd, last)
    else:
        stage.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, stage.host_page() | 3 << 6)
    rec = stage.rec(rd)
    stage.ok(Rmi.REALM_ACTIVATE, rd)
    return stage.runs(rec, Access(ipa=HALF - 8, register=1), Access(ipa=HALF, register=2))


def test_mm_protected_ipa_boundary(stage: Stage) -> None:
    out = _at_the_boundary(stage, protected=False)
    assert (out.exit_reason, out.esr & ISV, out.hpfar) == (ExitReason.SYNC, 0, (HALF - PAGE) >> 8)


def test_mm_unprotected_ipa_boundary(stage: Stage) -> None:
    out = _at_the_boundary(stage, protected=True)
    assert (out.exit_reason, out.esr & ISV, out.hpfar) == (ExitReason.SYNC, ISV, HALF >> 8)
