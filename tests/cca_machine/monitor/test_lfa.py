"""Prime, activate and cancel through the SMC door."""

from __future__ import annotations

import hashlib

import pytest

from attestation import firmware
from cca_machine.abi.lfa import InventoryFlags, Lfa, LfaStatus
from cca_machine.abi.psci import Psci
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.abi.smc import NOT_SUPPORTED, signed
from cca_machine.monitor.components import RESERVED_BYTES
from cca_machine.monitor.dispatch import HeldPe
from cca_machine.monitor.image import PANICS_AT_ACTIVATION
from cca_machine.monitor.lfa import LOAD_BYTES_PER_CALL
from cca_machine.monitor.psci import mpidr_of
from cca_machine.monitor.state import LfaState

SKIP = 1
DONE = (LfaStatus.SUCCESS, 0)
FAILED = (LfaStatus.ACTIVATION_FAILED, 0)


# -- inventory --------------------------------------------------------------------------------------------------------


def test_version_is_1_0_and_features_name_the_seven_calls(rig):
    assert rig.monitor.smc(Lfa.VERSION)[0] == 0x10000
    assert all(rig.lfa(Lfa.FEATURES, fid) is LfaStatus.SUCCESS for fid in Lfa)
    assert rig.lfa(Lfa.FEATURES, Rmi.VERSION) is LfaStatus.NOT_SUPPORTED


def test_get_info_counts_the_components_and_takes_only_selector_zero(rig):
    assert rig.monitor.smc(Lfa.GET_INFO, [0])[:3] == (0, 5, 0)
    assert rig.lfa(Lfa.GET_INFO, 1) is LfaStatus.INVALID_PARAMETERS


def test_inventory_gives_the_uuid_of_the_rmm_as_two_little_endian_words(rig):
    x0, x1, x2, *_ = rig.inventory("RMM")
    uuid = (x1.to_bytes(8, "little") + x2.to_bytes(8, "little")).hex()
    assert (x0, uuid) == (0, "6c0762a612f24b5692cbba8f633606d9")


@pytest.mark.parametrize(
    ("component", "flags"),
    [
        ("HES", 0),
        ("BL2", 0),
        ("BL31", InventoryFlags.CAPABLE | InventoryFlags.MAY_RESET_CPU),
        ("SP1", InventoryFlags.CAPABLE | InventoryFlags.RENDEZVOUS_OPTIONAL),
        ("RMM", InventoryFlags.CAPABLE),
    ],
)
def test_inventory_says_which_components_can_be_activated_and_how(rig, component, flags):
    assert rig.inventory(component)[3] == flags


def test_inventory_reports_running_and_staged_version(rig, image):
    assert rig.inventory("RMM")[4:6] == (1 << 32, 0)
    rig.offer("RMM", image("RMM", "2.7.1"))
    assert rig.inventory("RMM")[3:6] == (InventoryFlags.CAPABLE | InventoryFlags.PENDING, 1 << 32, 2 << 32 | 7)


def test_the_image_that_runs_is_not_pending_when_staged_again(rig, spec):
    rig.offer("RMM", spec.firmware["RMM"])
    assert rig.inventory("RMM")[3] == InventoryFlags.CAPABLE


# -- refusals of PRIME ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fid", [Lfa.GET_INVENTORY, Lfa.PRIME, Lfa.ACTIVATE, Lfa.CANCEL])
def test_a_sequence_id_out_of_range_is_an_invalid_parameter(rig, fid):
    assert rig.lfa(fid, 5) is LfaStatus.INVALID_PARAMETERS


def test_prime_sees_a_staged_image_only_after_the_inventory_was_read(rig, image):
    rig.monitor.stage("RMM", image("RMM", "1.1.0"))
    assert rig.prime("RMM") is LfaStatus.WRONG_STATE
    rig.inventory("RMM")
    assert rig.prime("RMM") is LfaStatus.SUCCESS


def test_a_component_without_activator_cannot_be_primed(rig, image):
    rig.offer("BL2", image("BL2", "1.1.0"))
    assert rig.prime("BL2") is LfaStatus.NOT_SUPPORTED


