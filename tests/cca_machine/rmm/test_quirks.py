"""Where text and firmware diverge: each quirk gives the other answer, and the default the suggested one."""

from __future__ import annotations

import struct

import msgspec
import pytest
from spec_door import INPUT, PAGE, REC, SUCCESS, Door, rtt

from cca_machine.abi.guest import Exception_, ExceptionKind, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Ripas, Rmi
from cca_machine.abi.rsi import HostCall, Rsi
from cca_machine.hardware.gpt import World
from cca_machine.rmm.quirks import QUIRK_SETS, SUGGESTED, TEXT, TF_RMM, QuirkSet
from cca_machine.rmm.versions import negotiate

UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
HALF = 1 << 39


def only(**flags: bool) -> QuirkSet:
    return QuirkSet(name="one", **flags)


def test_named_sets_are_found_by_name_and_the_default_has_no_quirk() -> None:
    assert {name: quirks.name for name, quirks in QUIRK_SETS.items()} == {n: n for n in ("suggested", "text", "tf-rmm")}
    assert not any(value is True for value in msgspec.structs.asdict(SUGGESTED).values())


@pytest.mark.parametrize(("quirks", "aligned"), [(SUGGESTED, False), (only(rtt_base_page_aligned=True), True)])
def test_d3_alignment_of_concatenated_roots(quirks: QuirkSet, aligned: bool) -> None:
    door = Door(quirks)
    base = door.delegated(4, 4 * PAGE) + PAGE
    page = door.host_page(door.realm_params(rtt_base=base).encode())
    assert door.call(Rmi.REALM_CREATE, door.delegated(), page)[0] == (SUCCESS if aligned else INPUT)


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, REC), (TEXT, SUCCESS), (TF_RMM, REC)])
def test_d4_injection_with_nothing_to_inject(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    assert door.enter(rec, flags=2)[0] == x0
    assert x0 == REC or door.guest.pcs[0] == 0


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, INPUT), (TEXT, rtt(3)), (TF_RMM, INPUT)])
def test_d5_unaligned_base_of_init_ripas(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    rd = door.realm()
    door.tables(rd, 0)
    assert door.call(Rmi.RTT_INIT_RIPAS, rd, 0x800, 2 * PAGE)[0] == x0


@pytest.mark.parametrize(("quirks", "completed"), [(SUGGESTED, False), (TEXT, False), (TF_RMM, True)])
def test_d6_denial_of_a_target_that_is_on(quirks: QuirkSet, completed: bool) -> None:
    door = Door(quirks)
    _, (caller, target) = door.running_realm(recs=2)
    door.enter(caller, [Smc((Psci.CPU_ON, 1, 0, 0))])
    assert door.call(Rmi.PSCI_COMPLETE, caller, target, -3 & UNKNOWN)[0] == INPUT
    assert door.enter(caller)[0] == (SUCCESS if completed else REC)
    assert not completed or door.guest.gprs[0][0] == -4 & UNKNOWN


@pytest.mark.parametrize(("quirks", "level"), [(SUGGESTED, 1), (TEXT, 1), (TF_RMM, 0)])
def test_d7_a_full_level_1_table(quirks: QuirkSet, level: int) -> None:
    door = Door(quirks)
    rd = door.realm(s2sz=48, rtt_level_start=0, rtt_num_start=1)
    half = 1 << 47
    door.ok(Rmi.RTT_CREATE, rd, door.delegated(), half, 1)
    for index in range(512):
        door.ok(Rmi.RTT_MAP_UNPROTECTED, rd, half + (index << 30), 1, index << 30)
    assert door.call(Rmi.RTT_FOLD, rd, half, 1)[0] == rtt(level)


@pytest.mark.parametrize(("quirks", "top"), [(SUGGESTED, PAGE), (TEXT, 3 * PAGE), (TF_RMM, PAGE)])
def test_d8_init_ripas_meets_a_mapped_page(quirks: QuirkSet, top: int) -> None:
    door = Door(quirks)
    rd = door.realm()
    door.tables(rd, 0)
    door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, door.delegated(), PAGE)
    assert door.ok(Rmi.RTT_INIT_RIPAS, rd, 0, 3 * PAGE)[1] == top


