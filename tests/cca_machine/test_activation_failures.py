"""What goes wrong around a live activation: each failure has its outcome, and what ran before it runs on or boots."""

from __future__ import annotations

from typing import Any

import pytest

from cca_machine import commands as c
from cca_machine.abi.rmi2 import LFA_ALLOW, LFA_POLICY_SHIFT
from cca_machine.costs import reference_timing
from cca_machine.rmm.features import EDITION_2_0, RmmFeatures
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.state import AttestationOperation

S = 1_000_000_000
COLD_BOOT_S = 310


def primed(world: Any, kit: Any, **fields: Any) -> Any:
    return world.do("m", c.Prime(kit.firmware_image("RMM", "1.1.0", **{"security_version": 2, **fields})), 5 * S)


def boots(world: Any) -> list[tuple[int, str]]:
    return [(booted.boot, booted.versions["RMM"]) for booted in world.bodies(c.Booted)]


def test_a_pe_that_never_arrives_hangs_the_machine_until_its_watchdog_boots_the_old_firmware(
    world: Any, kit: Any
) -> None:
    world.serve()
    primed(world, kit)
    world.order("m", c.Inject(c.FaultKind.PE_ABSENT))
    begun_ns = world.now_ns
    assert world.do("m", c.Activate("RMM"), 5 * S) is None
    assert world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 99 * S)) is None
    [(hung_ns, hung)] = world.told(c.MachineHung)
    assert (hung.component, hung.absent) == ("RMM", 7)
    assert hung_ns - begun_ns < S
    world.order("m", c.Heal(c.FaultKind.PE_ABSENT))
    world.run((10 + COLD_BOOT_S) * S)
    [(lost_ns, lost)] = world.told(c.MachineLost)
    assert (lost_ns - hung_ns, lost.why, lost.realms) == (10 * S, c.FaultKind.PE_ABSENT, (("r", 1),))
    assert boots(world) == [(1, "1.0.0"), (2, "1.0.0")]
    assert world.lives()[-1][-1] is not None
    primed(world, kit)
    assert isinstance(world.do("m", c.Activate("RMM")), c.Activated)


@pytest.mark.parametrize(("late_s", "hangs"), [(0, False), (1, False), (9, False), (10, True), (11, True)])
def test_a_late_pe_costs_a_pause_as_long_as_it_is_late_unless_the_budget_runs_out_first(
    kit: Any, late_s: int, hangs: bool
) -> None:
    world = kit.World("m", timing={**reference_timing(), "lfa.gather": late_s * S})
    primed(world, kit)
    activated = world.do("m", c.Activate("RMM"), 12 * S)
    assert bool(world.told(c.MachineHung)) is hangs
    if hangs:
        assert activated is None
    else:
        assert late_s * S <= activated.pause_ns < (late_s + 1) * S


def test_a_machine_that_hangs_may_lose_its_power_too(world: Any, kit: Any) -> None:
    primed(world, kit)
    world.order("m", c.Inject(c.FaultKind.PE_ABSENT))
    world.do("m", c.Activate("RMM"))
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run((20 + COLD_BOOT_S) * S)
    assert boots(world) == [(1, "1.0.0"), (2, "1.0.0")]


def test_a_prime_that_takes_longer_than_the_drivers_budget_is_cancelled_and_changes_nothing(kit: Any) -> None:
    world = kit.World("m", timing={**reference_timing(), "lfa.prime": 31 * S})
    refused = world.do("m", c.Prime(kit.firmware_image("RMM", "1.1.0")), 40 * S)
    assert refused.code == "LFA_PRIME: TIMEOUT"
    assert world.do("m", c.Activate("RMM")).code == "LFA_ACTIVATE: INVALID_PARAMETERS"
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).versions["RMM"] == "1.0.0"


def test_power_that_fails_between_prime_and_activate_boots_the_old_firmware_with_nothing_primed(
    world: Any, kit: Any
) -> None:
    primed(world, kit)
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run((5 + COLD_BOOT_S) * S)
    assert boots(world) == [(1, "1.0.0"), (2, "1.0.0")]
    assert world.do("m", c.Activate("RMM")).code == "LFA_ACTIVATE: INVALID_PARAMETERS"


@pytest.mark.parametrize("defect", ["panics-later", "leaks-memory"])
def test_an_rmm_with_a_late_defect_serves_for_a_while_and_takes_its_realms_with_it(
    world: Any, kit: Any, defect: str
) -> None:
    world.serve()
    primed(world, kit, head=f"defect: {defect} after {3600 * S} ns\n".encode())
    assert isinstance(world.do("m", c.Activate("RMM")), c.Activated)
    [(entered_ns, _)] = world.told(c.FirmwareActivated)
    world.run(3590 * S)
    assert world.told(c.MachineLost) == []
    world.run(20 * S)
    [(lost_ns, lost)] = world.told(c.MachineLost)
    assert 0 <= lost_ns - entered_ns - 3600 * S + S < S
    assert (lost.why, [realm for realm, _ in lost.realms]) == (c.FaultKind.RMM_PANIC, ["r"])
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).rmm_alive is False


def test_a_late_defect_begins_anew_with_each_boot_and_ends_with_the_image(world: Any, kit: Any) -> None:
    primed(world, kit, head=b"defect: panics-later after 600000000000 ns\n")
    world.do("m", c.Activate("RMM"))
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run((5 + COLD_BOOT_S) * S)
    assert world.told(c.MachineLost)[0][1].why is c.FaultKind.POWER_LOSS
    world.run(500 * S)
    world.do("m", c.Prime(kit.firmware_image("RMM", "1.2.0", security_version=2)), 5 * S)
    assert isinstance(world.do("m", c.Activate("RMM")), c.Activated)
    world.run(1200 * S)
    assert len(world.told(c.MachineLost)) == 1


def test_a_token_that_was_being_made_does_not_survive_the_activation(world: Any, kit: Any) -> None:
    """Claims captured by the old image, or a token of its key, never leave the new one (LFA-7 would be broken)."""
    world.serve()
    rmm = world.machines["m"]._on().slot.rmm
    rec = next(iter(rmm.state.recs.values()))
    rec.attestation = AttestationOperation(challenge=bytes(64), measurements=[bytes(64)] * 5)
    primed(world, kit)
    assert isinstance(world.do("m", c.Activate("RMM")), c.Activated)
    assert rec.attestation is None


@pytest.mark.parametrize(("policy", "disallowing"), [(0, 1), (LFA_ALLOW, 0), (2, 1), (3, 1)])
def test_only_a_realm_of_edition_2_0_that_says_allow_lets_its_firmware_be_exchanged(
    world: Any, kit: Any, policy: int, disallowing: int
) -> None:
    world.launch()
    one = world.machines["m"]._on().slot.rmm
    assert one.lfa_disallowing == 0
    later = Rmm(one.state, one.core.hardware, one.core.el3, one.guest, RmmFeatures(edition=EDITION_2_0))
    (realm,) = one.state.realms.values()
    realm.flags |= policy << LFA_POLICY_SHIFT
    assert later.lfa_disallowing == disallowing


def test_a_host_that_is_too_old_refuses_the_image_before_it_is_staged(world: Any, kit: Any) -> None:
    image = kit.firmware_image("RMM", "1.1.0", needs={"host": "1.0.1"})
    assert world.do("m", c.Prime(image), 5 * S).code == "host-too-old"
    assert world.do("m", c.StageFirmware(image)).code == "host-too-old"
    assert primed(world, kit, needs={"host": "1.0.0"}) == c.Primed("RMM", "1.1.0")
