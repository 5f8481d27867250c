from __future__ import annotations

import hashlib

import msgspec
import pytest

from cca_machine.abi.rmi import Rmi
from cca_machine.abi.rmm_el3 import BootStatus
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.monitor.boot import BootRefused
from cca_machine.monitor.measurement import SlotRefused, extend, replay
from cca_machine.monitor.state import EventCause, MeasurementEvent, MeasurementSlot, MonitorState, PoweredOff


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_every_component_is_measured_into_its_own_slot_in_boot_order(rig):
    launch = rig.state.now.launch
    assert [(event.component, event.slot) for event in launch.log] == [
        ("HES", 2), ("BL2", 10), ("BL31", 11), ("SP1", 15), ("RMM", 14),
    ]  # fmt: skip
    assert launch.slots[14].register == sha256(bytes(32) + sha256(b"RMM 1.0.0"))
    assert launch.slots[10].register == sha256(bytes(32) + sha256(b"BL2 1.0.0"))


def test_the_event_log_replays_to_the_registers(rig):
    launch = rig.state.now.launch
    assert replay(launch.log) == {slot: one.register for slot, one in launch.slots.items()}


def test_two_boots_of_the_same_firmware_measure_the_same_and_have_different_keys(rig):
    first = rig.state.now.launch
    rig.reset()
    second = rig.state.now.launch
    assert second.slots == first.slots
    assert second.rak != first.rak
    assert rig.state.nonvolatile.boots == 2


def test_two_machines_of_one_spec_are_byte_for_byte_equal(make_rig):
    one, other = make_rig(), make_rig()
    assert msgspec.msgpack.encode(one.state) == msgspec.msgpack.encode(other.state)


def test_a_snapshot_of_the_state_round_trips(rig):
    data = msgspec.msgpack.encode(rig.state)
    assert msgspec.msgpack.decode(data, type=MonitorState) == rig.state


@pytest.mark.parametrize("component", ["HES", "BL2", "BL31", "RMM"])
def test_nothing_boots_that_no_accepted_signer_signed(make_rig, spec, image, stranger, component):
    rig = make_rig(firmware={**spec.firmware, component: image(component, key=stranger)}, boot=False)
    with pytest.raises(BootRefused, match=f"{component}: firmware signer .* is not trusted"):
        rig.monitor.boot()
    assert rig.state.volatile is None
    assert rig.rmm.entries == []


def test_a_changed_payload_does_not_boot(make_rig, spec):
    tampered = bytearray(spec.firmware["RMM"])
    tampered[-1] ^= 1
    rig = make_rig(firmware={**spec.firmware, "RMM": bytes(tampered)}, boot=False)
    with pytest.raises(BootRefused, match="not the one that was signed"):
        rig.monitor.boot()


def test_an_image_signed_for_another_component_does_not_boot(make_rig, spec, image):
    rig = make_rig(firmware={**spec.firmware, "RMM": image("BL31")}, boot=False)
    with pytest.raises(BootRefused, match="RMM: the image is for BL31"):
        rig.monitor.boot()


def test_firmware_below_the_stored_counter_does_not_boot(rig):
    rig.state.nonvolatile.counters["BL31"] = 2
    rig.monitor.power_loss()
    with pytest.raises(BootRefused, match="BL31: security version 1 is below the stored 2"):
        rig.monitor.boot()


def test_booting_raises_the_stored_counters_to_what_runs(make_rig, spec, image):
    rig = make_rig(firmware={**spec.firmware, "RMM": image("RMM", security_version=5)})
    assert rig.state.nonvolatile.counters == {"HES": 1, "BL2": 1, "BL31": 1, "SP1": 1, "RMM": 5}


@pytest.mark.parametrize(
    ("firmware", "why"), [({"RMM": b""}, "BL31: there is no image"), ({"UEFI": b""}, "UEFI: no such component")]
)
def test_a_machine_without_its_firmware_says_what_is_missing(make_rig, firmware, why):
    with pytest.raises(BootRefused, match=why):
        make_rig(firmware=firmware)


def test_a_machine_of_two_components_boots(make_rig, spec):
    rig = make_rig(firmware={name: spec.firmware[name] for name in ("RMM", "BL31")})
    assert rig.monitor.versions == {"BL31": "1.0.0", "RMM": "1.0.0"}


def test_an_rmm_that_does_not_come_up_leaves_a_plain_server(make_rig):
    rig = make_rig(boot=False)
    rig.rmm.boot_status = BootStatus.MANIFEST_DATA
    rig.monitor.boot()
    assert rig.rmm.failures == 1
    assert rig.monitor.smc(Rmi.VERSION)[0] == NOT_SUPPORTED
    assert rig.monitor.smc_run(Rmi.GRANULE_DELEGATE, [0], [4096], 3) == (0, (NOT_SUPPORTED, *(0,) * 7))
    assert rig.rmm.calls == []
    assert rig.monitor.smc(0x8400_0000)[0] == 0x1_0001


def test_a_machine_without_power_executes_nothing(rig):
    rig.monitor.power_loss()
    with pytest.raises(PoweredOff):
        rig.monitor.smc(Rmi.VERSION)
    with pytest.raises(PoweredOff):
        rig.services.realm_key()


def event(digest: bytes, signer: bytes = b"vendor") -> MeasurementEvent:
    return MeasurementEvent(
        cause=EventCause.BOOT, component="RMM", slot=14, digest=digest, signer=signer, version="1", security_version=1
    )


def test_a_register_only_extends():
    once = extend({}, event(b"a" * 32))
    twice = extend(once, event(b"b" * 32))
    assert twice[14].register == sha256(sha256(bytes(32) + b"a" * 32) + b"b" * 32)
    assert isinstance(once[14], MeasurementSlot)
    with pytest.raises(AttributeError):
        once[14].register = bytes(32)


def test_a_slot_never_mixes_signers():
    slots = extend({}, event(b"a" * 32))
    with pytest.raises(SlotRefused):
        extend(slots, event(b"b" * 32, signer=b"owner"))
