"""The token a Realm gets from the RMM is a real one: an independent verifier accepts it and finds the Realm in it."""

from __future__ import annotations

import struct

import pytest
from spec_door import PAGE, Door
from spec_el3 import CPAK, RAK, SigningEl3

from attestation.keys import Curve, derive_key
from attestation.stores import TrustAnchors
from attestation.verify import verify
from cca_machine.abi.guest import Smc
from cca_machine.abi.rsi import Rsi
from cca_machine.rmm.rmm import Rmm
from cca_machine.rmm.token import El3TokenMaker


def token_of(door: Door, rec: int, challenge: bytes, piece: int) -> bytes:
    """Collect the token through RSI calls, `piece` bytes at a time."""
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT, *struct.unpack("<8Q", challenge))
    collected = b""
    while True:
        x = door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, piece)
        assert x[0] in (0, 3)
        assert door.guest.view is not None
        collected += door.guest.view.read(PAGE, x[1])
        if x[0] == 0:
            return collected


@pytest.mark.parametrize(("hash_algo", "name", "size"), [(0, "sha-256", 32), (1, "sha-512", 64)])
def test_a_verifier_accepts_the_token_and_finds_the_realms_measurements(hash_algo: int, name: str, size: int) -> None:
    door = Door()
    el3 = SigningEl3(RAK)
    door.rmm.core.tokens = El3TokenMaker(el3)
    rpv = bytes(range(64))
    rd, (rec,) = door.running_realm(hash_algo=hash_algo, rpv=rpv)
    door.rsi(rec, Rsi.MEASUREMENT_EXTEND, 2, 8, 1234)
    challenge = bytes(range(100, 164))
    token = token_of(door, rec, challenge, 500)
    verified = verify(token, TrustAnchors.any_instance(CPAK.public), challenge)
    measurements = [register[:size] for register in door.rmm.state.realms[rd].measurements]
    assert verified.realm.initial_measurement == measurements[0]
    assert list(verified.realm.extensible_measurements) == measurements[1:]
    assert (verified.realm.personalization_value, verified.realm.hash_algo_id) == (rpv, name)
    assert verified.realm.public_key == RAK.public.cose_key()
    assert token[:3] == bytes.fromhex("d9018f")
    assert token_of(door, rec, challenge, 4096) == token
    assert el3.fetched == 1


def test_measurements_are_those_of_the_moment_of_init() -> None:
    door = Door()
    door.rmm.core.tokens = El3TokenMaker(SigningEl3(RAK))
    _, (rec,) = door.running_realm()
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    door.rsi(rec, Rsi.MEASUREMENT_EXTEND, 1, 8, 5)
    x = door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, 4096)
    assert door.guest.view is not None
    token = door.guest.view.read(PAGE, x[1])
    verified = verify(token, TrustAnchors.any_instance(CPAK.public), bytes(64))
    assert verified.realm.extensible_measurements[0] == bytes(32)


def test_a_new_image_fetches_key_and_platform_token_again_and_realms_live_on() -> None:
    door = Door()
    door.rmm.core.tokens = El3TokenMaker(SigningEl3(RAK))
    _, (rec,) = door.running_realm()
    before = verify(token_of(door, rec, bytes(64), 4096), TrustAnchors.any_instance(CPAK.public), bytes(64))
    other = derive_key(b"test", "rak of the next image", Curve.P384)
    old = door.rmm
    digest = old.digest()
    door.rmm = Rmm(
        old.state, door.hardware, door.el3, door.guest, old.features, old.quirks, El3TokenMaker(SigningEl3(other))
    )
    assert door.rmm.digest() == digest
    after = verify(token_of(door, rec, bytes(64), 4096), TrustAnchors.any_instance(CPAK.public), bytes(64))
    assert after.realm.initial_measurement == before.realm.initial_measurement
    assert after.realm.public_key == other.public.cose_key() != before.realm.public_key


def test_an_exchanged_image_continues_an_operation_under_way() -> None:
    door = Door()
    _, (rec,) = door.running_realm()
    door.rsi(rec, Rsi.ATTESTATION_TOKEN_INIT)
    first = door.rsi(rec, Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, 1000)
    old = door.rmm
    door.rmm = Rmm(old.state, door.hardware, door.el3, door.guest, old.features, old.quirks)
    _, out = door.enter(rec, [Smc((Rsi.ATTESTATION_TOKEN_CONTINUE, PAGE, 0, 4096))])
    assert (first[:2], door.guest.gprs[-1][:2]) == ([3, 1000], [0, 1134])
    assert out.exit_reason == 2
