"""Confidential pods on a machine: the whole walk through the firmware, and the step at which each cheat ends it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from attestation.container import oci
from attestation.container.encryption import decrypt_layer
from attestation.container.init_data import write_init_data
from attestation.container.signature import image_policy
from attestation.kbs import jwe
from attestation.kbs.messages import Attestation
from cca_machine import commands as c
from cca_machine import registry
from cca_machine.commands import FaultKind as K
from cca_machine.costs import reference_timing
from cca_machine.guest.program import POD
from cca_machine.host.door import Door
from cca_machine.machine import Machine
from cca_machine.pod import WALK, ContainerSpec, PodRefused, PodSpec, PodStep, PodStepped

S = 1_000_000_000
CONTAINER = ContainerSpec("ledger", 3, "acme", layers=3, content_bytes=96 << 10, size_bytes=80 << 20)


def init_data(*publishers: str) -> bytes:
    keys = [registry.publisher_key(name) for name in publishers or ("acme",)]
    policy = image_policy({registry.HOST: keys})
    return write_init_data({"cdh.toml": f'[image]\nimage_security_policy = """\n{policy}"""\n'})


def pod(kit: Any, realm: str = "r", data: bytes | None = None, **container: Any) -> c.RealmSpec:
    data = init_data() if data is None else data
    spec = PodSpec(msgspec.structs.replace(CONTAINER, **container), data)
    made: c.RealmSpec = kit.realm_spec(realm, program=POD, rpv=hashlib.sha512(data).digest(), pod=spec)
    return made


def key_for(launched: Any, key: bytes = b"") -> c.DeliverSecret:
    sealed = jwe.seal(key or registry.image_key("ledger"), Attestation(launched.evidence).tee_key, bytes(32))
    return c.DeliverSecret(launched.realm, launched.incarnation, sealed)


def launch(world: Any, spec: c.RealmSpec) -> Any:
    number = world.order("m", c.Launch(spec, "bm9uY2U=", 1000 * S))
    world.run(5 * S)
    return world.answer(number)


def start(world: Any, spec: c.RealmSpec, key: bytes = b"") -> Any:
    number = world.order("m", key_for(launch(world, spec), key))
    world.run(10 * S)
    return world.answer(number)


def refusal(world: Any) -> tuple[str, str]:
    [(_, refused)] = world.told(PodRefused)
    return refused.step, refused.reason


def test_a_pod_walks_every_step_in_order_and_serves(world: Any, kit: Any) -> None:
    assert isinstance(start(world, pod(kit)), c.Serving)
    steps = [record.step for _, record in world.told(PodStepped)]
    assert steps == [row.step for row in WALK]
    assert world.told(PodRefused) == []
    assert [record.serving for _, record in world.told(c.RealmLive)] == [False, True]


def test_each_step_takes_what_the_catalogue_says(world: Any, kit: Any) -> None:
    start(world, pod(kit))
    timing = reference_timing()
    took = {record.step: record.took_ns for _, record in world.told(PodStepped)}
    least = {
        "shim": timing["pod.shim"],
        "agent": timing["pod.boot"] + timing["pod.dial"],
        "sandbox": timing["pod.sandbox"],
        "evidence": timing["rsi.attestation-token"],
        "key": timing["guest.open-secret"],
        "manifest": 4 * timing["pod.registry"],
        "signature": timing["pod.signature"],
        "pull": 3 * timing["pod.registry"] + 81 * timing["pod.pull-mib"],
        "decrypt": 81 * (timing["pod.decrypt-mib"] + timing["pod.unpack-mib"]),
        "workload": timing["pod.start"],
    }
    for step, ns in least.items():
        assert ns <= took[step] < ns + 1_000_000, step  # exits of the guest come on top
    instants = [at for at, _ in world.told(PodStepped)]
    assert instants == sorted(instants)


def test_a_flipped_bit_in_a_layer_stops_the_pod_where_it_pulls(world: Any, kit: Any) -> None:
    world.order("m", c.Inject(K.TAMPERED_IMAGE))
    assert start(world, pod(kit)).code == "pod-pull"
    assert refusal(world) == ("pull", "binding")


def test_swapped_init_data_stop_the_pod_in_its_sandbox_and_leave_nothing_behind(world: Any, kit: Any) -> None:
    world.order("m", c.Inject(K.TAMPERED_INIT_DATA))
    refused = launch(world, pod(kit))
    assert refused.code == "pod-sandbox"
    assert refusal(world) == ("sandbox", "binding")
    assert [record.step for _, record in world.told(PodStepped)] == ["shim", "vmm", "agent"]
    assert world.told(c.RealmLive) == world.told(c.RealmBuilt) == []
    running = world.machines["m"]._state.running
    assert (running.host.realms, running.guests.guests, running.rmm.realms) == ({}, {}, {})
    heartbeat = world.do("m", c.RenewLeases((), world.now_ns + S))
    world.order("m", c.Heal(K.TAMPERED_INIT_DATA))
    assert isinstance(start(world, pod(kit)), c.Serving)
    world.do("m", c.Stop("r", 1))
    assert world.do("m", c.RenewLeases((), world.now_ns + S)).free_granules == heartbeat.free_granules


def test_an_image_that_nobody_trusted_signed_is_stopped_at_its_signature(world: Any, kit: Any) -> None:
    assert start(world, pod(kit, data=init_data("somebody-else"))).code == "pod-signature"
    assert refusal(world) == ("signature", "signature")


def test_an_image_that_the_policy_rejects_is_stopped_at_its_signature(world: Any, kit: Any) -> None:
    rejects = write_init_data({"cdh.toml": '[image]\nimage_security_policy = """{"default":[{"type":"reject"}]}"""\n'})
    start(world, pod(kit, data=rejects))
    assert refusal(world) == ("signature", "policy")


def test_a_key_of_another_image_stops_the_pod_where_it_decrypts(world: Any, kit: Any) -> None:
    assert start(world, pod(kit), registry.image_key("another")).code == "pod-decrypt"
    assert refusal(world) == ("decrypt", "unknown-key")


def test_a_key_that_is_sealed_for_another_guest_stops_the_pod_at_the_key(world: Any, kit: Any) -> None:
    launched, other = launch(world, pod(kit)), launch(world, pod(kit, "other"))
    order = msgspec.structs.replace(key_for(other), realm="r")
    assert launched.realm == "r"
    assert world.do("m", order).code == "secret-not-opened"
    assert refusal(world) == ("key", "secret-not-opened")


def test_a_host_with_an_old_nonce_gives_it_to_every_guest(world: Any, kit: Any) -> None:
    first = launch(world, pod(kit, "first"))
    world.order("m", c.Inject(K.STALE_NONCE))
    number = world.order("m", c.Launch(pod(kit), "ZnJlc2g=", 1000 * S))
    world.run(5 * S)
    assert Attestation(world.answer(number).evidence).nonce == Attestation(first.evidence).nonce == "bm9uY2U="
    world.order("m", c.Heal(K.STALE_NONCE))
    assert Attestation(world.do("m", c.Attest("r", 1, "ZnJlc2g=")).evidence).nonce == "ZnJlc2g="


def test_no_plain_layer_and_no_key_crosses_the_host(world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    plain_write, plain_read = Door.write, Door.read

    def write(door: Door, pa: int, data: bytes) -> None:
        seen.append(bytes(data))
        plain_write(door, pa, data)

    def read(door: Door, pa: int, size: int) -> bytes:
        found = plain_read(door, pa, size)
        seen.append(found)
        return found

    monkeypatch.setattr(Door, "write", write)
    monkeypatch.setattr(Door, "read", read)
    assert isinstance(start(world, pod(kit)), c.Serving)
    everything = b"".join(seen)
    key = registry.image_key("ledger")
    served = registry.published(CONTAINER)
    manifest = oci.read_manifest(served[f"manifests/{registry.reference_of(CONTAINER)}"])
    blobs = [served[f"blobs/{layer.digest}"] for layer in manifest.layers]
    assert blobs[0][:64] in everything  # the ciphertext did cross
    for layer, blob in zip(manifest.layers, blobs, strict=True):
        files = oci.unpack_layer(decrypt_layer(layer, blob, key))
        [data] = [content for name, content in files.items() if name.endswith("/data")]
        assert data[:64] not in everything
    assert key not in everything


def test_a_secret_that_is_delivered_again_starts_nothing_twice(world: Any, kit: Any) -> None:
    launched = launch(world, pod(kit))
    world.do("m", key_for(launched), 10 * S)
    again = world.do("m", key_for(launched), 10 * S)
    assert isinstance(again, c.Serving)
    steps = [record.step for _, record in world.told(PodStepped)]
    assert steps.count(PodStep.DECRYPT) == steps.count(PodStep.PULL) == 1
    agent = next(iter(world.machines["m"]._state.running.guests.guests.values())).pod
    assert (agent.step, agent.key, agent.got) == (PodStep.RUNNING, b"", {})


def test_a_pod_that_runs_attests_again(world: Any, kit: Any) -> None:
    start(world, pod(kit))
    assert isinstance(world.do("m", c.Attest("r", 1, "ZnJlc2g=")), c.Attested)


def test_a_machine_half_way_through_a_walk_goes_on_from_its_snapshot(world: Any, kit: Any) -> None:
    launched = launch(world, pod(kit))
    machine = world.machines["m"]
    snapshot = machine.snapshot()
    world.machines["m"] = Machine(machine.spec)
    world.machines["m"].restore(snapshot)
    assert isinstance(world.do("m", key_for(launched), 10 * S), c.Serving)
