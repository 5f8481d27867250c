"""One host, two editions of the RMI: what a Realm's life looks like from outside is the same on both."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from attestation.kbs.messages import Attestation
from attestation.keys import PublicKey
from attestation.stores import TrustAnchor, TrustAnchors
from attestation.token import Wrapper, decode
from attestation.verify import verify
from cca_machine import commands as c
from cca_machine.hardware.encryption import EncryptionContexts
from cca_machine.hardware.gpt import World
from cca_machine.invariants import violations
from cca_machine.layout import plan
from cca_machine.monitor.platform_token import platform_identity
from orchestrator.realms.reference import expected_rim, rim_rule

S = 1_000_000_000
FIRST = {"edition": "1.0"}
SECOND: dict[str, Any] = {"edition": "2.0", "token_profile": "2024", "mecids": 3}
MACHINES: dict[str, dict[str, Any]] = {
    "1.0": FIRST,
    "2.0": SECOND,
    "2.0 as TF-RMM": {**SECOND, "quirks": "tf-rmm"},
    "2.0 with tokens of 2026": {**SECOND, "token_profile": "2026"},
}
TWO = {name: fields for name, fields in MACHINES.items() if name in ("1.0", "2.0")}

machines = pytest.mark.parametrize("fields", MACHINES.values(), ids=MACHINES)
editions = pytest.mark.parametrize("fields", TWO.values(), ids=TWO)


def state_of(world: Any, name: str = "m") -> Any:
    return world.machines[name]._state.running


@machines
def test_a_realm_serves_and_its_stop_brings_every_granule_back(kit: Any, fields: dict[str, Any]) -> None:
    world = kit.World("m", **fields)
    before, free = world.machines["m"].digest(), list(state_of(world).host.pool.runs)
    assert world.serve() == c.Serving("r", 1)
    running = state_of(world)
    assert violations(running.rmm, running.hardware) == []
    assert world.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)
    assert running.host.pool.runs == free
    assert list(running.rmm.granules.runs()) == []
    assert (running.rmm.realms, running.rmm.operations) == ({}, {})
    running.host.first_tokens.clear()
    running.rmm.realms_created = 0
    if running.hardware.memory.contexts is not None:
        assert running.hardware.memory.contexts.runs == []
        running.hardware.memory.contexts = EncryptionContexts()  # keys are never what they were
    assert world.machines["m"].digest() == before


@machines
def test_the_verifier_takes_the_token_and_the_rim_is_that_of_the_independent_calculator(
    kit: Any, fields: dict[str, Any]
) -> None:
    world = kit.World("m", **fields)
    launched = world.launch()
    spec, machine = kit.realm_spec(), world.machines["m"].spec
    rule = rim_rule(machine.edition, machine.quirks)
    assert launched.rim == expected_rim(spec, rule)
    identity = platform_identity(machine.seed)
    anchors = TrustAnchors()
    anchors.add(TrustAnchor(identity.instance_id, machine.implementation_id, identity.cpak.public))
    token = Attestation(launched.evidence).token
    verified = verify(token, anchors, None)
    assert verified.realm.initial_measurement == launched.rim
    assert decode(token).wrapper is (Wrapper.EAT_399 if machine.edition == "1.0" else Wrapper.CMW_907)
    year = machine.token_profile
    assert f",{year}:realm#" in verified.realm.profile
    assert f",{year}:cca_platform#" in verified.platform.profile
    assert verified.platform.binding == hashlib.sha256(verified.realm.public_key).digest()
    assert PublicKey.from_cose_key(verified.realm.public_key).cose_key() == world.rak("m")


@editions
def test_a_live_activation_under_a_realm_keeps_it_and_gives_it_a_new_key(kit: Any, fields: dict[str, Any]) -> None:
    world = kit.World("m", **fields)
    launched = world.launch()
    world.do("m", c.DeliverSecret("r", 1, kit.sealed(launched.evidence)))
    realm = next(iter(state_of(world).rmm.realms.values()))
    kept = (realm.vmid, realm.mecid, realm.instance_id, list(realm.measurements))
    world.do("m", c.Prime(kit.firmware_image("RMM", "1.1.0", security_version=2)), 5 * S)
    activated = world.do("m", c.Activate("RMM"))
    assert isinstance(activated, c.Activated)
    again = world.do("m", c.Attest("r", 1, kit.NONCE))
    token = decode(Attestation(again.evidence).token)
    assert token.realm.claims.public_key == activated.rak
    assert token.wrapper is decode(Attestation(launched.evidence).token).wrapper
    assert (realm.vmid, realm.mecid, realm.instance_id, list(realm.measurements)) == kept
    assert world.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)
    assert list(state_of(world).rmm.granules.runs()) == []


def test_a_realm_that_forbids_live_activation_keeps_the_firmware_as_it_is(kit: Any) -> None:
    world = kit.World("m", **SECOND)
    world.serve(realm=kit.realm_spec(lfa="disallow"))
    primed = world.do("m", c.Prime(kit.firmware_image("RMM", "1.1.0", security_version=2)), 5 * S)
    refused = primed if isinstance(primed, c.Refused) else world.do("m", c.Activate("RMM"))
    assert isinstance(refused, c.Refused)
    assert world.machines["m"]._on().monitor.versions["RMM"] == "1.0.0"
    assert world.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)


@editions
def test_after_a_power_loss_the_rmm_is_made_ready_again(kit: Any, fields: dict[str, Any]) -> None:
    world = kit.World("m", **fields)
    world.serve()
    world.order("m", c.Inject(c.FaultKind.POWER_LOSS))
    world.order("m", c.Heal(c.FaultKind.POWER_LOSS), world.now_ns + S)
    world.run(500 * S)
    assert world.serve(realm=kit.realm_spec("r", incarnation=2)) == c.Serving("r", 2)


@editions
def test_a_snapshot_taken_under_a_realm_goes_on_to_the_same_digest(kit: Any, fields: dict[str, Any]) -> None:
    world, twin = kit.World("m", **fields), kit.World("m", **fields)
    for each in (world, twin):
        each.serve()
    twin.machines["m"].restore(twin.machines["m"].snapshot())
    for each in (world, twin):
        assert each.do("m", c.Attest("r", 1, kit.NONCE)) is not None
        assert each.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)
    assert world.machines["m"].snapshot() == twin.machines["m"].snapshot()


@editions
def test_a_realm_moves_between_machines_of_one_edition(kit: Any, fields: dict[str, Any]) -> None:
    world = kit.World("a", "b", **fields)
    world.serve("a")
    source = next(iter(state_of(world, "a").rmm.realms.values()))
    rim, instance = source.measurements[0], source.instance_id
    world.open_session()
    world.run(20 * S)
    [moved] = state_of(world, "b").rmm.realms.values()
    assert (moved.measurements[0], moved.instance_id) == (rim, instance)
    assert list(state_of(world, "a").rmm.granules.runs()) == []
    attested = world.do("b", c.Attest("r", 1, kit.NONCE))
    assert decode(Attestation(attested.evidence).token).realm.claims.initial_measurement == rim[:32]
    assert world.do("b", c.Stop("r", 1)) == c.Stopped("r", 1)
    assert list(state_of(world, "b").rmm.granules.runs()) == []


def test_a_machine_takes_no_realm_that_was_built_under_another_edition(kit: Any) -> None:
    world = kit.World("a", **SECOND)
    first = kit.World("b", **FIRST)
    world.machines["b"] = first.machines["b"]
    world.sent += first.sent
    world.serve("a")
    world.open_session()
    world.run(20 * S)
    [closed] = world.bodies(c.SessionClosed, "b")
    assert "edition" in closed.why
    assert state_of(world, "b").rmm.realms == {}


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ({"mec": "private"}, "memory encryption contexts"),
        ({"hash_algo": "sha-384"}, "sha-384"),
        ({"lfa": "disallow"}, "LFA policy"),
    ],
    ids=["private context", "sha-384", "no live activation"],
)
def test_what_only_edition_2_0_has_is_refused_on_1_0_with_the_reason(
    kit: Any, realm: dict[str, Any], says: str
) -> None:
    world = kit.World("m")
    before = world.machines["m"].digest()
    refused = world.launch(realm=kit.realm_spec(**realm))
    assert refused.code == "edition"
    assert says in refused.why
    assert "edition 2.0" in refused.why
    assert world.machines["m"].digest() == before
    second = kit.World("m", **SECOND)
    assert second.serve(realm=kit.realm_spec(**realm)) == c.Serving("r", 1)


def test_private_contexts_run_out_and_the_heartbeat_counts_them(kit: Any) -> None:
    world = kit.World("m", **SECOND)
    for index in range(3):
        assert isinstance(world.launch(realm=kit.realm_spec(f"r{index}", mec="private")), c.Launched)
    before = world.machines["m"].digest()
    assert world.launch(realm=kit.realm_spec("late", mec="private")).code == "RMI_REALM_CREATE: RMI_ERROR_GLOBAL"
    assert isinstance(world.launch(realm=kit.realm_spec("sharing")), c.Launched)
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).free_mecids == 0
    world.do("m", c.Stop("sharing", 1))
    world.do("m", c.Stop("r1", 1))
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).free_mecids == 1
    assert isinstance(world.launch(realm=kit.realm_spec("late", mec="private")), c.Launched)
    assert before != world.machines["m"].digest()


def test_contents_of_a_realm_are_unreadable_under_any_other_context_and_after_its_end(kit: Any) -> None:
    world = kit.World("m", **SECOND)
    for name, mec in (("r1", "private"), ("r2", "private"), ("r3", "shared"), ("r4", "shared")):
        assert world.serve(realm=kit.realm_spec(name, mec=mec)) == c.Serving(name, 1)
    running = state_of(world)
    memory, hosted = running.hardware.memory, running.host.realms
    mecids = {name: running.rmm.realms[hosted[name].footprint.rd].mecid for name in hosted}
    assert len({mecids["r1"], mecids["r2"], mecids["r3"]}) == 3
    assert mecids["r3"] == mecids["r4"]
    layout = plan(hosted["r1"].spec)
    first = layout.loads()[0][1][0]
    spans = {name: {span.ipa: span.pa for span in each.footprint.data} for name, each in hosted.items()}
    pa = {name: at[layout.ram_base] for name, at in spans.items()}
    for name, own in pa.items():
        for other, mecid in {**mecids, "the RMM": 0}.items():
            seen = memory.read(World.REALM, own, 4096, mecid)
            assert (seen == first) is (mecid == mecids[name]), (name, other)
    gone = mecids["r1"]
    world.do("m", c.Stop("r1", 1))
    assert world.serve(realm=kit.realm_spec("r5", mec="private")) == c.Serving("r5", 1)
    assert running.rmm.realms[hosted["r5"].footprint.rd].mecid == gone
    assert memory.contexts.key_of(gone) != gone
    for name in list(hosted):
        world.do("m", c.Stop(name, 1))
    assert memory.contexts.runs == []


def test_without_contexts_a_private_realm_is_built_and_only_its_token_says_that_it_shares(kit: Any) -> None:
    world = kit.World("m", **{**SECOND, "mecids": 0})
    launched = world.launch(realm=kit.realm_spec(mec="private"))
    assert decode(Attestation(launched.evidence).token).realm.claims.mec_policy == "shared"