def test_a_stale_pending_bit_ends_in_a_device_error(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0"))
    rig.monitor.unstage("RMM")
    assert rig.prime("RMM") is LfaStatus.DEVICE_ERROR


def test_an_image_larger_than_the_reserved_memory_finds_none(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0", payload=bytes(RESERVED_BYTES)))
    assert rig.prime_once("RMM") == (LfaStatus.NO_MEMORY, False)


def test_another_format_of_the_state_handed_over_is_found_out_at_prime(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0", data_format=2))
    assert rig.prime("RMM") is LfaStatus.DEVICE_ERROR
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.COMPONENT_WRONG_STATE


def test_prime_of_another_component_is_refused_while_one_is_primed(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.offer("BL31", image("BL31", "1.1.0"))
    assert rig.prime("BL31") is LfaStatus.WRONG_STATE
    assert rig.state.now.activation.component == "RMM"


def test_under_the_tf_a_quirk_the_other_component_loads_and_cannot_be_activated(make_rig, image):
    rig = make_rig(quirks="tf-rmm").primed("RMM", image("RMM", "1.1.0"))
    rig.offer("BL31", image("BL31", "1.1.0"))
    assert rig.prime("BL31") is LfaStatus.SUCCESS
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["BL31"]) is LfaStatus.INVALID_PARAMETERS
    assert rig.activate("RMM")[0] == DONE


def bad_images(image, stranger, owner):
    good = image("RMM", "1.1.0")
    flipped = bytearray(good)
    flipped[-1] ^= 1
    return {
        "tampered": bytes(flipped),
        "truncated": good[:-1],
        "with trailing byte": good + b"\0",
        "not an image": b"RMM 1.1.0",
        "unsigned": good[:60] + bytes(20) + good[80:],
        "by a stranger": image("RMM", "1.1.0", key=stranger),
        "by another accepted signer than the slot's": image("RMM", "1.1.0", key=owner),
        "rolled back": image("RMM", "0.9.0", security_version=0),
        "of another component": image("BL31", "1.1.0"),
    }


@pytest.mark.parametrize(
    "fault",
    [
        "tampered", "truncated", "with trailing byte", "not an image", "unsigned", "by a stranger",
        "by another accepted signer than the slot's", "rolled back", "of another component",
    ],
)  # fmt: skip
def test_a_bad_image_is_refused_and_the_old_firmware_runs_on_unchanged(rig, image, stranger, owner, fault):
    rig.offer("RMM", bad_images(image, stranger, owner)[fault])
    before = rig.digest()
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.COMPONENT_WRONG_STATE
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.SUCCESS
    assert rig.digest() == before
    assert rig.monitor.versions["RMM"] == "1.0.0"
    assert rig.monitor.smc(Rmi.VERSION)[0] == 0


# -- a load of several calls ------------------------------------------------------------------------------------------


def test_a_large_image_asks_to_be_called_again_until_all_of_it_is_loaded(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0", payload=bytes(2 * LOAD_BYTES_PER_CALL)))
    assert [rig.prime_once("RMM") for _ in range(3)] == [
        (LfaStatus.SUCCESS, True),
        (LfaStatus.SUCCESS, True),
        (LfaStatus.SUCCESS, False),
    ]


def test_between_two_prime_calls_nothing_can_be_activated_and_no_other_component_primed(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0", payload=bytes(2 * LOAD_BYTES_PER_CALL)))
    rig.offer("BL31", image("BL31", "1.1.0"))
    rig.prime_once("RMM")
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.COMPONENT_WRONG_STATE
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"], SKIP) is LfaStatus.COMPONENT_WRONG_STATE
    assert rig.prime("BL31") is LfaStatus.WRONG_STATE
    assert rig.lfa(Lfa.CANCEL, rig.ids["BL31"]) is LfaStatus.INVALID_PARAMETERS
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.SUCCESS
    assert rig.prime("BL31") is LfaStatus.SUCCESS


def test_an_image_exchanged_while_it_loads_is_a_device_error_and_loads_from_the_start_next_time(rig, image):
    rig.offer("RMM", image("RMM", "1.1.0", payload=bytes(2 * LOAD_BYTES_PER_CALL)))
    rig.prime_once("RMM")
    rig.monitor.stage("RMM", image("RMM", "1.2.0"))
    assert rig.prime("RMM") is LfaStatus.DEVICE_ERROR
    assert rig.prime("RMM") is LfaStatus.SUCCESS


def test_after_a_failed_prime_only_the_same_component_or_cancel_gets_on(rig, image, stranger):
    rig.offer("RMM", image("RMM", "1.1.0", key=stranger))
    rig.offer("BL31", image("BL31", "1.1.0"))
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR
    assert rig.prime("BL31") is LfaStatus.WRONG_STATE
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.SUCCESS
    assert rig.prime("BL31") is LfaStatus.SUCCESS


def test_cancel_without_a_primed_component_is_an_invalid_parameter(rig):
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.INVALID_PARAMETERS


# -- the rendezvous ---------------------------------------------------------------------------------------------------


def test_all_pes_but_the_last_are_held_and_all_get_the_same_status(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    assert [rig.arrive("RMM", pe) for pe in (2, 0, 3)] == [(), (), ()]
    assert rig.monitor.held == (2, 0, 3)
    assert rig.rmm.entries[-1][0] == 1
    last = rig.arrive("RMM", 1)
    assert signed(last[0]) == LfaStatus.SUCCESS
    assert set(rig.monitor.collect().values()) == {last}
    assert rig.monitor.held == ()


def test_a_held_pe_executes_nothing_until_it_is_released(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.arrive("RMM", 2)
    with pytest.raises(HeldPe):
        rig.monitor.smc(Rmi.VERSION, [], 2)
    with pytest.raises(HeldPe):
        rig.monitor.smc_run(Rmi.GRANULE_DELEGATE, [0], [4096], 1, 2)
    assert rig.monitor.smc(Rmi.VERSION, [], 0)[0] == 0
    for pe in (0, 1, 3):
        rig.arrive("RMM", pe)
    with pytest.raises(HeldPe):
        rig.monitor.smc(Rmi.VERSION, [], 2)
    assert sorted(rig.monitor.collect()) == [0, 1, 2]
    assert rig.monitor.smc(Rmi.VERSION, [], 2)[0] == 0


def test_pes_that_are_off_take_no_part_and_enter_the_new_image_when_turned_on(rig, image):
    rig.monitor.smc(Psci.CPU_OFF, [], 3)
    rig.primed("RMM", image("RMM", "1.1.0"))
    assert rig.activate("RMM") == {0: DONE, 1: DONE, 2: DONE}
    assert [pe.rmm_sequence for pe in rig.state.now.pes] == [2, 2, 2, 1]
    assert rig.monitor.smc(Psci.CPU_ON, [mpidr_of(3), 0, 0])[0] == 0
    assert rig.state.now.pes[3].rmm_sequence == 2


def test_a_pe_turned_off_instead_of_arriving_leaves_the_others_held(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    for pe in (0, 1, 2):
        rig.arrive("RMM", pe)
    rig.monitor.smc(Psci.CPU_OFF, [], 3)
    assert rig.monitor.held == (0, 1, 2)
    assert rig.state.now.activation.state is LfaState.ACTIVATING
    assert rig.monitor.versions["RMM"] == "1.0.0"


def test_a_pe_turned_on_during_the_rendezvous_is_waited_for(rig, image):
    rig.monitor.smc(Psci.CPU_OFF, [], 3)
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.arrive("RMM", 0)
    rig.monitor.smc(Psci.CPU_ON, [mpidr_of(3), 0, 0], 1)
    assert [rig.arrive("RMM", pe) for pe in (1, 2)] == [(), ()]
    assert rig.arrive("RMM", 3)[0] == 0


def test_cancel_during_the_rendezvous_lets_every_pe_out_without_activating(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    for pe in (0, 1):
        rig.arrive("RMM", pe)
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"], pe=2) is LfaStatus.SUCCESS
    assert {pe: signed(answer[0]) for pe, answer in rig.monitor.collect().items()} == {0: -11, 1: -11}
    assert rig.state.now.activation.state is LfaState.IDLE
    assert rig.monitor.versions["RMM"] == "1.0.0"
    assert rig.inventory("RMM")[3] & InventoryFlags.PENDING


def test_while_pes_gather_the_agent_is_busy_for_prime_and_skip_and_knows_no_other_component(rig, image):
    rig.primed("SP1", image("SP1", "1.1.0"))
    rig.offer("RMM", image("RMM", "1.1.0"))
    rig.arrive("SP1", 0)
    assert [rig.lfa(Lfa.PRIME, rig.ids[name], pe=1) for name in ("SP1", "RMM")] == [LfaStatus.BUSY] * 2
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["SP1"], SKIP, pe=1) is LfaStatus.BUSY
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"], pe=1) is LfaStatus.INVALID_PARAMETERS
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"], pe=1) is LfaStatus.INVALID_PARAMETERS
    assert rig.monitor.held == (0,)


def test_a_partition_takes_two_rounds_and_cannot_be_cancelled_between_them(rig, image):
    rig.primed("SP1", image("SP1", "1.1.0"))
    assert set(rig.activate("SP1").values()) == {(LfaStatus.SUCCESS, 1)}
    assert rig.monitor.versions["SP1"] == "1.0.0"
    assert rig.lfa(Lfa.CANCEL, rig.ids["SP1"]) is LfaStatus.BUSY
    assert rig.prime("SP1") is LfaStatus.BUSY
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["SP1"], SKIP) is LfaStatus.BUSY
    assert set(rig.activate("SP1").values()) == {DONE}
    assert rig.monitor.versions["SP1"] == "1.1.0"


# -- skipping it ------------------------------------------------------------------------------------------------------


def test_skip_is_refused_where_the_rendezvous_is_required(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"], SKIP) is LfaStatus.INVALID_PARAMETERS
    assert rig.state.now.activation.state is LfaState.COMPLETE


def test_one_pe_activates_alone_with_skip_and_keeps_everyone_else_out(rig, image):
    rig.primed("SP1", image("SP1", "1.1.0"))
    assert rig.arrive("SP1", 2, SKIP)[:2] == (0, 1)
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["SP1"], pe=0) is LfaStatus.BUSY
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"], pe=0) is LfaStatus.BUSY
    assert rig.lfa(Lfa.CANCEL, rig.ids["SP1"]) is LfaStatus.BUSY
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.INVALID_PARAMETERS
    assert rig.lfa(Lfa.PRIME, rig.ids["SP1"]) is LfaStatus.BUSY
    assert rig.arrive("SP1", 2, SKIP)[:2] == (0, 0)
    assert rig.monitor.versions["SP1"] == "1.1.0"


# -- the entry point --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry_point", [0, 0x8000_1002, 0x8000_2000])
def test_a_component_that_may_reset_pes_wants_a_usable_entry_point(rig, image, entry_point):
    assert rig.services.delegate(0x8000_2000) == 0
    rig.primed("BL31", image("BL31", "1.1.0"))
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["BL31"], 0, entry_point) is LfaStatus.INVALID_ADDRESS
    assert rig.monitor.held == ()
    assert set(rig.activate("BL31").values()) == {DONE}


# -- success ----------------------------------------------------------------------------------------------------------


def test_success_switches_version_measurement_key_and_token_and_raises_the_counter(rig, image):
    before = rig.state.now.launch
    new = image("RMM", "1.1.0", security_version=3)
    rig.primed("RMM", new)
    assert set(rig.activate("RMM").values()) == {DONE}
    launch = rig.state.now.launch
    digest = hashlib.sha256(b"RMM 1.1.0").digest()
    assert launch.running["RMM"].version == "1.1.0"
    assert launch.slots[14].register == hashlib.sha256(before.slots[14].register + digest).digest()
    assert {slot: launch.slots[slot] for slot in launch.slots if slot != 14} == {
        slot: before.slots[slot] for slot in before.slots if slot != 14
    }
    assert launch.log[:-1] == before.log
    assert launch.rak != before.rak
    assert launch.platform_token != before.platform_token
    assert launch.rmm_sequence == 2
    assert rig.state.nonvolatile.counters["RMM"] == 3
    assert not rig.inventory("RMM")[3] & InventoryFlags.PENDING
    assert rig.prime("RMM") is LfaStatus.WRONG_STATE


def test_the_new_rmm_is_entered_once_and_finds_its_own_key_and_token(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.activate("RMM")
    launch = rig.state.now.launch
    assert rig.rmm.entries[1:] == [(2, launch.rak, launch.platform_token)]


def test_another_component_leaves_the_rmm_its_key_and_gives_a_new_token(rig, image):
    before = rig.state.now.launch
    rig.primed("BL31", image("BL31", "1.1.0"))
    rig.activate("BL31")
    after = rig.state.now.launch
    assert (after.rak, after.rmm_sequence, len(rig.rmm.entries)) == (before.rak, 1, 1)
    assert after.platform_token != before.platform_token


def test_an_image_of_the_same_counter_can_be_activated_back(rig, image, spec):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.activate("RMM")
    rig.primed("RMM", spec.firmware["RMM"])
    assert set(rig.activate("RMM").values()) == {DONE}
    assert (rig.monitor.versions["RMM"], rig.state.now.launch.rmm_sequence) == ("1.0.0", 3)


def test_after_a_fix_the_vulnerable_image_cannot_come_back(rig, image, spec):
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.activate("RMM")
    rig.offer("RMM", spec.firmware["RMM"])
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR


# -- failure ----------------------------------------------------------------------------------------------------------


def assert_as_before(rig, before):
    assert rig.state.now.launch == before
    assert rig.inventory("RMM")[3] & InventoryFlags.PENDING
    assert rig.state.nonvolatile.counters["RMM"] == 1


def test_a_refusal_of_the_platform_comes_before_anything_is_given_up_and_once(rig, image):
    before = rig.state.now.launch
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.state.fail_next_activation = True
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.ACTIVATION_FAILED
    assert rig.state.now.activation.state is LfaState.COMPLETE
    assert rig.monitor.held == ()
    assert_as_before(rig, before)
    assert set(rig.activate("RMM").values()) == {DONE}


@pytest.mark.parametrize("how", ["panics when entered", "refuses the state of the old one"])
def test_an_rmm_that_fails_in_its_first_instructions_is_lost_until_a_cold_reset(rig, image, how):
    before = rig.state.now.launch
    payload = PANICS_AT_ACTIVATION + b"RMM 1.1.0" if how == "panics when entered" else None
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2, payload=payload))
    rig.rmm.handover_status = BootStatus.MANIFEST_DATA
    assert rig.activate("RMM") == dict.fromkeys(range(4), FAILED)
    assert_as_before(rig, before)
    assert (rig.rmm.failures, rig.state.now.activation.state) == (1, LfaState.IDLE)
    assert rig.monitor.smc(Rmi.VERSION)[0] == NOT_SUPPORTED
    rig.reset()
    assert rig.monitor.smc(Rmi.VERSION)[0] == 0
    assert rig.monitor.versions["RMM"] == "1.0.0"


@pytest.mark.parametrize("how", ["stopped by EL3", "stopped by itself"])
def test_there_is_nothing_to_take_over_from_an_rmm_that_is_lost(rig, image, how):
    if how == "stopped by EL3":
        rig.monitor.fail_rmm()
    else:
        rig.rmm.panicked = True
    assert not rig.monitor.rmm_alive
    rig.primed("RMM", image("RMM", "1.1.0"))
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.ACTIVATION_FAILED
    assert rig.lfa(Lfa.CANCEL, rig.ids["RMM"]) is LfaStatus.SUCCESS


def test_a_bl31_that_crashes_breaks_the_machine(rig, image):
    rig.primed("BL31", image("BL31", "1.1.0", payload=PANICS_AT_ACTIVATION))
    assert rig.activate("BL31") == dict.fromkeys(range(4), (LfaStatus.CRITICAL_ERROR, 0))
    assert rig.lfa(Lfa.VERSION) is LfaStatus.CRITICAL_ERROR
    assert rig.monitor.smc(Rmi.VERSION)[0] == NOT_SUPPORTED
    rig.reset()
    assert rig.monitor.versions["BL31"] == "1.0.0"


def test_a_partition_that_crashes_leaves_the_old_instance_running(rig, image):
    rig.primed("SP1", image("SP1", "1.1.0", payload=PANICS_AT_ACTIVATION))
    rig.activate("SP1")
    assert set(rig.activate("SP1").values()) == {FAILED}
    assert rig.monitor.versions["SP1"] == "1.0.0"
    assert rig.monitor.smc(Rmi.VERSION)[0] == 0


# -- what is primed is what is activated ------------------------------------------------------------------------------


def test_other_bytes_than_the_primed_ones_are_not_activated(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.monitor.stage("RMM", image("RMM", "1.2.0"))
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.COMPONENT_WRONG_STATE
    assert rig.prime("RMM") is LfaStatus.SUCCESS
    rig.activate("RMM")
    assert rig.monitor.versions["RMM"] == "1.2.0"


def test_bytes_exchanged_while_pes_gather_are_not_activated(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    for pe in (0, 1, 2):
        rig.arrive("RMM", pe)
    rig.monitor.stage("RMM", image("RMM", "1.2.0"))
    assert signed(rig.arrive("RMM", 3)[0]) == LfaStatus.ACTIVATION_FAILED
    assert (rig.monitor.versions["RMM"], rig.rmm.failures) == ("1.0.0", 0)


def test_priming_again_a_bad_image_gives_up_the_good_one(rig, image, stranger):
    rig.primed("RMM", image("RMM", "1.1.0"))
    rig.offer("RMM", image("RMM", "1.2.0", key=stranger))
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR
    assert rig.lfa(Lfa.ACTIVATE, rig.ids["RMM"]) is LfaStatus.COMPONENT_WRONG_STATE


# -- commit -----------------------------------------------------------------------------------------------------------


def test_an_activation_is_committed_at_once_and_survives_a_power_cut(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.activate("RMM")
    assert rig.state.nonvolatile.staged == {}
    rig.reset()
    assert rig.monitor.versions["RMM"] == "1.1.0"
    assert rig.state.now.launch.rmm_sequence == 1


def test_a_power_cut_before_the_commit_boots_the_old_firmware_with_the_image_still_staged(rig, image):
    rig.state.hold_commits = True
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.activate("RMM")
    assert rig.monitor.versions["RMM"] == "1.1.0"
    rig.reset()
    assert rig.monitor.versions["RMM"] == "1.0.0"
    assert rig.state.nonvolatile.counters["RMM"] == 1
    assert rig.inventory("RMM")[3] & InventoryFlags.PENDING


def test_a_late_commit_raises_the_counter(rig, image):
    rig.state.hold_commits = True
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.activate("RMM")
    assert rig.monitor.commit() == ("RMM",)
    assert rig.monitor.commit() == ()
    rig.reset()
    assert (rig.monitor.versions["RMM"], rig.state.nonvolatile.counters["RMM"]) == ("1.1.0", 2)


def test_even_before_the_commit_the_running_counter_is_the_floor(rig, image, spec):
    rig.state.hold_commits = True
    rig.primed("RMM", image("RMM", "1.1.0", security_version=2))
    rig.activate("RMM")
    rig.offer("RMM", spec.firmware["RMM"])
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR


def test_power_loss_forgets_the_primed_component_and_keeps_the_staged_image(rig, image):
    new = image("RMM", "1.1.0")
    rig.primed("RMM", new)
    rig.reset()
    assert rig.state.now.activation.state is LfaState.IDLE
    assert rig.state.nonvolatile.staged == {"RMM": new}
    assert rig.prime("RMM") is LfaStatus.WRONG_STATE


def test_the_measured_digest_is_that_of_the_payload_inside_the_image(rig, image):
    new = image("RMM", "1.1.0")
    rig.primed("RMM", new)
    rig.activate("RMM")
    _, _, payload = firmware.read_manifest(new)
    assert rig.state.now.launch.slots[14].last.digest == hashlib.sha256(payload).digest()


# -- Realms that forbid it (DEN0137 2.0, A3.14) ------------------------------------------------------------------------


def test_while_a_realm_forbids_it_no_firmware_of_its_tcb_is_primed(rig, image):
    rig.rmm.disallowing = 1
    for component in ("RMM", "BL31"):
        rig.offer(component, image(component, "1.1.0"))
        assert rig.prime(component) is LfaStatus.WRONG_STATE
    assert rig.state.now.activation.state is LfaState.IDLE
    rig.rmm.disallowing = 0
    assert rig.prime("RMM") is LfaStatus.SUCCESS


def test_a_secure_partition_is_outside_the_tcb_of_realms(rig, image):
    rig.rmm.disallowing = 1
    rig.offer("SP1", image("SP1", "1.1.0"))
    assert rig.prime("SP1") is LfaStatus.SUCCESS


def test_a_realm_created_after_prime_wins_against_the_activation(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    before = rig.digest()
    rig.rmm.disallowing = 1
    assert rig.activate("RMM")[0] == (LfaStatus.WRONG_STATE, 0)
    assert rig.digest() == before
    rig.rmm.disallowing = 0
    assert set(rig.activate("RMM").values()) == {(LfaStatus.SUCCESS, 0)}


def test_a_realm_created_while_pes_gather_makes_the_leader_give_the_round_up(rig, image):
    rig.primed("RMM", image("RMM", "1.1.0"))
    assert rig.arrive("RMM", 0) == ()
    rig.rmm.disallowing = 1
    answers = [rig.arrive("RMM", pe) for pe in (1, 2, 3)]
    assert LfaStatus(signed(answers[-1][0])) is LfaStatus.ACTIVATION_FAILED
    assert {signed(answer[0]) for answer in rig.monitor.collect().values()} == {LfaStatus.ACTIVATION_FAILED}
    assert rig.monitor.versions["RMM"] == "1.0.0"
    assert rig.monitor.rmm_alive
