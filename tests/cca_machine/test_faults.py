"""What chaos does to a machine, and that the trace tells it as it was."""

from __future__ import annotations

from typing import Any

from attestation.errors import Refused, Stale, Untrusted
from attestation.kbs.messages import Attestation
from attestation.stores import TrustAnchor, TrustAnchors
from attestation.verify import verify
from cca_machine import commands as c
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.machine import Machine
from cca_machine.monitor.platform_token import platform_identity

MS, S = 1_000_000, 1_000_000_000
K = c.FaultKind


def judged(world: Any, evidence: bytes, machine: str = "m") -> type[Refused] | None:
    """How a verifier refuses the evidence; None when it holds."""
    spec = world.machines[machine].spec
    identity = platform_identity(spec.seed)
    anchors = TrustAnchors([TrustAnchor(identity.instance_id, spec.implementation_id, identity.cpak.public)])
    message = Attestation(evidence)
    try:
        verify(message.token, anchors, message.challenge)
    except Refused as refusal:
        return type(refusal)
    return None


def test_power_loss_takes_everything_and_power_brings_a_cold_boot(world: Any, kit: Any) -> None:
    world.serve()
    first = world.bodies(c.Booted)[0]
    world.order("m", c.Inject(K.POWER_LOSS))
    world.run(S)
    lost_ns = world.now_ns - S
    assert [(at, record.realms) for at, record in world.told(c.MachineLost)] == [(lost_ns, (("r", 1),))]
    world.order("m", c.RenewLeases((("r", 1),), world.now_ns + S))
    world.run(S)
    assert world.bodies(c.Heartbeat) == []
    world.order("m", c.Heal(K.POWER_LOSS))
    healed_ns = world.now_ns
    world.run(600 * S)
    timing = world.machines["m"].spec.timing
    boot_ns = sum(timing[name] for name in ("boot.post", "boot.host-os", "boot.rmm", "boot.platform-token"))
    assert [at for at, record in world.told(c.MachineBooted)][1] == healed_ns + boot_ns
    second = world.bodies(c.Booted)[1]
    assert (first.boot, second.boot) == (1, 2)
    assert first.rak != second.rak
    heartbeat = world.do("m", c.RenewLeases((), world.now_ns + S))
    assert heartbeat.realms == ()
    assert isinstance(world.launch(), c.Launched)


def test_an_answer_on_its_way_dies_with_the_power(world: Any, kit: Any) -> None:
    number = world.order("m", c.Launch(kit.realm_spec(), kit.NONCE, 99 * S))
    world.run(100 * MS)
    world.order("m", c.Inject(K.POWER_LOSS))
    world.run(10 * S)
    assert world.answer(number) is None
    assert world.told(c.RealmLive) == []
    assert world.told(c.MachineLost)[0][1].realms == ()


def test_a_frozen_machine_executes_nothing_and_a_thawed_one_goes_on(world: Any, kit: Any) -> None:
    world.serve()
    world.order("m", c.Inject(K.FREEZE))
    frozen_ns = world.now_ns
    number = world.order("m", c.Attest("r", 1, kit.NONCE))
    world.run(5 * S)
    assert world.answer(number) is None
    world.order("m", c.Heal(K.FREEZE))
    world.run(S)
    assert isinstance(world.answer(number), c.Attested)
    assert [(at, record.realms) for at, record in world.told(c.MachineThawed)] == [(frozen_ns + 5 * S, (("r", 1),))]
    serving_ns = next(at for at, record in world.told(c.RealmLive) if record.serving)
    world.do("m", c.Stop("r", 1))
    [(until_ns, still)] = world.told(c.RealmStill)
    assert still.served == 1000 * (until_ns - serving_ns - 5 * S) // S


def test_a_lease_that_ends_in_a_freeze_keeps_the_realm_still_after_it(world: Any) -> None:
    world.serve(lease_ns=20 * S)
    lease_ns = world.now_ns - 3 * S + 20 * S
    world.order("m", c.Inject(K.FREEZE))
    world.run(60 * S)
    world.order("m", c.Heal(K.FREEZE))
    world.run(S)
    assert [record.why for _, record in world.told(c.RealmStill)] == ["lease-ended"]
    assert world.told(c.MachineThawed)[0][1].realms == ()
    assert all(until is not None and until <= lease_ns for *_, until in world.lives())
    heartbeat = world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 9 * S))
    assert [status.state for status in heartbeat.realms] == ["serving"]


def test_leases_end_after_a_freeze_as_they_did_before(world: Any) -> None:
    world.serve(lease_ns=20 * S)
    world.order("m", c.Inject(K.FREEZE))
    world.order("m", c.Heal(K.FREEZE), world.now_ns + 60 * S)
    world.run(70 * S)
    renewed_ns = world.now_ns
    world.do("m", c.RenewLeases((("r", 1),), renewed_ns + 9 * S))
    world.run(20 * S)
    assert world.told(c.RealmStill)[-1][0] == renewed_ns + 9 * S


