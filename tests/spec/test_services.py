"""RSI 1.0 and PSCI 1.1 as a Realm calls them: every failure condition, and the flows that cross the Host."""

from __future__ import annotations

import struct

import pytest
from spec_door import INPUT, PAGE, REALM_OFF, REC, SUCCESS, TOKEN_LENGTHS, Door

from cca_machine.abi.guest import Exception_, ExceptionKind, SetRegister, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import ExitReason, RecExit, Ripas, Rmi
from cca_machine.abi.rsi import HostCall, RealmConfig, Rsi
from cca_machine.hardware.gpt import World

ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF
HALF = 1 << 39
OK, ERROR_INPUT, ERROR_STATE, INCOMPLETE = 0, 1, 2, 3
MAPPED, EMPTY, MISSING, LOST = 0x1000, 0x2000, 0x3000, 0x4000


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def realm_with_all_kinds(door: Door, recs: int = 1, **fields: object) -> tuple[int, list[int]]:
    """A page of RAM, an EMPTY one, one of RAM without memory, and one whose content was lost."""
    rd = door.realm(**fields)
    door.tables(rd, 0)
    door.data(rd, MAPPED)
    door.ok(Rmi.RTT_INIT_RIPAS, rd, MISSING, MISSING + PAGE)
    door.data(rd, LOST)
    door.ok(Rmi.DATA_DESTROY, rd, LOST)
    made = [door.rec(rd, index) for index in range(recs)]
    door.ok(Rmi.REALM_ACTIVATE, rd)
    return rd, made


def write_realm(door: Door, rec: int, ipa: int, data: bytes) -> None:
    door.enter(rec)
    assert door.guest.view is not None
    door.guest.view.write(ipa, data)


def read_realm(door: Door, rec: int, ipa: int, size: int) -> bytes:
    door.enter(rec)
    assert door.guest.view is not None
    return door.guest.view.read(ipa, size)


BAD_ARGUMENTS = [
    ("MEASUREMENT_READ.index", (Rsi.MEASUREMENT_READ, 5)),
    ("MEASUREMENT_EXTEND.index_low", (Rsi.MEASUREMENT_EXTEND, 0, 0)),
    ("MEASUREMENT_EXTEND.index_high", (Rsi.MEASUREMENT_EXTEND, 5, 0)),
    ("MEASUREMENT_EXTEND.size", (Rsi.MEASUREMENT_EXTEND, 1, 65)),
    ("ATTESTATION_TOKEN_CONTINUE.addr_align", (Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED + 8, 0, 8)),
    ("ATTESTATION_TOKEN_CONTINUE.addr_bound", (Rsi.ATTESTATION_TOKEN_CONTINUE, HALF, 0, 8)),
    ("ATTESTATION_TOKEN_CONTINUE.offset", (Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 4096, 0)),
    ("ATTESTATION_TOKEN_CONTINUE.overflow", (Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 8, ALL_ONES - 7)),
    ("ATTESTATION_TOKEN_CONTINUE.size", (Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 8, 4089)),
    ("REALM_CONFIG.addr_align", (Rsi.REALM_CONFIG, MAPPED + 0x100)),
    ("REALM_CONFIG.addr_bound", (Rsi.REALM_CONFIG, HALF)),
    ("REALM_CONFIG.addr_empty", (Rsi.REALM_CONFIG, EMPTY)),
    ("IPA_STATE_GET.base_align", (Rsi.IPA_STATE_GET, 0x800, PAGE)),
    ("IPA_STATE_GET.end_align", (Rsi.IPA_STATE_GET, 0, 0x800)),
    ("IPA_STATE_GET.size_valid", (Rsi.IPA_STATE_GET, PAGE, PAGE)),
    ("IPA_STATE_GET.rgn_bound", (Rsi.IPA_STATE_GET, 0, HALF + PAGE)),
    ("IPA_STATE_GET.rgn_unprotected", (Rsi.IPA_STATE_GET, HALF, HALF + PAGE)),
    ("IPA_STATE_SET.base_align", (Rsi.IPA_STATE_SET, 0x800, PAGE, 0, 0)),
    ("IPA_STATE_SET.top_align", (Rsi.IPA_STATE_SET, 0, 0x800, 0, 0)),
    ("IPA_STATE_SET.size_valid", (Rsi.IPA_STATE_SET, PAGE, 0, 0, 0)),
    ("IPA_STATE_SET.rgn_bound", (Rsi.IPA_STATE_SET, 0, HALF + PAGE, 0, 0)),
    ("IPA_STATE_SET.rgn_wraps", (Rsi.IPA_STATE_SET, ALL_ONES & ~0xFFF, 0, 0, 0)),
    ("IPA_STATE_SET.ripas_valid", (Rsi.IPA_STATE_SET, 0, PAGE, 2, 0)),
    ("IPA_STATE_SET.ripas_wide", (Rsi.IPA_STATE_SET, 0, PAGE, 1 << 32, 0)),
    ("HOST_CALL.addr_align", (Rsi.HOST_CALL, MAPPED + 0x80)),
    ("HOST_CALL.addr_bound", (Rsi.HOST_CALL, HALF)),
    ("HOST_CALL.addr_empty", (Rsi.HOST_CALL, EMPTY)),
    ("VERSION.req", (Rsi.VERSION, 0x2_0000)),
]


