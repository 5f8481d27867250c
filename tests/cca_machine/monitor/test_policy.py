"""EL3 under a signing policy: PRIME, the other boot slot and the cold boot refuse what the policy does not take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from attestation import firmware
from attestation.firmware_policy import Endorsing, SigningPolicy
from cca_machine.abi.lfa import LfaStatus
from cca_machine.monitor.boot import BootRefused

REVOKED = SigningPolicy(revoked_versions=(("RMM", "1.1.0"),))


def test_prime_and_the_boot_slot_refuse_a_revoked_version(make_rig: Callable[..., Any], image: Any) -> None:
    rig = make_rig(firmware_policy=REVOKED)
    revoked = image("RMM", "1.1.0", security_version=2)
    rig.offer("RMM", revoked)
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR
    assert "revoked" in rig.monitor.stage_for_boot("RMM", revoked)
    assert rig.state.nonvolatile.trial == {}
    assert rig.monitor.versions["RMM"] == "1.0.0"


def test_a_machine_whose_boot_firmware_has_too_few_signers_stays_off(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(boot=False, firmware_policy=SigningPolicy(general=Endorsing(threshold=2)))
    with pytest.raises(BootRefused, match="1 trusted signers, 2 are needed"):
        rig.monitor.boot()


def test_a_countersigned_image_is_primed_and_its_countersigners_are_kept(
    make_rig: Callable[..., Any], image: Any, owner: Any
) -> None:
    policy = SigningPolicy(components={"RMM": Endorsing(threshold=2)})
    images = {name: image(name) for name in ("HES", "BL2", "BL31", "SP1")}
    images["RMM"] = firmware.countersign(image("RMM"), owner)
    rig = make_rig(firmware_policy=policy, firmware=images)
    alone = image("RMM", "1.1.0", security_version=2)
    rig.offer("RMM", alone)
    assert rig.prime("RMM") is LfaStatus.AUTH_ERROR
    rig.primed("RMM", firmware.countersign(alone, owner))
    rig.activate("RMM")
    running = rig.state.now.launch.running["RMM"]
    assert (running.version, running.countersigners) == ("1.1.0", (firmware.signer_id(owner.public),))