@pytest.mark.parametrize(("quirks", "answer"), [(SUGGESTED, -4), (TEXT, -2), (TF_RMM, -4)])
def test_d10_aff3_of_a_psci_target(quirks: QuirkSet, answer: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    x = door.rsi(rec, Psci.CPU_ON, 1 << 24, 0, 0)
    assert x[0] == answer & UNKNOWN


@pytest.mark.parametrize(("quirks", "shown"), [(SUGGESTED, True), (only(destroyed_address_hidden=True), False)])
def test_d11_address_of_a_destroyed_page(quirks: QuirkSet, shown: bool) -> None:
    door = Door(quirks)
    rd = door.realm()
    door.tables(rd, 0)
    door.data(rd, 0)
    door.ok(Rmi.DATA_DESTROY, rd, 0)
    pa = door.delegated()
    door.ok(Rmi.DATA_CREATE_UNKNOWN, rd, pa, 0)
    assert door.ok(Rmi.RTT_READ_ENTRY, rd, 0, 3)[2:5] == (1, pa if shown else 0, Ripas.DESTROYED)


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, rtt(3)), (TEXT, rtt(3)), (TF_RMM, SUCCESS)])
def test_d13_a_request_for_empty_meets_a_destroyed_page(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    rd, (rec,) = door.running_realm()
    door.ok(Rmi.DATA_DESTROY, rd, PAGE)
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, PAGE, 2 * PAGE, Ripas.EMPTY, 0))])
    assert door.call(Rmi.RTT_SET_RIPAS, rd, rec, PAGE, 2 * PAGE)[0] == x0


def test_d14_the_lower_version_offered() -> None:
    supported = (0x1_0000, 0x1_0001, 0x2_0000)
    assert negotiate(0x1_0005, supported) == (False, 0x1_0001, 0x2_0000)
    assert negotiate(0x1_0005, supported, True) == (False, 0x2_0000, 0x2_0000)
    assert negotiate(0x0_0009, supported) == (False, 0x2_0000, 0x2_0000)


@pytest.mark.parametrize(("quirks", "kept"), [(SUGGESTED, 0), (TEXT, 0), (TF_RMM, 0xEE)])
def test_d15_unused_bytes_of_the_realm_configuration(quirks: QuirkSet, kept: int) -> None:
    door = Door(quirks)
    _rd, (rec,) = door.running_realm()
    door.enter(rec)
    assert door.guest.view is not None
    door.guest.view.write(PAGE, b"\xee" * PAGE)
    door.rsi(rec, Rsi.REALM_CONFIG, PAGE)
    page = door.guest.view.read(PAGE, PAGE)
    assert (page[9], page[0x1C], page[0x1FF], page[0x240]) == (kept,) * 4
    assert page[0x10:0x1C] == bytes(12) if kept == 0 else page[0x10:0x18] == bytes(8)


@pytest.mark.parametrize(("quirks", "esr", "timeout"), [(SUGGESTED, 3, 99), (TEXT, 3, 99), (TF_RMM, 1, 0)])
def test_d16_exits_by_a_wait_with_timeout(quirks: QuirkSet, esr: int, timeout: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    door.enter(rec, [Smc((0x1234, 0, 0, 0, 99))])
    wait = Exception_(ExceptionKind.SYNC, 1 << 26 | 1 << 25 | 4 << 5 | 1 << 2 | 3)
    _, out = door.enter(rec, [wait])
    assert (out.esr, out.gprs[0]) == (1 << 26 | esr, timeout)


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, rtt(2)), (TEXT, SUCCESS), (TF_RMM, rtt(2))])
def test_d17_a_base_inside_a_block_that_already_has_the_ripas(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    rd, (rec,) = door.running_realm()
    base = (1 << 21) + PAGE
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, base, 1 << 23, Ripas.EMPTY, 0))])
    assert door.call(Rmi.RTT_SET_RIPAS, rd, rec, base, 1 << 23)[0] == x0