@pytest.mark.parametrize(("name", "registers"), BAD_ARGUMENTS, ids=[name for name, _ in BAD_ARGUMENTS])
def test_a_bad_argument_of_rsi_returns_error_input_to_the_realm(name: str, registers: tuple[int, ...]) -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    measured = list(door.rmm.state.realms[rd].measurements)
    x = door.rsi(rec, *registers)
    assert x[0] == ERROR_INPUT
    assert door.rmm.state.realms[rd].measurements == measured
    assert door.guest.pcs[-1] == 4


@pytest.mark.parametrize("service", [Rsi.REALM_CONFIG, Rsi.HOST_CALL, Rsi.ATTESTATION_TOKEN_CONTINUE])
@pytest.mark.parametrize("ipa", [MISSING, LOST])
def test_a_buffer_that_the_host_must_bring_in_is_shown_as_an_abort_and_the_call_is_repeated(
    service: Rsi, ipa: int
) -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    x0, out = door.enter(rec, [Smc((service, ipa, 0, 64))])
    assert (x0, out.exit_reason) == (SUCCESS, ExitReason.SYNC)
    assert (out.esr, out.far, out.hpfar) == (0x24 << 26 | 0x04 + 3, 0, ipa >> 8)
    assert door.rmm.state.recs[rec].pc == 4
    assert door.call(Rmi.REC_ENTER, rec, door.host_page(struct.pack("<Q", 1)))[0] == REC


def test_unknown_calls_answer_minus_one_and_the_sve_hint_is_masked() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    for fid in (0xC400_019A, int(Rmi.VERSION), 0x8400_0005, 0x1234_5678, 0xC400_0150):
        assert door.rsi(rec, fid, 1)[0] == ALL_ONES
    assert door.rsi(rec, Rsi.FEATURES | 1 << 16, 0)[0] == OK
    assert door.rsi(rec, 0x8000_0000)[0] == 0x1_0002


def test_services_zero_x1_to_x3_and_keep_the_rest() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    x = door.rsi(rec, Rsi.FEATURES, 7, 7, 7, 7, 7)
    assert x[:6] == [OK, 0, 0, 0, 7, 7]


def test_measurement_read_gives_64_bytes_zero_padded() -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    x = door.rsi(rec, Rsi.MEASUREMENT_READ, 0)
    assert struct.pack("<8Q", *x[1:9]) == door.rmm.state.realms[rd].measurements[0]
    assert x[5:9] == [0, 0, 0, 0]


@pytest.mark.parametrize("hash_algo", [0, 1])
def test_realm_config_is_written_whole(hash_algo: int) -> None:
    door = Door()
    rpv = bytes(range(64))
    _, (rec,) = realm_with_all_kinds(door, rpv=rpv, hash_algo=hash_algo)
    write_realm(door, rec, MAPPED, b"\xff" * PAGE)
    assert door.rsi(rec, Rsi.REALM_CONFIG, MAPPED)[0] == OK
    page = read_realm(door, rec, MAPPED, PAGE)
    assert RealmConfig.decode(page) == RealmConfig(ipa_width=40, hash_algo=hash_algo, rpv=rpv)
    assert page.count(0) >= PAGE - 8 - 1 - 64


