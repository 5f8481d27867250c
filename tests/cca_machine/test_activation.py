"""Firmware that is replaced under running Realms."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from attestation.kbs.messages import Attestation
from attestation.keys import derive_key
from attestation.token import decode
from cca_machine import commands as c
from cca_machine.monitor.image import PANICS_AT_ACTIVATION

S = 1_000_000_000


def primed(world: Any, kit: Any, **fields: Any) -> Any:
    return world.do("m", c.Prime(kit.firmware_image("RMM", "1.1.0", **{"security_version": 2, **fields})), 5 * S)


def test_an_activation_pauses_realms_briefly_and_changes_what_vouches_for_them(world: Any, kit: Any) -> None:
    launched = world.launch()
    world.do("m", c.DeliverSecret("r", 1, kit.sealed(launched.evidence)))
    assert primed(world, kit) == c.Primed("RMM", "1.1.0")
    assert world.told(c.RealmStill) == []
    before = world.rak("m")
    activated = world.do("m", c.Activate("RMM"))
    assert isinstance(activated, c.Activated)
    assert activated.versions["RMM"] == "1.1.0"
    assert activated.rak != before
    [(paused_ns, still)] = world.told(c.RealmStill)
    (resumed_ns, live) = world.told(c.RealmLive)[-1]
    assert (still.why, live.why, live.serving) == ("activation", "activation", True)
    assert resumed_ns - paused_ns == activated.pause_ns
    assert 5_000_000 < activated.pause_ns < 6_000_000
    [(at_ns, record)] = world.told(c.FirmwareActivated)
    assert (at_ns, record.component, record.security_version) == (resumed_ns, "RMM", 2)
    again = world.do("m", c.Attest("r", 1, kit.NONCE))
    token, old = decode(Attestation(again.evidence).token), decode(Attestation(launched.evidence).token)
    assert token.realm.claims.public_key == activated.rak
    assert token.realm.claims.initial_measurement == old.realm.claims.initial_measurement
    assert token.realm.claims.extensible_measurements == old.realm.claims.extensible_measurements
    assert token.platform.claims.challenge == hashlib.sha256(activated.rak).digest()


def test_an_activated_image_is_what_boots_next(world: Any, kit: Any) -> None:
    primed(world, kit)
    world.do("m", c.Activate("RMM"))
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run(500 * S)
    assert world.bodies(c.Booted)[-1].versions["RMM"] == "1.1.0"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"key": derive_key(b"somebody else's seed, 32 bytes..", "vendor")}, "LFA_PRIME: AUTH_ERROR"),
        ({"security_version": 0}, "LFA_PRIME: AUTH_ERROR"),
        ({"data_format": 2}, "LFA_PRIME: DEVICE_ERROR"),
    ],
)
def test_an_image_that_must_not_run_is_refused_before_any_pause(
    world: Any, kit: Any, fields: dict[str, Any], code: str
) -> None:
    world.serve()
    refused = primed(world, kit, **fields)
    assert refused.code == code
    assert [record.status for _, record in world.told(c.FirmwareRefused)] == [code.split(": ")[1]]
    assert world.told(c.RealmStill) == []
    assert primed(world, kit) == c.Primed("RMM", "1.1.0")


def test_a_failing_activation_leaves_the_old_firmware_and_its_realms(world: Any, kit: Any) -> None:
    world.serve()
    primed(world, kit)
    before = world.rak("m")
    world.order("m", c.Inject(c.FaultKind.ACTIVATION_FAILURE))
    refused = world.do("m", c.Activate("RMM"))
    assert refused.code == "LFA_ACTIVATE: ACTIVATION_FAILED"
    assert world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 99 * S)).versions["RMM"] == "1.0.0"
    assert world.machines["m"]._on().truth.rak() == before
    assert world.lives()[-1][-1] is None
    world.order("m", c.Heal(c.FaultKind.ACTIVATION_FAILURE))
    assert isinstance(world.do("m", c.Activate("RMM")), c.Activated)


def test_an_image_that_panics_costs_the_machine_its_rmm_and_its_realms(world: Any, kit: Any) -> None:
    world.serve()
    primed(world, kit, head=PANICS_AT_ACTIVATION)
    refused = world.do("m", c.Activate("RMM"))
    assert refused.code == "LFA_ACTIVATE: ACTIVATION_FAILED"
    [(_, lost)] = world.told(c.MachineLost)
    assert (lost.why, lost.realms) == (c.FaultKind.RMM_PANIC, (("r", 1),))
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).rmm_alive is False


def test_a_cancelled_component_cannot_be_activated(world: Any, kit: Any) -> None:
    primed(world, kit)
    number = world.order("m", c.Cancel("RMM"))
    world.run(S)
    assert world.answer(number) is None
    assert world.do("m", c.Activate("RMM")).code == "LFA_ACTIVATE: INVALID_PARAMETERS"
    assert world.do("m", c.Cancel("RMM")).code == "LFA_CANCEL: INVALID_PARAMETERS"


def test_an_activation_waits_for_a_launch_and_holds_back_the_next(world: Any, kit: Any) -> None:
    primed(world, kit)
    launch = world.order("m", c.Launch(kit.realm_spec("a"), kit.NONCE, 999 * S))
    activate = world.order("m", c.Activate("RMM"))
    behind = world.order("m", c.Launch(kit.realm_spec("b"), kit.NONCE, 999 * S))
    world.run(9 * S)
    assert isinstance(world.answer(launch), c.Launched)
    activated = world.answer(activate)
    assert isinstance(activated, c.Activated)
    [built_a, built_b] = [at for at, _ in world.told(c.RealmBuilt)]
    [(at_ns, _)] = world.told(c.FirmwareActivated)
    assert built_a == at_ns - activated.pause_ns
    assert built_b > at_ns
    assert isinstance(world.answer(behind), c.Launched)


def test_a_realm_cannot_lose_its_lease_twice_over_an_activation(world: Any, kit: Any) -> None:
    begun_ns = world.now_ns
    world.serve(lease_ns=20 * S)
    primed(world, kit)
    world.order("m", c.Activate("RMM"), begun_ns + 20 * S - 1_000_000)
    world.run(30 * S)
    assert [record.why for _, record in world.told(c.RealmStill)] == ["activation"]
    assert all(until is not None and until <= begun_ns + 20 * S for *_, until in world.lives())
