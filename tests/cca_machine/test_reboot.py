"""A reboot by order: Realms are stopped first, the other slot is tried once, and what fails is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from attestation.keys import derive_key
from cca_machine import commands as c
from cca_machine.monitor.image import PANICS_AT_BOOT

S = 1_000_000_000
BOOT = 400 * S


def staged(world: Any, kit: Any, **fields: Any) -> Any:
    image = kit.firmware_image("RMM", "1.1.0", **{"security_version": 2, **fields})
    return world.do("m", c.StageFirmware(image), 5 * S)


def reboot(world: Any, boot: int = 1) -> Any:
    answer = world.do("m", c.Reboot(boot), 5 * S)
    world.run(2 * BOOT)
    return answer


def test_the_staged_image_runs_after_the_reboot_and_its_counter_is_burnt(world: Any, kit: Any) -> None:
    assert staged(world, kit) == c.Staged("RMM", "1.1.0")
    assert reboot(world) == c.Rebooting(1)
    booted = world.bodies(c.Booted)[-1]
    assert (booted.boot, booted.versions["RMM"]) == (2, "1.1.0")
    [(_, record)] = world.told(c.FirmwareBooted)
    assert (record.component, record.version, record.security_version) == ("RMM", "1.1.0", 2)
    old = world.do("m", c.StageFirmware(kit.firmware_image("RMM", "1.0.0", security_version=1)), 5 * S)
    assert old.code == "stage: AUTH_ERROR"
    assert "below the stored 2" in old.why


def test_realms_are_stopped_by_rmi_before_the_machine_goes_down(world: Any, kit: Any) -> None:
    world.serve()
    staged(world, kit)
    reboot(world)
    [(still_ns, still)] = world.told(c.RealmStill)
    [(gone_ns, _)] = world.told(c.RealmDestroyed)
    [(down_ns, _)] = world.told(c.MachineRebooting)
    assert (still.why, still_ns <= gone_ns <= down_ns) == ("reboot", True)
    assert world.told(c.MachineLost) == []


def test_without_anything_staged_a_reboot_brings_the_same_firmware(world: Any) -> None:
    reboot(world)
    assert world.bodies(c.Booted)[-1].versions["RMM"] == "1.0.0"
    assert world.told(c.FirmwareBooted) == []


def test_an_unhealthy_image_costs_one_more_boot_and_the_old_one_runs_again(world: Any, kit: Any) -> None:
    assert staged(world, kit, head=PANICS_AT_BOOT) == c.Staged("RMM", "1.1.0")
    reboot(world)
    world.run(BOOT)
    booted = world.bodies(c.Booted)[-1]
    assert (booted.boot, booted.versions["RMM"]) == (3, "1.0.0")
    [(_, refused)] = world.told(c.FirmwareRefused)
    assert (refused.component, refused.step, refused.status) == ("RMM", "boot", "BOOT_REVERTED")
    assert staged(world, kit, security_version=1) == c.Staged("RMM", "1.1.0"), "the counter was not burnt"


def test_a_late_copy_of_the_order_does_not_reboot_the_machine_again(world: Any) -> None:
    reboot(world)
    refused = world.do("m", c.Reboot(1), 5 * S)
    assert refused.code == "stale-order"
    assert len(world.told(c.MachineRebooting)) == 1


def test_what_was_taken_back_is_not_booted(world: Any, kit: Any) -> None:
    staged(world, kit)
    world.order("m", c.UnstageFirmware("RMM"))
    world.run(S)
    reboot(world)
    assert world.bodies(c.Booted)[-1].versions["RMM"] == "1.0.0"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"key": derive_key(b"somebody else's seed, 32 bytes..", "vendor")}, "is not trusted"),
        ({"security_version": 0}, "below the stored 1"),
    ],
)
def test_what_the_next_boot_would_refuse_is_refused_when_it_is_staged(
    world: Any, kit: Any, fields: dict[str, Any], why: str
) -> None:
    refused = staged(world, kit, **fields)
    assert (refused.code, why in refused.why) == ("stage: AUTH_ERROR", True)
    reboot(world)
    assert world.bodies(c.Booted)[-1].versions["RMM"] == "1.0.0"


def test_a_truncated_image_is_refused_as_malformed(world: Any, kit: Any) -> None:
    image = kit.firmware_image("RMM", "1.1.0", security_version=2)
    assert world.do("m", c.StageFirmware(image[:-3]), 5 * S).code == "malformed-image"


def test_an_image_for_a_component_that_the_machine_lacks_is_refused(world: Any, kit: Any) -> None:
    refused = world.do("m", c.StageFirmware(kit.firmware_image("SP1", "1.1.0")), 5 * S)
    assert (refused.code, "no such component" in refused.why) == ("stage: AUTH_ERROR", True)


def test_power_that_fails_on_the_way_leaves_old_or_new_and_never_nothing(world: Any, kit: Any) -> None:
    staged(world, kit)
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run(BOOT)
    assert world.bodies(c.Booted)[-1].versions["RMM"] == "1.1.0"