@pytest.mark.parametrize(("quirks", "answer"), [(SUGGESTED, 0), (TEXT, 0), (TF_RMM, UNKNOWN)])
def test_d20_whether_psci_version_is_a_listed_feature(quirks: QuirkSet, answer: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    assert door.rsi(rec, Psci.FEATURES, int(Psci.VERSION))[0] == answer


def test_f1_a_command_of_the_next_version_is_decoded_by_the_firmware() -> None:
    door, firmware = Door(), Door(TF_RMM)
    assert door.call(0xC400_0163, 0, 0, 0, 0, 0, 0)[0] == UNKNOWN
    assert firmware.call(0xC400_0163, 0, 0, 0, 0, 0, 0)[0] == INPUT
    rd, (rec,) = firmware.running_realm()
    assert firmware.call(0xC400_0163, firmware.realm(), rec, 0, 0, 0, PAGE)[0] == REC
    assert firmware.call(0xC400_0163, rd, rec, 0, 0, 0, PAGE)[0] == INPUT


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, INPUT), (TF_RMM, SUCCESS)])
def test_f3_the_number_of_auxiliary_granules(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    page = door.host_page(door.rec_params(num_aux=16 + (1 << 32)).encode())
    assert door.call(Rmi.REC_CREATE, door.realm(), door.delegated(), page)[0] == x0


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, SUCCESS), (TEXT, SUCCESS), (TF_RMM, INPUT)])
@pytest.mark.parametrize(("offset", "value"), [(0, 8), (0x38, 1), (0x440, 1), (0x820, 2)])
def test_f4_later_parameters_in_a_page_of_1_0(quirks: QuirkSet, x0: int, offset: int, value: int) -> None:
    door = Door(quirks)
    page = bytearray(door.realm_params().encode())
    page[offset] |= value
    assert door.call(Rmi.REALM_CREATE, door.delegated(), door.host_page(bytes(page)))[0] == x0


def test_f8_and_f9_width_of_ripas_and_flags() -> None:
    for quirks, accepted, permitted in ((SUGGESTED, False, True), (TF_RMM, True, False)):
        door = Door(quirks)
        _, (rec,) = door.running_realm()
        door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0, PAGE, 1 << 32, 3))])
        assert (door.rmm.state.recs[rec].ripas is not None) == accepted
        door.enter(rec)
        door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0, PAGE, 1, 3))])
        request = door.rmm.state.recs[rec].ripas
        assert request is not None
        assert request.change_destroyed == permitted


