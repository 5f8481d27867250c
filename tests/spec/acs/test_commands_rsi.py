"""Command scenarios of the compliance suite, RSI and PSCI; a test has the name of its scenario.

Written from the suite's scenario document (ARM-software/cca-rmm-acs docs/command_scenarios.rst).
"""

from __future__ import annotations

import struct

import pytest
from acs_stage import HALF, LOST, MAPPED, MINUS_1, MISSING, Stage
from spec_door import PAGE, REALM_OFF, REC, TOKEN_LENGTHS

from cca_machine.abi.guest import Poke, Smc
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import ExitReason, Ripas, Rmi
from cca_machine.abi.rsi import HostCall, RealmConfig, Rsi

OK, ERROR_INPUT, ERROR_STATE, INCOMPLETE = 0, 1, 2, 3
NOT_SUPPORTED, INVALID_PARAMETERS, ALREADY_ON, INVALID_ADDRESS = (MINUS_1 + 1 + code for code in (-1, -2, -4, -9))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def rec(stage: Stage) -> int:
    return stage.realm_of_pages()[1][0]


def test_cmd_rsi_version(stage: Stage, rec: int) -> None:
    assert stage.asks(rec, Rsi.VERSION, 0x1_0000)[:3] == [OK, 0x1_0000, 0x1_0000]
    refused = stage.asks(rec, Rsi.VERSION, 0x9_0000)
    assert refused[0] == ERROR_INPUT
    assert not (refused[1] | refused[2]) >> 31


def test_cmd_rsi_features(stage: Stage, rec: int) -> None:
    for index in (0, 1, 77):
        assert stage.asks(rec, Rsi.FEATURES, index)[:2] == [OK, 0]


def test_cmd_realm_config(stage: Stage, rec: int) -> None:
    for address in (MAPPED + 8, HALF, HALF + MAPPED):
        assert stage.asks(rec, Rsi.REALM_CONFIG, address)[0] == ERROR_INPUT
    assert stage.asks(rec, Rsi.REALM_CONFIG, MAPPED)[0] == OK
    assert stage.guest.view is not None
    assert RealmConfig.decode(stage.guest.view.read(MAPPED, PAGE)).ipa_width == 40


def test_cmd_ipa_state_get(stage: Stage, rec: int) -> None:
    for base, top in ((8, PAGE), (0, 8), (PAGE, 0), (0, HALF + PAGE)):
        assert stage.asks(rec, Rsi.IPA_STATE_GET, base, top)[0] == ERROR_INPUT
    for ipa, ripas in ((0, Ripas.EMPTY), (MAPPED, Ripas.RAM), (MISSING, Ripas.RAM), (LOST, Ripas.DESTROYED)):
        assert stage.asks(rec, Rsi.IPA_STATE_GET, ipa, ipa + PAGE)[:3] == [OK, ipa + PAGE, ripas]


def test_cmd_ipa_state_set(stage: Stage) -> None:
    rd, (rec,) = stage.realm_of_pages()
    for base, top, ripas in ((8, PAGE, 0), (PAGE, 0, 0), (0, 8, 0), (0, HALF + PAGE, 0), (0, PAGE, 2)):
        assert stage.asks(rec, Rsi.IPA_STATE_SET, base, top, ripas, 0)[0] == ERROR_INPUT
    for reject in (False, True):
        stage.runs(rec, Smc((Rsi.IPA_STATE_SET, 0, PAGE, Ripas.RAM, 0)))
        if not reject:
            stage.ok(Rmi.RTT_SET_RIPAS, rd, rec, 0, PAGE)
        stage.runs(rec, flags=16 if reject else 0)
        assert stage.guest.gprs[0][:3] == [OK, 0 if reject else PAGE, int(reject)]


def test_cmd_measurement_read(stage: Stage) -> None:
    rd, (rec,) = stage.realm_of_pages()
    assert stage.asks(rec, Rsi.MEASUREMENT_READ, 7)[0] == ERROR_INPUT
    for index in range(5):
        x = stage.asks(rec, Rsi.MEASUREMENT_READ, index)
        assert x[0] == OK
        assert struct.pack("<8Q", *x[1:9]) == stage.rmm.state.realms[rd].measurements[index]


def test_cmd_measurement_extend(stage: Stage, rec: int) -> None:
    for index, size in ((0, 8), (7, 8), (1, 65)):
        assert stage.asks(rec, Rsi.MEASUREMENT_EXTEND, index, size)[0] == ERROR_INPUT
    for index in range(1, 5):
        assert stage.asks(rec, Rsi.MEASUREMENT_EXTEND, index, 64, *range(5))[0] == OK


def test_cmd_attestation_token_init(stage: Stage, rec: int) -> None:
    x = stage.asks(rec, Rsi.ATTESTATION_TOKEN_INIT, *range(6))
    assert x[0] == OK
    assert x[1] >= TOKEN_LENGTHS[0]
    assert stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, PAGE)[0] == OK