def test_ipa_state_get_reports_the_ripas_and_where_it_ends() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    for ipa, top, expected in (
        (0, 1 << 21, (OK, MAPPED, Ripas.EMPTY)),
        (MAPPED, 1 << 21, (OK, EMPTY, Ripas.RAM)),
        (EMPTY, 1 << 21, (OK, MISSING, Ripas.EMPTY)),
        (LOST, 1 << 21, (OK, LOST + PAGE, Ripas.DESTROYED)),
        (LOST + PAGE, LOST + 3 * PAGE, (OK, LOST + 3 * PAGE, Ripas.EMPTY)),
        (LOST + PAGE, 1 << 30, (OK, 1 << 21, Ripas.EMPTY)),
        (1 << 30, 1 << 38, (OK, 1 << 38, Ripas.EMPTY)),
    ):
        assert tuple(door.rsi(rec, Rsi.IPA_STATE_GET, ipa, top)[:3]) == expected


def test_a_host_call_carries_an_immediate_and_31_registers_both_ways() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    asked = HostCall(imm=0x1234, gprs=tuple(range(100, 131)))
    write_realm(door, rec, MAPPED + 0x100, asked.encode())
    _, out = door.enter(rec, [Smc((Rsi.HOST_CALL, MAPPED + 0x100, 5, 6))])
    assert (out.exit_reason, out.imm, out.gprs) == (ExitReason.HOST_CALL, 0x1234, asked.gprs)
    door.enter(rec, gprs=tuple(range(500, 531)))
    assert door.guest.gprs[0][:4] == [OK, MAPPED + 0x100, 5, 6]
    assert HostCall.decode(read_realm(door, rec, MAPPED + 0x100, 256)).gprs == tuple(range(500, 531))


def test_a_host_call_whose_page_went_away_waits_for_the_host() -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    door.enter(rec, [Smc((Rsi.HOST_CALL, MAPPED))])
    door.ok(Rmi.DATA_DESTROY, rd, MAPPED)
    x0, out = door.enter(rec)
    assert (x0, out.exit_reason, out.esr, out.hpfar) == (SUCCESS, ExitReason.SYNC, 0x24 << 26 | 7, MAPPED >> 8)
    assert not door.guest.gprs
    assert door.rmm.state.recs[rec].host_call_ipa == MAPPED


def test_a_ripas_change_is_done_by_the_host_and_reported_at_the_next_entry() -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    _, out = door.enter(rec, [Smc((Rsi.IPA_STATE_SET, MAPPED, MAPPED + 2 * PAGE, Ripas.EMPTY, 0))])
    assert (out.exit_reason, out.ripas_base, out.ripas_top, out.ripas_value) == (
        ExitReason.RIPAS_CHANGE, MAPPED, MAPPED + 2 * PAGE, Ripas.EMPTY,
    )  # fmt: skip
    assert door.ok(Rmi.RTT_SET_RIPAS, rd, rec, MAPPED, MAPPED + PAGE)[1] == MAPPED + PAGE
    assert door.ok(Rmi.RTT_SET_RIPAS, rd, rec, MAPPED + PAGE, MAPPED + 2 * PAGE)[1] == MAPPED + 2 * PAGE
    door.enter(rec)
    assert door.guest.gprs[0][:3] == [OK, MAPPED + 2 * PAGE, 0]
    assert door.ok(Rmi.RTT_READ_ENTRY, rd, MAPPED, 3)[4] == Ripas.EMPTY
    assert door.call(Rmi.RTT_SET_RIPAS, rd, rec, MAPPED + 2 * PAGE, MAPPED + 3 * PAGE)[0] == INPUT


@pytest.mark.parametrize(
    ("ripas", "done", "reject", "response"),
    [(1, False, True, 1), (1, False, False, 0), (1, True, True, 0), (0, False, True, 0)],
)
def test_only_an_unfinished_request_for_ram_can_be_rejected(
    ripas: int, done: bool, reject: bool, response: int
) -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, EMPTY, EMPTY + PAGE, ripas, 0))])
    if done:
        door.ok(Rmi.RTT_SET_RIPAS, rd, rec, EMPTY, EMPTY + PAGE)
    door.enter(rec, flags=16 if reject else 0)
    assert door.guest.gprs[0][:3] == [OK, EMPTY + PAGE if done else EMPTY, response]


