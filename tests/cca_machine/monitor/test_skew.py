"""EL3 and the host keep firmware apart that does not work together: at PRIME, in the other slot, and at a cold boot."""

from __future__ import annotations

from typing import Any

import pytest

from attestation import firmware
from cca_machine.abi.lfa import LfaStatus
from cca_machine.monitor.boot import BootRefused


@pytest.fixture
def needing(vendor: Any) -> Any:
    def make(component: str, version: str, **needs: str) -> bytes:
        manifest = firmware.FirmwareManifest(component=component, version=version, security_version=1, needs=needs)
        return firmware.build(manifest, f"{component} {version}".encode(), vendor)

    return make


def test_an_rmm_that_needs_a_newer_bl31_is_primed_only_once_that_runs(rig: Any, image: Any, needing: Any) -> None:
    rig.offer("RMM", needing("RMM", "1.1.0", BL31="1.1.0"))
    assert rig.prime("RMM") is LfaStatus.DEVICE_ERROR
    assert rig.monitor.versions["RMM"] == "1.0.0"
    rig.lfa(0xC400_02E6, rig.ids["RMM"])
    rig.primed("BL31", image("BL31", "1.1.0"))
    assert rig.activate("BL31")[0][0] is LfaStatus.SUCCESS
    rig.offer("RMM", needing("RMM", "1.1.0", BL31="1.1.0"))
    assert rig.prime("RMM") is LfaStatus.SUCCESS


def test_a_component_that_another_needs_cannot_go_below_it(make_rig: Any, spec: Any, image: Any, needing: Any) -> None:
    rig = make_rig(
        firmware={**spec.firmware, "BL31": image("BL31", "1.2.0"), "RMM": needing("RMM", "1.0.0", BL31="1.2.0")}
    )
    rig.offer("BL31", image("BL31", "1.1.0"))
    assert rig.prime("BL31") is LfaStatus.DEVICE_ERROR


def test_the_other_slot_refuses_what_would_not_boot_and_takes_the_pair(rig: Any, image: Any, needing: Any) -> None:
    wanting = needing("RMM", "1.1.0", BL31="1.1.0")
    assert "needs BL31 1.1.0" in rig.monitor.stage_for_boot("RMM", wanting)
    assert rig.state.nonvolatile.trial == {}
    assert rig.monitor.stage_for_boot("BL31", image("BL31", "1.1.0")) == ""
    assert rig.monitor.stage_for_boot("RMM", wanting) == ""
    rig.reset()
    assert rig.monitor.versions["RMM"] == "1.1.0"


def test_a_factory_set_that_does_not_work_together_does_not_boot(make_rig: Any, spec: Any, needing: Any) -> None:
    rig = make_rig(firmware={**spec.firmware, "RMM": needing("RMM", "1.0.0", BL31="2.0.0")}, boot=False)
    with pytest.raises(BootRefused, match="do not work together"):
        rig.monitor.boot()


def test_what_it_needs_of_the_host_is_not_el3s_question(rig: Any, needing: Any) -> None:
    rig.offer("RMM", needing("RMM", "1.1.0", host="9.0.0"))
    assert rig.prime("RMM") is LfaStatus.SUCCESS
