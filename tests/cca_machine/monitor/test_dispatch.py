from __future__ import annotations

import pytest

from cca_machine.abi.lfa import Lfa
from cca_machine.abi.psci import Affinity, Psci, PsciStatus
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmm_el3 import RmmEl3
from cca_machine.abi.rsi import Rsi
from cca_machine.abi.smc import NOT_SUPPORTED, SVE_HINT, signed
from cca_machine.monitor.dispatch import ROUTES, HeldPe, Monitor
from cca_machine.monitor.psci import mpidr_of


def test_no_function_id_has_two_routes():
    fids = [fid for row, _ in ROUTES for fid in row]
    assert len(fids) == len(set(fids))


@pytest.mark.parametrize("fid", list(Rmi))
def test_every_rmi_call_reaches_the_rmm_with_its_arguments_and_pe(rig, fid):
    rig.monitor.smc(fid, [1, 2, 3], 2)
    assert rig.rmm.calls == [(fid, (1, 2, 3), 2)]


def test_the_sve_hint_is_no_part_of_the_function_id(rig):
    rig.monitor.smc(Rmi.VERSION | SVE_HINT, [0x10000])
    assert rig.rmm.calls[0][0] == Rmi.VERSION
    assert rig.monitor.smc(Lfa.VERSION | SVE_HINT)[0] == 0x10000


# RMI_REQ_COMPLETE lies in the range of RMI: the RMM says that it is unknown
FOREIGN = [*Rsi, *(fid for fid in RmmEl3 if fid is not RmmEl3.RMI_REQ_COMPLETE)]


@pytest.mark.parametrize("fid", [*FOREIGN, 0, 0xC400_02DF, 0xC400_02E7, 0x8000_0001, 0xC400_0400])
def test_what_is_not_for_the_normal_world_is_unknown_to_it(rig, fid):
    assert rig.monitor.smc(fid)[0] == NOT_SUPPORTED
    assert rig.rmm.calls == []


def test_an_rmm_that_crashed_is_never_entered_again(rig):
    rig.monitor.fail_rmm()
    assert [rig.monitor.smc(fid)[0] for fid in Rmi] == [NOT_SUPPORTED] * len(Rmi)
    assert (rig.rmm.calls, rig.rmm.failures) == ([], 1)
    rig.reset()
    assert rig.monitor.smc(Rmi.VERSION)[0] == 0


def test_a_run_stops_at_the_first_refusal_like_single_calls_do(rig):
    rig.rmm.limit = 0x3000
    done, last = rig.monitor.smc_run(Rmi.GRANULE_DELEGATE, [0], [0x1000], 5, 1)
    assert (done, last[0]) == (3, 1)
    assert rig.rmm.calls == [(Rmi.GRANULE_DELEGATE, (pa,), 1) for pa in (0, 0x1000, 0x2000, 0x3000)]


def test_a_run_of_another_service_is_a_loop_too(rig):
    done, last = rig.monitor.smc_run(Lfa.GET_INVENTORY, [3], [1], 5)
    assert (done, signed(last[0])) == (2, -8)


def test_the_calling_convention_is_1_2(rig):
    assert rig.monitor.smc(0x8000_0000)[0] == 0x10002


def test_a_new_monitor_over_the_same_state_goes_on(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.arrive("RMM", 0)
    rig.monitor = Monitor(rig.state, rig.hardware, rig.rmm, rig.spec)
    for pe in (1, 2, 3):
        rig.arrive("RMM", pe)
    assert rig.monitor.versions["RMM"] == "1.1.0"


def psci(rig, fid: Psci, *args: int, pe: int = 0) -> int:
    return signed(rig.monitor.smc(fid, args, pe)[0])


def test_psci_is_1_1_and_names_what_it_has(rig):
    assert psci(rig, Psci.VERSION) == 0x1_0001
    assert psci(rig, Psci.FEATURES, Psci.CPU_ON) == 0
    assert psci(rig, Psci.FEATURES, Psci.SYSTEM_OFF) == PsciStatus.NOT_SUPPORTED
    assert psci(rig, Psci.SYSTEM_OFF) == PsciStatus.NOT_SUPPORTED


def test_a_pe_turns_itself_off_and_is_turned_on_by_another(rig):
    assert rig.monitor.smc(Psci.CPU_OFF, [], 1) == ()
    assert psci(rig, Psci.AFFINITY_INFO, mpidr_of(1), 0) == Affinity.OFF
    with pytest.raises(HeldPe):
        rig.monitor.smc(Rmi.VERSION, [], 1)
    assert psci(rig, Psci.CPU_ON, mpidr_of(1), 0, 0) == 0
    assert psci(rig, Psci.CPU_ON_32, mpidr_of(1), 0, 0) == PsciStatus.ALREADY_ON
    assert psci(rig, Psci.AFFINITY_INFO_32, mpidr_of(1), 0) == Affinity.ON


def test_the_last_pe_cannot_turn_itself_off(rig):
    for pe in (1, 2, 3):
        rig.monitor.smc(Psci.CPU_OFF, [], pe)
    assert psci(rig, Psci.CPU_OFF) == PsciStatus.DENIED
    assert psci(rig, Psci.VERSION) == 0x1_0001


@pytest.mark.parametrize("mpidr", [mpidr_of(4), 1, 1 << 32])
def test_a_target_that_does_not_exist_is_an_invalid_parameter(rig, mpidr):
    assert psci(rig, Psci.CPU_ON, mpidr, 0, 0) == PsciStatus.INVALID_PARAMETERS
    assert psci(rig, Psci.AFFINITY_INFO, mpidr, 0) == PsciStatus.INVALID_PARAMETERS


def test_affinity_levels_above_zero_are_not_offered(rig):
    assert psci(rig, Psci.AFFINITY_INFO, mpidr_of(0), 1) == PsciStatus.INVALID_PARAMETERS


@pytest.mark.parametrize("pe", [-1, 4])
def test_a_pe_that_does_not_exist_executes_nothing(rig, pe):
    with pytest.raises(HeldPe):
        rig.monitor.smc(Rmi.VERSION, [], pe)
