"""Exit classification, injected aborts, emulated MMIO, GIC, timers and PMU (DEN0137 1.0-rel0, sections A4.3, A6)."""

from __future__ import annotations

import pytest
from spec_door import PAGE, REC, SUCCESS, Door

from cca_machine.abi.guest import (
    Access,
    Exception_,
    ExceptionKind,
    GuestEvent,
    Poke,
    SetListRegister,
    SetRegister,
    SetSystemRegister,
    SystemRegister,
    Yield,
)
from cca_machine.abi.rmi import ExitReason, RecExit, Rmi
from cca_machine.hardware.gpt import World
from cca_machine.rmm.features import GicFeatures, RmmFeatures

HALF = 1 << 39
DABT, IABT = 0x24 << 26, 0x20 << 26
IL, ISV, SF, WNR = 1 << 25, 1 << 24, 1 << 15, 1 << 6
MAPPED, EMPTY, MISSING = 0x1000, 0x2000, 0x3000
FAR = 0xFFFF_8000_0000_0123


def machine(**fields: int) -> tuple[Door, int, int]:
    door = Door()
    rd = door.realm(**fields)
    door.tables(rd, 0)
    door.tables(rd, HALF)
    door.data(rd, MAPPED, b"0123456789abcdef")
    door.ok(Rmi.RTT_INIT_RIPAS, rd, MISSING, MISSING + PAGE)
    rec = door.rec(rd)
    door.ok(Rmi.REALM_ACTIVATE, rd)
    return door, rd, rec


def sync(esr: int, ipa: int = 0, far: int = FAR) -> Exception_:
    return Exception_(ExceptionKind.SYNC, esr, far, ipa >> 8)


def test_an_abort_at_protected_memory_without_a_page_hides_everything_but_the_fault() -> None:
    door, _, rec = machine()
    door.guest.events = []
    _, out = door.enter(rec, [SetRegister(5, 77), sync(DABT | IL | ISV | 3 << 22 | 5 << 16 | SF | WNR | 7, MISSING)])
    assert out == RecExit(exit_reason=ExitReason.SYNC, esr=DABT | 7, hpfar=MISSING >> 8)
    assert door.enter(rec, flags=1)[0] == REC


@pytest.mark.parametrize(("size", "visible"), [(0, 0xEF), (1, 0xCDEF), (2, 0x89AB_CDEF), (3, 0x0123_4567_89AB_CDEF)])
def test_an_emulatable_store_shows_the_value_cut_to_its_size(size: int, visible: int) -> None:
    door, _, rec = machine()
    esr = DABT | IL | ISV | size << 22 | 5 << 16 | SF | WNR | 7
    _, out = door.enter(rec, [SetRegister(5, 0x0123_4567_89AB_CDEF), sync(esr, HALF + 0x5000)])
    assert out.esr == DABT | ISV | size << 22 | SF | WNR | 7
    assert (out.far, out.hpfar, out.gprs[0], sum(out.gprs[1:])) == (0x123, (HALF + 0x5000) >> 8, visible, 0)
    door.enter(rec, flags=1)
    assert door.guest.pcs[0] == 4


@pytest.mark.parametrize(
    ("size", "sign", "sixty_four", "given", "loaded"),
    [
        (0, 0, 0, 0x1_80, 0x80),
        (0, 1, 0, 0x80, 0xFFFF_FF80),
        (0, 1, 1, 0x80, 0xFFFF_FFFF_FFFF_FF80),
        (1, 1, 1, 0x7FFF, 0x7FFF),
        (2, 0, 0, 0xF_FFFF_FFFF, 0xFFFF_FFFF),
        (3, 0, 1, 0x8000_0000_0000_0001, 0x8000_0000_0000_0001),
    ],
)
def test_an_emulated_load_is_cut_and_extended(size: int, sign: int, sixty_four: int, given: int, loaded: int) -> None:
    door, _, rec = machine()
    esr = DABT | IL | ISV | size << 22 | sign << 21 | 6 << 16 | sixty_four << 15 | 5
    _, out = door.enter(rec, [sync(esr, HALF)])
    assert out.gprs[0] == 0
    assert not out.esr & (1 << 21 | 0x1F << 16)
    door.enter(rec, flags=1, gprs=(given,))
    assert (door.guest.gprs[0][6], door.guest.pcs[0]) == (loaded, 4)


def test_without_emulation_the_instruction_is_tried_again() -> None:
    door, _, rec = machine()
    door.enter(rec, [sync(DABT | IL | ISV | 3 << 22 | 6 << 16 | SF | 5, HALF)])
    door.enter(rec, gprs=(9,))
    assert (door.guest.gprs[0][6], door.guest.pcs[0]) == (0, 0)
    assert door.enter(rec, flags=1)[0] == REC


