"""What guests do inside a Realm, seen from the firmware that serves them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from attestation import rim
from attestation.kbs.messages import Attestation
from attestation.token import decode
from cca_machine import commands as c
from cca_machine.abi.rmi import Ripas
from cca_machine.guest.catalogue import PROGRAMS
from cca_machine.layout import plan
from cca_machine.rmm.rtt import PAGE_LEVEL, ripas_of, walk

S = 1_000_000_000


def claims(launched: Any) -> Any:
    return decode(Attestation(launched.evidence).token).realm.claims


def extended(*whats: str) -> bytes:
    """A REM after extending by the SHA-256 of each, by the independent calculator."""
    algorithm = rim.HashAlgorithm.SHA_256
    register = rim.zero_rem(algorithm)
    for what in whats:
        register = rim.extend_rem(register, hashlib.sha256(what.encode()).digest(), algorithm)
    return register


@pytest.mark.parametrize(
    ("program", "rems"),
    [
        ("server", ["server configuration", None, None, None]),
        ("batch", [None, None, None, None]),
        ("database", ["database configuration", "database schema", None, None]),
    ],
)
def test_a_program_measures_what_it_was_configured_with(
    world: Any, kit: Any, program: str, rems: list[str | None]
) -> None:
    launched = world.launch(realm=kit.realm_spec(program=program))
    assert claims(launched).extensible_measurements == tuple(extended(*([what] if what else [])) for what in rems)


def test_every_program_serves_in_the_end() -> None:
    assert set(PROGRAMS) == {"server", "batch", "database", "pod"}
    assert {type(steps[-1]).__name__ for steps in PROGRAMS.values()} == {"Serve"}


def test_the_mailbox_left_the_realm_and_nothing_else_did(world: Any, kit: Any) -> None:
    realm_spec = kit.realm_spec()
    world.launch(realm=realm_spec)
    running = world.machines["m"]._state.running
    layout = plan(realm_spec)
    [realm] = running.rmm.realms.values()
    empty = []
    for ipa in range(layout.ram_base, layout.ram_top, 0x1000):
        found = walk(running.rmm.tables, realm.rtt_base, realm.rtt_level_start, ipa, PAGE_LEVEL)
        if ripas_of(found.entry) == Ripas.EMPTY:
            empty.append(ipa)
    assert empty == list(range(layout.mailbox, layout.mailbox + layout.mailbox_bytes, 0x1000))


def test_all_vcpus_are_turned_on_by_the_first(world: Any, kit: Any) -> None:
    world.launch(realm=kit.realm_spec(vcpus=5))
    recs = world.machines["m"]._state.running.rmm.recs.values()
    assert sorted(rec.index for rec in recs if rec.runnable) == [0, 1, 2, 3, 4]
    assert world.machines["m"].counters()["PSCI_CPU_ON", "FORWARDED"] == 4


def test_two_realms_never_share_a_key(world: Any, kit: Any) -> None:
    keys = {
        Attestation(world.launch(realm=kit.realm_spec(name, incarnation=number)).evidence).tee_key.raw()
        for name, number in (("a", 1), ("b", 1))
    }
    world.do("m", c.Stop("a", 1))
    keys.add(Attestation(world.launch(realm=kit.realm_spec("a", incarnation=2)).evidence).tee_key.raw())
    assert len(keys) == 3


def test_evidence_answers_the_challenge_that_was_posed(world: Any, kit: Any) -> None:
    launched = world.launch()
    message = Attestation(launched.evidence)
    assert message.nonce == kit.NONCE
    assert claims(launched).challenge == message.challenge


def test_what_the_host_reads_in_memory_is_never_the_secret(world: Any, kit: Any) -> None:
    launched = world.launch()
    world.do("m", c.DeliverSecret("r", 1, kit.sealed(launched.evidence, b"a very private word")))
    memory = world.machines["m"]._state.running.hardware.memory
    assert all(b"a very private word" not in page for page in memory.contents.values())


def test_a_message_larger_than_the_mailbox_is_refused(world: Any, kit: Any) -> None:
    world.launch()
    assert world.do("m", c.DeliverSecret("r", 1, bytes(1 << 20))).code == "message-too-large"
    launched = world.do("m", c.Attest("r", 1, kit.NONCE))
    assert isinstance(launched, c.Attested)
