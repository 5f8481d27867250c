"""The token of RMM 2.0: an independent verifier accepts it, and it tells the Realm's identity and memory encryption."""

from __future__ import annotations

import struct

import pytest
from spec_door import PAGE
from spec_door_2_0 import Door2
from spec_el3 import CPAK, RAK, SigningEl3

from attestation.stores import TrustAnchors
from attestation.verify import Verified, verify
from cca_machine.abi.rmi2 import MEC_POLICY_SHIFT, MEC_PRIVATE
from cca_machine.abi.rsi import Rsi
from cca_machine.rmm.token_2_0 import El3TokenMaker2

CHALLENGE = bytes(range(64))
PRIVATE = MEC_PRIVATE << MEC_POLICY_SHIFT


def token_of(door: Door2, **realm: object) -> tuple[int, bytes]:
    """A Realm and the token it gets in one piece."""
    door.rmm.core.tokens = El3TokenMaker2(SigningEl3(RAK))
    rd, (rec,) = door.running_realm(**realm)
    assert door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT, *struct.unpack("<8Q", CHALLENGE))[0] == 0
    x = door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, PAGE)
    assert x[0] == 0
    assert door.guest.view is not None
    return rd, door.guest.view.read(PAGE, x[1])


def verified(token: bytes) -> Verified:
    return verify(token, TrustAnchors.any_instance(CPAK.public), CHALLENGE)


@pytest.mark.parametrize(("hash_algo", "size"), [(0, 32), (1, 64), (2, 48)])
def test_a_verifier_accepts_the_token_and_finds_the_realm_in_it(hash_algo: int, size: int) -> None:
    door = Door2()
    rd, token = token_of(door, hash_algo=hash_algo, rpv=b"\x05" * 64)
    realm, found = door.rmm.state.realms[rd], verified(token).realm
    assert token[:3] == bytes.fromhex("d9038b")
    assert found.profile == "tag:arm.com,2024:realm#2.0.0"
    assert found.initial_measurement == realm.measurements[0][:size]
    assert found.personalization_value == b"\x05" * 64
    assert found.instance_id == realm.instance_id
    assert realm.instance_id[0] == 1
    assert len(realm.instance_id) == 33


def test_two_realms_of_the_same_content_have_different_identities() -> None:
    door = Door2()
    first, second = (verified(token_of(door)[1]).realm for _ in range(2))
    assert first.initial_measurement == second.initial_measurement
    assert first.instance_id != second.instance_id


@pytest.mark.parametrize(("flags", "policy"), [(PRIVATE, "private"), (0, "shared")])
def test_the_token_tells_the_policy_of_memory_encryption(flags: int, policy: str) -> None:
    assert verified(token_of(Door2(mec_count=2), flags=flags)[1]).realm.mec_policy == policy


def test_a_machine_without_contexts_never_calls_memory_private() -> None:
    assert verified(token_of(Door2(mec_count=0), flags=PRIVATE)[1]).realm.mec_policy == "shared"