def test_a_load_to_xzr_is_dropped() -> None:
    door, _, rec = machine()
    door.enter(rec, [sync(DABT | IL | ISV | 3 << 22 | 31 << 16 | SF | 5, HALF)])
    door.enter(rec, flags=1, gprs=(9,))
    assert (sum(door.guest.gprs[0]), door.guest.pcs[0]) == (0, 4)


def test_an_unprotected_abort_without_syndrome_cannot_be_emulated_but_can_be_injected() -> None:
    door, _, rec = machine()
    esr = DABT | IL | 5 << 16 | WNR | 7
    _, out = door.enter(rec, [sync(esr, HALF)])
    assert out == RecExit(exit_reason=ExitReason.SYNC, esr=DABT | IL | 7, hpfar=HALF >> 8)
    assert door.enter(rec, flags=1)[0] == REC
    assert door.enter(rec, flags=2)[0] == SUCCESS
    view = door.guest.view
    assert view is not None
    assert view.system_register(SystemRegister.ESR_EL1) == 0x25 << 26 | IL | 5 << 16 | WNR | 1 << 9 | 0x10
    assert (view.system_register(SystemRegister.FAR_EL1), view.system_register(SystemRegister.ELR_EL1)) == (FAR, 0)
    assert door.guest.pcs[0] == 0x200


def test_injection_wins_over_emulation() -> None:
    door, _, rec = machine()
    door.enter(rec, [sync(DABT | IL | ISV | 3 << 22 | 6 << 16 | SF | 5, HALF)])
    door.enter(rec, flags=3, gprs=(9,))
    assert (door.guest.gprs[0][6], door.guest.pcs[0]) == (0, 0x200)


@pytest.mark.parametrize(
    ("event", "esr_el1"),
    [
        (sync(DABT | IL | ISV | 7, EMPTY), 0x25 << 26 | IL | ISV | 1 << 9 | 0x10),
        (sync(IABT | IL | 7, EMPTY), 0x21 << 26 | IL | 1 << 9 | 0x10),
        (sync(IABT | IL | 7, HALF), 0x21 << 26 | IL | 1 << 9 | 0x10),
        (sync(DABT | IL | 4, 1 << 40), 0x25 << 26 | IL | 1 << 9 | 0x10),
        (sync(0x16 << 26 | IL | 5), IL),
        (sync(0x19 << 26 | IL), IL),
    ],
    ids=["data-empty", "fetch-empty", "fetch-unprotected", "beyond-ipa-space", "hvc", "sve"],
)
def test_what_only_the_realm_may_see_is_taken_inside_it(event: GuestEvent, esr_el1: int) -> None:
    door, _, rec = machine()
    x0, out = door.enter(rec, [SetSystemRegister(SystemRegister.VBAR_EL1, 0x10_0000), event])
    assert (x0, out) == (SUCCESS, RecExit(exit_reason=ExitReason.FIQ))
    assert door.guest.view is not None
    assert door.guest.view.system_register(SystemRegister.ESR_EL1) == esr_el1
    assert door.guest.pcs[-1] == 0x10_0200


def test_a_fetch_from_protected_memory_without_a_page_exits() -> None:
    door, _, rec = machine()
    _, out = door.enter(rec, [sync(IABT | IL | 1 << 10 | 7, MISSING)])
    assert out == RecExit(exit_reason=ExitReason.SYNC, esr=IABT | 7, hpfar=MISSING >> 8)


