"""One machine as its node and the control plane see it."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise
from typing import Any

import pytest

from attestation import rim
from attestation.firmware import read_manifest
from attestation.kbs.server import Broker
from attestation.policy import default_policy
from attestation.stores import (
    ComponentReference,
    PlatformReference,
    RealmReference,
    ReferenceValues,
    TrustAnchor,
    TrustAnchors,
)
from attestation.verify import verify_platform
from cca_machine import commands as c
from cca_machine import layout
from cca_machine.abi.rmi import Rmi
from cca_machine.abi.smc import NOT_SUPPORTED
from cca_machine.errors import LateInput, MachineError
from cca_machine.invariants import violations
from cca_machine.machine import Machine
from cca_machine.migration.precopy import Terms
from cca_machine.monitor.platform_token import CONFIG, platform_identity

S = 1_000_000_000


def anchors_of(machine: Machine) -> TrustAnchors:
    identity = platform_identity(machine.spec.seed)
    return TrustAnchors([TrustAnchor(identity.instance_id, machine.spec.implementation_id, identity.cpak.public)])


def recomputed_rim(realm: c.RealmSpec) -> bytes:
    """By the calculator that shares no code with the RMM."""
    plan = layout.plan(realm)
    digest = rim.HashAlgorithm(int(plan.hash_algo)).hash_name.digest
    events: list[rim.RimEvent] = []
    for event in layout.measured_events(plan):
        match event:
            case layout.RealmCreated():
                events.append(
                    rim.RealmCreate(
                        flags=event.flags, s2sz=event.s2sz, sve_vl=event.sve_vl, num_bps=event.num_bps,
                        num_wps=event.num_wps, pmu_num_ctrs=event.pmu_num_ctrs, hash_algo=event.hash_algo,
                    )
                )  # fmt: skip
            case layout.RipasInitialised():
                events.append(rim.RipasInit(event.base, event.top))
            case layout.DataLoaded():
                events.append(rim.DataCreate(event.ipa, rim.DATA_MEASURED, digest(event.content)))
            case layout.RecCreated():
                events.append(rim.RecCreate(rim.REC_RUNNABLE, event.pc, event.gprs))
    return rim.compute(events)


def running_state(machine: Machine) -> Any:
    state = machine._state.running
    assert state is not None
    return state


def test_a_machine_boots_by_itself_and_says_who_it_is(world: Any) -> None:
    [booted] = world.bodies(c.Booted)
    machine = world.machines["m"]
    platform = verify_platform(booted.platform_token, anchors_of(machine))
    assert booted.boot == 1
    assert booted.versions == dict.fromkeys(("HES", "BL2", "BL31", "RMM"), "1.0.0")
    assert platform.claims.challenge == hashlib.sha256(booted.rak).digest()
    assert [at for at, _ in world.told(c.MachineBooted)] == [55_000_000]


def test_a_launched_realm_convinces_the_broker_and_serves_with_the_secret_it_gets(world: Any, kit: Any) -> None:
    machine = world.machines["m"]
    realm = kit.realm_spec()
    components = tuple(
        ComponentReference(
            measurement_value=manifest.payload_digest, signer_id=manifest.signer_id, name=manifest.component,
            version=manifest.version,
        )
        for manifest in (read_manifest(image)[0] for image in kit.FIRMWARE.values())
    )  # fmt: skip
    wanted = recomputed_rim(realm)
    references = ReferenceValues(
        [PlatformReference(implementation_id=machine.spec.implementation_id, components=components, config=CONFIG)],
        [RealmReference(initial_measurement=wanted, class_id=wanted)],
    )
    broker = Broker({"fleet/secret/web": b"open sesame"}, default_policy(), anchors_of(machine), references)
    nonce = bytes(range(32))
    request = b'{"version":"0.4.0","tee":"cca","extra-params":{}}'
    session, _ = broker.request(request, nonce)

    number = world.order("m", c.Launch(realm, base64.b64encode(nonce).decode(), 100 * S))
    world.run(2 * S)
    launched = world.answer(number)
    assert launched.rim == wanted
    decision = broker.attest(session, launched.evidence)
    assert decision.accepted, decision.detail
    jwe = broker.resource(session, "fleet/secret/web", b"ephemeral seed of a broker, 32 b.")
    assert world.do("m", c.DeliverSecret("r", 1, jwe)) == c.Serving("r", 1)
    lives = [record for _, record in world.told(c.RealmLive)]
    assert [(live.serving, live.why) for live in lives] == [(False, "launch"), (True, "secret")]
    guest = next(iter(running_state(machine).guests.guests.values()))
    assert guest.secret_digest == hashlib.sha256(b"open sesame").digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"memory_bytes": 512 << 20, "image": c.ImageSpec("big", 3, (2 << 20) + 5)},
        {"memory_bytes": (1 << 30) + (6 << 20), "hash_algo": "sha-512", "vcpus": 1, "program": "batch"},
        {"memory_bytes": (32 << 20) + 0x5000, "rpv": b"r" * 64, "program": "database", "vcpus": 17},
    ],
)
def test_the_rim_is_what_the_independent_calculator_expects(kit: Any, fields: dict[str, Any]) -> None:
    world = kit.World("m", memory_bytes=4 << 30)
    realm = kit.realm_spec(**fields)
    number = world.order("m", c.Launch(realm, kit.NONCE, 100 * S))
    world.run(10 * S)
    assert world.answer(number).rim == recomputed_rim(realm)


def test_after_a_stop_every_granule_is_back_and_invariants_hold_throughout(world: Any) -> None:
    machine = world.machines["m"]
    free = running_state(machine).host.pool.free
    world.serve()
    running = running_state(machine)
    assert violations(running.rmm, running.hardware) == []
    assert running.host.pool.free < free
    assert world.do("m", c.Stop("r", 1)) == c.Stopped("r", 1)
    running = running_state(machine)
    assert running.host.pool.free == free
    assert len(running.host.pool.runs) == 1
    assert list(running.rmm.granules.runs()) == []
    assert running.hardware.memory.contents == {}
    assert not running.rmm.realms
    assert not running.guests.guests
    [(_, built)], [(_, destroyed)] = world.told(c.RealmBuilt), world.told(c.RealmDestroyed)
    assert set(built.granules) <= set(destroyed.granules) or len(built.granules) == 1


REFUSED: dict[str, tuple[Any, str]] = {
    "a Realm that is here": (lambda kit: c.Launch(kit.realm_spec(), kit.NONCE, 999 * S), "already-hosted"),
    "a Realm larger than memory": (
        lambda kit: c.Launch(kit.realm_spec("x", memory_bytes=2 << 30), kit.NONCE, 999 * S),
        "no-granules",
    ),
    "a Realm whose vCPUs exhaust memory late": (
        lambda kit: c.Launch(kit.realm_spec("x", memory_bytes=926 << 20, vcpus=300), kit.NONCE, 999 * S),
        "no-granules",
    ),
    "a Realm too small for its image": (
        lambda kit: c.Launch(kit.realm_spec("x", memory_bytes=2 << 20), kit.NONCE, 999 * S),
        "impossible-realm",
    ),
    "evidence of nobody": (lambda kit: c.Attest("x", 1, kit.NONCE), "unknown-realm"),
    "evidence of an earlier incarnation": (lambda kit: c.Attest("r", 0, kit.NONCE), "unknown-realm"),
    "a secret for somebody else": (lambda kit: c.DeliverSecret("r", 1, b'{"protected":""}'), "secret-not-opened"),
    "an end for nobody": (lambda kit: c.Stop("x", 1), "unknown-realm"),
    "an export of nobody": (
        lambda kit: c.OpenExport("s", "x", 1, "b", b"", b"", 0, 999 * S, Terms(1 << 30)),
        "unknown-realm",
    ),
    "an activation of nothing": (lambda kit: c.Activate("RMM"), "LFA_ACTIVATE: INVALID_PARAMETERS"),
    "firmware that is noise": (lambda kit: c.Prime(b"noise"), "malformed-image"),
    "firmware changed after signing": (
        lambda kit: c.Prime(kit.firmware_image("RMM", "1.1.0")[:-1] + b"!"),
        "LFA_PRIME: AUTH_ERROR",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_command_says_why_and_leaves_the_state_untouched(world: Any, kit: Any, name: str) -> None:
    make, code = REFUSED[name]
    world.serve()
    machine = world.machines["m"]
    before = machine.digest()
    answer = world.do("m", make(kit), 5 * S)
    assert isinstance(answer, c.Refused)
    assert answer.code == code
    assert machine.digest() == before
    assert [record.code for _, record in world.told(c.CommandRefused)] == [code]


def test_vmids_run_out_before_memory_does(kit: Any) -> None:
    world = kit.World("m", vmid_bits=1)
    assert isinstance(world.launch(), c.Launched)
    assert world.launch(realm=kit.realm_spec("x")).code == "no-vmids"


def test_a_realm_whose_life_outlives_another_gets_other_granules(world: Any, kit: Any) -> None:
    first = world.launch(realm=kit.realm_spec("one"))
    second = world.launch(realm=kit.realm_spec("two"))
    assert isinstance(first, c.Launched)
    assert isinstance(second, c.Launched)
    spans = [
        range(base, base + count * 4096) for _, built in world.told(c.RealmBuilt) for base, count in built.granules
    ]
    spans.sort(key=lambda span: span.start)
    assert all(low.stop <= high.start for low, high in pairwise(spans))


def test_two_control_pes_work_at_once_and_the_third_command_waits(world: Any, kit: Any) -> None:
    for realm in ("a", "b", "c"):
        world.order("m", c.Launch(kit.realm_spec(realm), kit.NONCE, 100 * S))
    world.run(5 * S)
    [first, second, third] = [at for at, _ in world.told(c.RealmBuilt)]
    build = world.bodies(c.Launched)[0].build_ns
    assert first == second
    assert third == first + build


def test_served_requests_follow_the_running_time_exactly(world: Any) -> None:
    world.serve()
    served_from = next(at for at, record in world.told(c.RealmLive) if record.serving)
    world.do("m", c.Stop("r", 1))
    [(until, still)] = world.told(c.RealmStill)
    assert still.served == 1000 * (until - served_from) // S


def test_a_message_that_comes_twice_is_taken_once(world: Any, kit: Any) -> None:
    machine = world.machines["m"]
    for _ in range(2):
        machine.submit(c.Attest("x", 1, kit.NONCE), world.now_ns + 5, 2, c.CONTROL, 77)
    world.run(S)
    assert len(world.bodies(c.Refused)) == 1


def test_nothing_can_arrive_in_the_past(world: Any) -> None:
    with pytest.raises(LateInput, match="nothing can arrive"):
        world.machines["m"].submit(c.Stop("r", 1), world.now_ns - 1, 2, c.CONTROL, 1)


def test_the_raw_door_answers_like_firmware_and_a_run_equals_the_loop(kit: Any) -> None:
    one, two = kit.World("m").machines["m"], kit.World("m").machines["m"]
    base = 0x8_8000_0000 + (512 << 20)
    assert one.smc_run(Rmi.GRANULE_DELEGATE, (base,), (4096,), 700) == (700, (0,) * 8)
    for index in range(700):
        assert two.smc(Rmi.GRANULE_DELEGATE, (base + index * 4096,)) == (0,) * 8
    assert one.digest() == two.digest()
    assert one.counters() == two.counters()
    assert one.smc(0xC400_0190)[0] == NOT_SUPPORTED
    one.write(base - 4096, b"normal world")
    assert one.read(base - 4096, 12) == b"normal world"


def test_a_machine_without_power_has_no_firmware_to_call(kit: Any) -> None:
    machine = Machine(kit.machine_spec("m"))
    with pytest.raises(MachineError, match="booting"):
        machine.smc(Rmi.VERSION, (0x10000,))


def test_the_recorded_door_holds_every_rmi_call_since_boot(kit: Any) -> None:
    records: list[dict[str, Any]] = []
    world = kit.World()
    machine = world.machines["m"] = Machine(kit.machine_spec("m"))
    machine.record_door(records.append)
    machine.run_until(world.now_ns)
    world.launch()
    assert records[0]["header"] == 1
    calls: dict[str, int] = {}
    for record in records[1:]:
        calls[record["name"]] = calls.get(record["name"], 0) + record.get("count", 1)
    counted: dict[str, int] = {}
    for (name, _), count in machine.counters().items():
        counted[name] = counted.get(name, 0) + count
    assert {name: counted[name] for name in calls} == calls
    assert calls["REC_ENTER" if "REC_ENTER" in calls else "RMI_REC_ENTER"] > 3