@pytest.mark.parametrize("flags", [0, 1, 3])
def test_a_destroyed_page_changes_only_with_the_realms_permission(flags: int) -> None:
    door = Door()
    rd, (rec,) = realm_with_all_kinds(door)
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, MISSING, LOST + PAGE, Ripas.RAM, flags))])
    assert door.ok(Rmi.RTT_SET_RIPAS, rd, rec, MISSING, LOST + PAGE)[1] == (LOST + PAGE if flags & 1 else LOST)
    assert door.ok(Rmi.RTT_READ_ENTRY, rd, LOST, 3)[4] == (Ripas.RAM if flags & 1 else Ripas.DESTROYED)


def test_set_ripas_of_another_realms_rec_is_a_rec_error() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    other = door.realm()
    door.enter(rec, [Smc((Rsi.IPA_STATE_SET, 0, PAGE, 0, 0))])
    assert door.call(Rmi.RTT_SET_RIPAS, other, rec, 0, PAGE)[0] == REC


def continue_token(door: Door, rec: int, size: int, offset: int = 0) -> tuple[int, int]:
    x = door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, offset, size)
    return x[0], x[1]


@pytest.mark.parametrize("hash_algo", [0, 1])
def test_a_token_comes_in_pieces_until_success_and_then_not_again(hash_algo: int) -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door, hash_algo=hash_algo)
    assert continue_token(door, rec, 64)[0] == ERROR_STATE
    x = door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT, *range(8))
    assert (x[0], x[1]) == (OK, 4096)
    assert continue_token(door, rec, 0) == (INCOMPLETE, 0)
    length = TOKEN_LENGTHS[hash_algo]
    assert continue_token(door, rec, 1000) == (INCOMPLETE, 1000)
    assert continue_token(door, rec, 3000, 1000) == (OK, length - 1000)
    assert continue_token(door, rec, 64)[0] == ERROR_STATE
    assert read_realm(door, rec, MAPPED, PAGE)[:length].count(0xA5) == length


def test_a_pending_interrupt_ends_the_signing_call_without_bytes() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    door.hardware.pes[0].irq_pending = True
    x0, out = door.enter(rec, [Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, 4096))])
    assert (x0, out.exit_reason) == (SUCCESS, ExitReason.IRQ)
    door.hardware.pes[0].irq_pending = False
    door.enter(rec)
    assert door.guest.gprs[0][:2] == [INCOMPLETE, 0]
    assert continue_token(door, rec, 4096) == (OK, TOKEN_LENGTHS[0])


def test_init_drops_the_operation_under_way() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    continue_token(door, rec, 100)
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    assert continue_token(door, rec, 4096) == (OK, TOKEN_LENGTHS[0])


def test_psci_version_and_features() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    assert door.rsi(rec, Psci.VERSION)[0] == 0x1_0001
    for fid in (*Psci, 0x8000_0000):
        assert door.rsi(rec, Psci.FEATURES, int(fid))[0] == 0
    for fid in (0x8400_0005, 0xC400_0002, 0xC400_0190):
        assert signed(door.rsi(rec, Psci.FEATURES, fid)[0]) == -1


@pytest.mark.parametrize("fid", [Psci.CPU_SUSPEND, Psci.CPU_SUSPEND_32])
def test_cpu_suspend_tells_the_host_and_has_already_succeeded(fid: Psci) -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    _, out = door.enter(rec, [Smc((fid, 1, 2, 3))])
    assert (out.exit_reason, out.gprs[:4]) == (ExitReason.PSCI, (fid, 0, 0, 0))
    door.enter(rec)
    assert door.guest.gprs[0][:4] == [0, 0, 0, 0]