@pytest.mark.parametrize(("quirks", "imm"), [(SUGGESTED, 0x2345), (TF_RMM, 0x1_2345)])
def test_f10_width_of_the_host_call_immediate(quirks: QuirkSet, imm: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    door.enter(rec)
    assert door.guest.view is not None
    door.guest.view.write(PAGE, struct.pack("<Q", 0x1_2345) + HostCall().encode()[8:])
    assert door.enter(rec, [Smc((Rsi.HOST_CALL, PAGE))])[1].imm == imm


@pytest.mark.parametrize(("quirks", "emulated"), [(SUGGESTED, False), (TF_RMM, True)])
def test_f11_an_unprotected_abort_without_a_valid_syndrome(quirks: QuirkSet, emulated: bool) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    esr = 0x24 << 26 | 1 << 25 | 3 << 22 | 31 << 16 | 1 << 6 | 5
    _, out = door.enter(rec, [Exception_(ExceptionKind.SYNC, esr, 0x123, HALF >> 8)])
    expected = (0x24 << 26 | 3 << 22 | 1 << 6 | 5, 0x123) if emulated else (0x24 << 26 | 1 << 25 | 5, 0)
    assert (out.esr, out.far) == expected
    assert door.enter(rec, flags=1)[0] == REC


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, 0), (TF_RMM, int(Rsi.HOST_CALL))])
def test_f13_a_host_call_whose_page_became_empty(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    rd, (rec, other) = door.running_realm(recs=2)
    door.enter(rec, [Smc((Rsi.HOST_CALL, PAGE))])
    door.enter(other, [Smc((Rsi.IPA_STATE_SET, PAGE, 2 * PAGE, Ripas.EMPTY, 0))])
    door.ok(Rmi.RTT_SET_RIPAS, rd, other, PAGE, 2 * PAGE)
    assert door.enter(rec)[0] == SUCCESS
    assert door.guest.gprs[0][0] == x0


@pytest.mark.parametrize(("quirks", "kept"), [(SUGGESTED, 0), (TEXT, 0), (TF_RMM, 55)])
def test_registers_of_a_rec_that_is_turned_on(quirks: QuirkSet, kept: int) -> None:
    door = Door(quirks)
    rd = door.realm()
    caller, target = door.rec(rd, 0), door.rec(rd, 1, flags=0, gprs=(1, 2, 3, 55))
    door.ok(Rmi.REALM_ACTIVATE, rd)
    door.enter(caller, [Smc((Psci.CPU_ON, 1, 0, 9))])
    door.ok(Rmi.PSCI_COMPLETE, caller, target, 0)
    door.enter(target)
    assert (door.guest.gprs[0][0], door.guest.gprs[0][3]) == (9, kept)


@pytest.mark.parametrize(("quirks", "x0"), [(SUGGESTED, INPUT), (TEXT, SUCCESS), (TF_RMM, INPUT)])
def test_reserved_bits_of_data_flags_and_mpidr(quirks: QuirkSet, x0: int) -> None:
    door = Door(quirks)
    rd = door.realm()
    door.tables(rd, 0)
    assert door.call(Rmi.DATA_CREATE, rd, door.delegated(), 0, door.host_page(), 3)[0] == x0
    page = door.host_page(door.rec_params(mpidr=1 << 40).encode())
    assert door.call(Rmi.REC_CREATE, rd, door.delegated(), page)[0] == x0


@pytest.mark.parametrize(("quirks", "answer"), [(SUGGESTED, 0x1_0001), (TF_RMM, UNKNOWN)])
def test_the_sve_hint_on_a_psci_call(quirks: QuirkSet, answer: int) -> None:
    door = Door(quirks)
    _, (rec,) = door.running_realm()
    assert door.rsi(rec, Psci.VERSION | 1 << 16)[0] == answer


def test_d2_emulation_after_a_protected_abort() -> None:
    abort = Exception_(ExceptionKind.SYNC, 0x24 << 26 | 1 << 24 | 3 << 22 | 7, 0, 0x3000 >> 8)
    for quirks, x0 in ((SUGGESTED, REC), (TF_RMM, REC), (only(mmio_any_isv=True), SUCCESS)):
        door = Door(quirks)
        rd = door.realm()
        door.tables(rd, 0)
        door.ok(Rmi.RTT_INIT_RIPAS, rd, 0x3000, 0x4000)
        rec = door.rec(rd)
        door.ok(Rmi.REALM_ACTIVATE, rd)
        door.enter(rec, [abort])
        assert door.enter(rec, flags=1)[0] == x0


def test_the_host_never_sees_its_own_page_through_ns_after_a_refusal() -> None:
    door = Door()
    pa = door.host_page(b"mine")
    assert door.call(Rmi.GRANULE_UNDELEGATE, pa)[0] == INPUT
    assert door.hardware.memory.read(World.NS, pa, 4) == b"mine"