def test_a_launch_that_comes_up_after_its_lease_never_runs(world: Any, kit: Any) -> None:
    world.order("m", c.Launch(kit.realm_spec(), kit.NONCE, world.now_ns + 10 * MS))
    world.run(2 * S)
    assert len(world.told(c.RealmBuilt)) == 1
    assert world.told(c.RealmLive) == []
    heartbeat = world.do("m", c.RenewLeases((("r", 1),), world.now_ns + 9 * S))
    assert [status.state for status in heartbeat.realms] == ["attesting"]
    assert [record.why for _, record in world.told(c.RealmLive)] == ["lease-renewed"]


def test_a_dead_rmm_loses_its_realms_answers_unknown_and_is_cured_by_a_reset(world: Any, kit: Any) -> None:
    world.serve()
    world.order("m", c.Inject(K.RMM_PANIC))
    world.run(S)
    [(_, lost)] = world.told(c.MachineLost)
    assert (lost.why, lost.realms) == (K.RMM_PANIC, (("r", 1),))
    assert world.machines["m"].smc(Rmi.VERSION, (0x10000,))[0] == NOT_SUPPORTED
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).rmm_alive is False
    refused = world.launch(realm=kit.realm_spec("x"))
    assert refused.code == "RMI_GRANULE_DELEGATE: SMC_NOT_SUPPORTED"
    world.order("m", c.Heal(K.RMM_PANIC))
    world.run(600 * S)
    assert isinstance(world.launch(), c.Launched)


def test_an_rmm_that_dies_under_a_launch_leaves_no_realm_behind(world: Any, kit: Any) -> None:
    number = world.order("m", c.Launch(kit.realm_spec(), kit.NONCE, 99 * S))
    waiting = world.order("m", c.Stop("r", 1))
    world.run(50 * MS)
    world.order("m", c.Inject(K.RMM_PANIC))
    world.run(9 * S)
    assert world.answer(number) is None
    assert world.answer(waiting).code == "unknown-realm"
    assert world.told(c.RealmLive) == []


def test_a_tampering_host_is_found_out_by_the_signature(world: Any, kit: Any) -> None:
    good = world.launch()
    assert judged(world, good.evidence) is None
    world.order("m", c.Inject(K.TAMPERED_TOKEN))
    bad = world.do("m", c.Attest("r", 1, kit.NONCE))
    assert judged(world, bad.evidence) is Untrusted
    world.order("m", c.Heal(K.TAMPERED_TOKEN))
    assert judged(world, world.do("m", c.Attest("r", 1, kit.NONCE)).evidence) is None


def test_a_replaying_host_is_found_out_by_the_challenge(world: Any, kit: Any) -> None:
    first = world.launch()
    world.order("m", c.Inject(K.STALE_TOKEN))
    second = world.do("m", c.Attest("r", 1, "YW5vdGhlciBub25jZQ=="))
    assert Attestation(second.evidence).token == Attestation(first.evidence).token
    assert judged(world, second.evidence) is Stale
    [record_one, record_two] = [record for _, record in world.told(c.RealmEvidence)]
    assert record_one.sha256 != record_two.sha256


def test_a_fault_twice_is_a_fault_once_and_healing_nothing_does_nothing(world: Any) -> None:
    world.order("m", c.Heal(K.FREEZE))
    world.order("m", c.Inject(K.FREEZE))
    world.order("m", c.Inject(K.FREEZE))
    world.order("m", c.Heal(K.FREEZE), world.now_ns + S)
    world.run(2 * S)
    assert len(world.told(c.MachineFrozen)) == 1
    assert len(world.told(c.MachineThawed)) == 1


def test_power_lost_while_frozen_is_lost_all_the_same(world: Any) -> None:
    world.serve()
    world.order("m", c.Inject(K.FREEZE))
    world.order("m", c.Inject(K.POWER_LOSS), world.now_ns + S)
    world.order("m", c.Heal(K.POWER_LOSS), world.now_ns + 2 * S)
    world.order("m", c.Heal(K.FREEZE), world.now_ns + 900 * S)
    frozen_until = world.now_ns + 900 * S
    world.run(1000 * S)
    assert [at for at, _ in world.told(c.MachineBooted)][1:] == [frozen_until]
    assert all(until is not None for *_, until in world.lives())


def test_power_lost_during_a_boot_begins_it_anew(kit: Any) -> None:
    world = kit.World()
    machine = world.machines["m"] = Machine(kit.machine_spec("m"))
    machine.submit(c.Inject(K.POWER_LOSS), 10 * MS, 0, "chaos", 1)
    machine.submit(c.Heal(K.POWER_LOSS), 20 * MS, 0, "chaos", 2)
    booted = [traced.at_ns for traced in machine.run_until(600 * S).records if isinstance(traced.what, c.MachineBooted)]
    assert len(booted) == 1
    assert booted[0] > machine.spec.timing["boot.post"]