@pytest.mark.parametrize(("iss", "seen"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_trapped_waits_show_ti_and_the_timeout_and_step_over(iss: int, seen: int) -> None:
    door, _, rec = machine()
    _, out = door.enter(rec, [SetRegister(7, 1234), sync(1 << 26 | IL | 7 << 5 | 1 << 2 | iss)])
    assert (out.exit_reason, out.esr, out.gprs[0]) == (ExitReason.SYNC, 1 << 26 | seen, 1234 if iss & 2 else 0)
    assert door.rmm.state.recs[rec].pc == 4


def test_traps_follow_the_flags_of_each_entry() -> None:
    door, _, rec = machine()
    door.enter(rec, flags=4)
    assert (door.rmm.state.recs[rec].trap_wfi, door.rmm.state.recs[rec].trap_wfe) == (True, False)
    door.enter(rec, flags=8)
    assert (door.rmm.state.recs[rec].trap_wfi, door.rmm.state.recs[rec].trap_wfe) == (False, True)


def sysreg(op0: int, op1: int, crn: int, crm: int, op2: int, rt: int, read: bool) -> int:
    return 0x18 << 26 | IL | op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | int(read)


def test_a_sent_sgi_is_forwarded_to_the_host() -> None:
    door, _, rec = machine()
    _, out = door.enter(rec, [SetRegister(3, 0xABCD), sync(sysreg(3, 0, 12, 11, 5, 3, False))])
    assert (out.exit_reason, out.esr >> 26, out.gprs[0]) == (ExitReason.SYNC, 0x18, 0xABCD)
    assert door.rmm.state.recs[rec].pc == 4


def test_an_unknown_system_register_reads_zero_and_ignores_writes() -> None:
    door, _, rec = machine()
    door.enter(rec, [SetRegister(3, 9), sync(sysreg(3, 0, 0, 4, 0, 3, True)), sync(sysreg(3, 0, 0, 4, 0, 3, False))])
    assert (door.guest.gprs[-1][3], door.guest.pcs[-1]) == (0, 8)


def test_irq_fiq_and_serror_say_only_that() -> None:
    door, _, rec = machine()
    assert door.enter(rec, [Exception_(ExceptionKind.IRQ, 5, 6, 7)])[1] == RecExit(exit_reason=ExitReason.IRQ)
    assert door.enter(rec, [Yield()])[1] == RecExit(exit_reason=ExitReason.FIQ)
    serror = 0x2F << 26 | IL | 0b010 << 10 | 0x11
    assert door.enter(rec, [Exception_(ExceptionKind.SERROR, serror | 1 << 7)])[1] == RecExit(
        exit_reason=ExitReason.SERROR, esr=0x2F << 26 | 0b010 << 10 | 0x11
    )


def test_an_unknown_exception_class_exits_with_a_zero_syndrome() -> None:
    door, _, rec = machine()
    assert door.enter(rec, [sync(0x0E << 26)])[1] == RecExit(exit_reason=ExitReason.SYNC)


LR_PENDING = 1 << 62


@pytest.mark.parametrize(
    ("hcr", "lrs", "accepted"),
    [
        (0b1111_1110 | 1 << 14, (), True),
        (1, (), False),
        (1 << 8, (), False),
        (0, (LR_PENDING | 27,), True),
        (0, (27, 27), True),
        (0, (LR_PENDING | 1019, LR_PENDING | 8192, LR_PENDING | 0xFFFF, LR_PENDING), True),
        (0, (LR_PENDING | 1020,), False),
        (0, (LR_PENDING | 8191,), False),
        (0, (LR_PENDING | 0x1_0000,), False),
        (0, (LR_PENDING | 1056,), False),
        (0, (LR_PENDING | 4096,), False),
        (0, (LR_PENDING | 27, LR_PENDING | 27), False),
        (0, (LR_PENDING | 1 << 61 | 27,), False),
        (0, (1 << 61 | 27,), True),
        (0, (LR_PENDING | 1 << 41 | 27,), True),
        (0, (LR_PENDING | 1 << 40 | 27,), False),
        (0, (LR_PENDING | 0x07 << 48 | 27,), False),
        (0, (LR_PENDING | 0xF8 << 48 | 27,), True),
        (0, (0, 0, 0, 0, LR_PENDING | 1 << 61 | 27), True),
    ],
)
def test_gic_fields_are_checked_for_the_implemented_list_registers(
    hcr: int, lrs: tuple[int, ...], accepted: bool
) -> None:
    door, _, rec = machine()
    before = door.rmm.digest()
    x0, _ = door.enter(rec, gicv3_hcr=hcr, gicv3_lrs=lrs)
    assert x0 == (SUCCESS if accepted else REC)
    assert accepted or door.rmm.digest() == before


@pytest.mark.parametrize("vintid", [1056, 1119, 4096, 5119])
def test_extended_interrupts_need_the_extended_ranges(vintid: int) -> None:
    features = RmmFeatures(num_bps=3, num_wps=3, gic=GicFeatures(extended_ranges=True))
    door = Door(features=features)
    _, (rec,) = door.running_realm()
    assert door.enter(rec, gicv3_lrs=(LR_PENDING | vintid,))[0] == SUCCESS


def test_list_registers_come_back_as_the_virtual_gic_left_them() -> None:
    door, _, rec = machine()
    events = [
        SetListRegister(0, 3 << 62 | 27),
        SetSystemRegister(SystemRegister.ICH_VMCR, 0x42),
        SetSystemRegister(SystemRegister.ICH_MISR, 1),
        SetSystemRegister(SystemRegister.ICH_HCR_EOICOUNT, 2),
    ]
    _, out = door.enter(rec, events, gicv3_hcr=0b10, gicv3_lrs=(LR_PENDING | 27, LR_PENDING | 30))
    assert out.gicv3_lrs[:3] == (3 << 62 | 27, LR_PENDING | 30, 0)
    assert (out.gicv3_vmcr, out.gicv3_misr, out.gicv3_hcr) == (0x42, 1, 2 << 27 | 0b10)


def test_a_timer_that_fires_exits_once_and_is_then_known_to_the_host() -> None:
    door, _, rec = machine()
    fire = [
        SetSystemRegister(SystemRegister.CNTV_CVAL, 500),
        SetSystemRegister(SystemRegister.CNTV_CTL, 0b101),
        SetRegister(1, 1),
    ]
    _, out = door.enter(rec, fire)
    assert (out.exit_reason, out.cntv_ctl, out.cntv_cval, out.cntp_ctl) == (ExitReason.IRQ, 0b101, 500, 0)
    assert door.enter(rec)[1].exit_reason == ExitReason.FIQ
    _, out = door.enter(rec, [SetSystemRegister(SystemRegister.CNTV_CTL, 0b111)])
    assert (out.exit_reason, out.cntv_ctl) == (ExitReason.IRQ, 0b111)
    assert door.enter(rec)[1].exit_reason == ExitReason.FIQ


@pytest.mark.parametrize("pmu", [False, True])
def test_pmu_overflow_shows_only_for_a_realm_with_a_pmu(pmu: bool) -> None:
    fields = {"flags": 4, "pmu_num_ctrs": 2} if pmu else {}
    door, _, rec = machine(**fields)
    _, out = door.enter(rec, [SetSystemRegister(SystemRegister.PMU_OVERFLOW, 1)])
    assert out.pmu_ovf_status == int(pmu)


def test_loads_and_stores_of_the_realm_go_through_stage_2() -> None:
    door, _, rec = machine()
    door.enter(rec, [Access(ipa=MAPPED + 4, size=2, register=1), Access(ipa=MAPPED, write=True, size=1, register=2)])
    assert door.guest.gprs[-1][1] == int.from_bytes(b"45", "little")
    assert door.guest.view is not None
    assert door.guest.view.read(MAPPED, 3) == b"\x0012"
    _, out = door.enter(rec, [Access(ipa=MISSING + 8, write=True, register=3)])
    assert (out.esr, out.hpfar) == (DABT | 7, MISSING >> 8)
    _, out = door.enter(rec, [SetRegister(3, 5), Access(ipa=HALF + 0x5008, write=True, size=4, register=3)])
    assert (out.esr & ISV, out.far, out.hpfar, out.gprs[0]) == (ISV, 8, (HALF + 0x5000) >> 8, 5)


def test_shared_memory_is_the_hosts_memory_and_obeys_s2ap() -> None:
    door, rd, rec = machine()
    page = door.host_page(b"hello")
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, page | 0b01 << 6)
    door.enter(rec, [Access(ipa=HALF, size=1, register=4)])
    assert door.guest.gprs[-1][4] == ord("h")
    _, out = door.enter(rec, [Access(ipa=HALF, write=True, size=1, register=4)])
    assert out.esr & 0x3F == 0x0F
    door.ok(Rmi.RTT_UNMAP_UNPROTECTED, rd, HALF, 3)
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, page | 0b11 << 6)
    door.enter(rec, [Poke(HALF, b"J")])
    assert door.hardware.memory.read(World.NS, page, 5) == b"Jello"


@pytest.mark.parametrize("event", [Access(ipa=HALF, register=1), Poke(HALF, b"x")])
def test_shared_memory_that_left_the_normal_world_faults_inside_the_realm(event: GuestEvent) -> None:
    door, rd, rec = machine()
    page = door.host_page()
    door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, HALF, 3, page | 0b11 << 6)
    door.ok(Rmi.GRANULE_DELEGATE, page)
    x0, out = door.enter(rec, [event])
    assert (x0, out.exit_reason, door.guest.pcs[-1]) == (SUCCESS, ExitReason.FIQ, 0x200)


def test_an_access_beyond_the_ipa_space_is_an_address_size_fault_of_the_realm() -> None:
    door, _, rec = machine()
    door.enter(rec, [Access(ipa=1 << 40, register=1)])
    assert door.guest.view is not None
    assert door.guest.view.system_register(SystemRegister.ESR_EL1) & (0x3F << 26 | 1 << 9 | 0x3F) == 0x25 << 26