def test_cpu_off_keeps_the_rec_out_until_another_turns_it_on() -> None:
    door = Door()
    _, (rec, other) = realm_with_all_kinds(door, recs=2)
    door.enter(other, [SetRegister(9, 99), Smc((Psci.CPU_OFF,))])
    assert door.enter(other)[0] == REC
    _, out = door.enter(rec, [Smc((Psci.CPU_ON, 1, 0x8000, 0xCAFE))])
    assert (out.exit_reason, out.gprs[:4]) == (ExitReason.PSCI, (Psci.CPU_ON, 1, 0, 0))
    assert door.enter(rec)[0] == REC
    door.ok(Rmi.PSCI_COMPLETE, rec, other, 0)
    assert door.enter(rec)[0] == SUCCESS
    assert door.guest.gprs[0][:4] == [0, 0, 0, 0]
    assert door.enter(other)[0] == SUCCESS
    assert (door.guest.pcs[0], door.guest.gprs[0]) == (0x8000, [0xCAFE, *(0,) * 30])


@pytest.mark.parametrize(
    ("registers", "answer"),
    [
        ((Psci.CPU_ON, 1, HALF, 0), -9),
        ((Psci.CPU_ON, 2, 0, 0), -2),
        ((Psci.CPU_ON, 0, 0, 0), -4),
        ((Psci.CPU_ON, 2, HALF, 0), -9),
        ((Psci.AFFINITY_INFO, 1, 1), -2),
        ((Psci.AFFINITY_INFO, 1 << 32, 0), -2),
        ((Psci.AFFINITY_INFO, 0, 0), 0),
    ],
)
def test_psci_requests_that_need_no_host_are_answered_at_once(registers: tuple[int, ...], answer: int) -> None:
    door = Door()
    _, (rec, _) = realm_with_all_kinds(door, recs=2)
    assert signed(door.rsi(rec, *registers)[0]) == answer


@pytest.mark.parametrize(
    ("target_on", "fid", "status", "x0", "answer"),
    [
        (True, Psci.CPU_ON, 0, SUCCESS, -4),
        (False, Psci.CPU_ON, 0, SUCCESS, 0),
        (False, Psci.CPU_ON_32, -3 & ALL_ONES, SUCCESS, -3),
        (True, Psci.CPU_ON, -3 & ALL_ONES, INPUT, None),
        (True, Psci.CPU_ON, 1, INPUT, None),
        (True, Psci.AFFINITY_INFO, 0, SUCCESS, 0),
        (False, Psci.AFFINITY_INFO_32, 0, SUCCESS, 1),
        (False, Psci.AFFINITY_INFO, -3 & ALL_ONES, INPUT, None),
    ],
)
def test_psci_complete_follows_the_table(target_on: bool, fid: Psci, status: int, x0: int, answer: int | None) -> None:
    door = Door()
    rd = door.realm()
    caller, target = door.rec(rd, 0), door.rec(rd, 1, flags=int(target_on))
    door.ok(Rmi.REALM_ACTIVATE, rd)
    third = 0x1000 if fid in (Psci.CPU_ON, Psci.CPU_ON_32) else 0
    door.enter(caller, [Smc((fid, 1, third, 5))])
    before = door.digest()
    assert door.call(Rmi.PSCI_COMPLETE, caller, target, status)[0] == x0
    if answer is None:
        assert door.digest() == before
        assert door.enter(caller)[0] == REC
    else:
        assert door.enter(caller)[0] == SUCCESS
        assert signed(door.guest.gprs[0][0]) == answer


@pytest.mark.parametrize("fid", [Psci.SYSTEM_OFF, Psci.SYSTEM_RESET])
def test_system_off_and_reset_end_the_realm_for_all_recs(fid: Psci) -> None:
    door = Door()
    rd, recs = realm_with_all_kinds(door, recs=2)
    _, out = door.enter(recs[0], [Smc((fid,))])
    assert (out.exit_reason, out.gprs[0]) == (ExitReason.PSCI, fid)
    assert [door.enter(rec)[0] for rec in recs] == [REALM_OFF, REALM_OFF]
    door.ok(Rmi.REC_AUX_COUNT, rd)


def test_an_exit_shows_nothing_beyond_its_reason() -> None:
    door = Door()
    _, (rec,) = realm_with_all_kinds(door)
    secrets = [SetRegister(index, 0x5EC2E7_0000 + index) for index in range(31)]
    _, out = door.enter(rec, [*secrets, Exception_(ExceptionKind.IRQ)])
    assert out == RecExit(exit_reason=ExitReason.IRQ)
    page = door.hardware.memory.read(World.NS, door.granules() - PAGE, PAGE)
    assert b"\xe7\xc2\x5e" not in page