def test_cmd_attestation_token_continue(stage: Stage, rec: int) -> None:
    stage.asks(rec, Rsi.ATTESTATION_TOKEN_INIT)
    for words in ((MAPPED + 8, 0, 8), (HALF, 0, 8), (MAPPED, PAGE, 8), (MAPPED, 8, PAGE), (MAPPED, 0, MINUS_1)):
        assert stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, *words)[0] == ERROR_INPUT
    taken, x0 = 0, INCOMPLETE
    while x0 == INCOMPLETE:
        x0, length = stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, taken, 500)[:2]
        taken += length
    assert (x0, taken) == (OK, TOKEN_LENGTHS[0])
    assert stage.asks(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, MAPPED, 0, 8)[0] == ERROR_STATE


def test_cmd_host_call(stage: Stage, rec: int) -> None:
    for address in (MAPPED + 8, HALF, HALF + MAPPED):
        assert stage.asks(rec, Rsi.HOST_CALL, address)[0] == ERROR_INPUT
    call = HostCall(imm=7, gprs=(0, 11, *(0,) * 29)).encode()
    out = stage.runs(rec, Poke(MAPPED, call), Smc((Rsi.HOST_CALL, MAPPED)))
    assert (out.exit_reason, out.imm, out.gprs[1]) == (ExitReason.HOST_CALL, 7, 11)
    stage.runs(rec, gprs=(0, 99, *(0,) * 29))
    assert stage.guest.gprs[0][0] == OK
    assert stage.guest.view is not None
    assert HostCall.decode(stage.guest.view.read(MAPPED, 256)).gprs[1] == 99


def test_cmd_psci_version(stage: Stage, rec: int) -> None:
    assert stage.asks(rec, Psci.VERSION)[0] == 0x1_0001


def test_cmd_psci_features(stage: Stage, rec: int) -> None:
    assert stage.asks(rec, Psci.FEATURES, Psci.CPU_ON)[0] == OK
    for fid in (0x8400_0012, 0xC400_0005, 0x8400_00FF):
        assert stage.asks(rec, Psci.FEATURES, fid)[0] == NOT_SUPPORTED


def test_cmd_cpu_off(stage: Stage, rec: int) -> None:
    out = stage.runs(rec, Smc((Psci.CPU_OFF,)))
    assert (out.exit_reason, out.gprs[0]) == (ExitReason.PSCI, Psci.CPU_OFF)
    assert stage.enter(rec)[0] == REC


def test_cmd_cpu_suspend(stage: Stage, rec: int) -> None:
    out = stage.runs(rec, Smc((Psci.CPU_SUSPEND, 1, 2, 3)))
    assert (out.exit_reason, out.gprs[0]) == (ExitReason.PSCI, Psci.CPU_SUSPEND)
    stage.runs(rec)
    assert stage.guest.gprs[0][0] == OK


def _switches_off(stage: Stage, rec: int, call: Psci) -> None:
    out = stage.runs(rec, Smc((call,)))
    assert (out.exit_reason, out.gprs[0]) == (ExitReason.PSCI, call)
    assert stage.enter(rec)[0] == REALM_OFF


def test_cmd_system_off(stage: Stage, rec: int) -> None:
    _switches_off(stage, rec, Psci.SYSTEM_OFF)


def test_cmd_system_reset(stage: Stage, rec: int) -> None:
    _switches_off(stage, rec, Psci.SYSTEM_RESET)


def test_cmd_affinity_info(stage: Stage) -> None:
    rd = stage.realm()
    stage.tables(rd, 0)
    calling, on, off = stage.rec(rd, 0), stage.rec(rd, 1), stage.rec(rd, 2, flags=0)
    stage.ok(Rmi.REALM_ACTIVATE, rd)
    assert stage.asks(calling, Psci.AFFINITY_INFO, 0x77, 0)[0] == INVALID_PARAMETERS
    assert stage.asks(calling, Psci.AFFINITY_INFO, 1, 1)[0] == INVALID_PARAMETERS
    for index, target, answer in ((1, on, 0), (2, off, 1)):
        out = stage.runs(calling, Smc((Psci.AFFINITY_INFO, index, 0)))
        assert (out.exit_reason, out.gprs[0], out.gprs[1]) == (ExitReason.PSCI, Psci.AFFINITY_INFO, index)
        stage.ok(Rmi.PSCI_COMPLETE, calling, target, 0)
        stage.runs(calling)
        assert stage.guest.gprs[0][0] == answer


def test_cmd_cpu_on(stage: Stage) -> None:
    rd = stage.realm()
    calling, target = stage.rec(rd, 0), stage.rec(rd, 1, flags=0)
    stage.ok(Rmi.REALM_ACTIVATE, rd)
    assert stage.asks(calling, Psci.CPU_ON, 0x77, 0x1000, 0)[0] == INVALID_PARAMETERS
    assert stage.asks(calling, Psci.CPU_ON, 1, HALF, 0)[0] == INVALID_ADDRESS
    assert stage.asks(calling, Psci.CPU_ON, 0, 0x1000, 0)[0] == ALREADY_ON
    for answer in (OK, ALREADY_ON):
        stage.runs(calling, Smc((Psci.CPU_ON, 1, 0x1000, 55)))
        stage.ok(Rmi.PSCI_COMPLETE, calling, target, 0)
        stage.runs(calling)
        assert stage.guest.gprs[0][0] == answer
    stage.runs(target)
    assert (stage.guest.pcs[0], stage.guest.gprs[0][0]) == (0x1000, 55)
