"""Key shares and bundles: what opens where."""

from __future__ import annotations

import pytest
from msgspec import msgpack

from attestation.keys import Curve, derive_key
from cca_machine.migration.handshake import HelloRefused, check_hello, fresh_share, make_hello, traffic_key
from cca_machine.migration.sealing import Bundle, BundleRefused, open_bundle, seal
from cca_machine.migration.session import Session, Sessions
from cca_machine.migration.tables import CLOSED

SEED = bytes(range(32))
RAK = derive_key(SEED, "a rak")


def hello(**changed: object) -> bytes:
    given = {"session": "s", "role": "source", "realm": "r", "incarnation": 1}
    return make_hello(**{**given, **changed}, share=fresh_share(SEED, 1, "s", "source"), rak=RAK)  # type: ignore[arg-type]


def test_both_sides_come_to_the_same_key() -> None:
    one, two = fresh_share(SEED, 1, "s", "source"), fresh_share(SEED, 1, "s", "destination")
    assert traffic_key(one, two.public, b"first", b"second") == traffic_key(two, one.public, b"first", b"second")
    assert traffic_key(one, two.public, b"first", b"second") != traffic_key(one, two.public, b"first", b"other")


def test_no_session_boot_or_side_shares_a_key_with_another() -> None:
    scalars = {
        fresh_share(SEED, boot, session, role).private_bytes()
        for boot in (1, 2)
        for session in ("s", "t")
        for role in ("source", "destination")
    }
    assert len(scalars) == 8


@pytest.mark.parametrize(
    "changed", [{"session": "t"}, {"role": "destination"}, {"realm": "x"}, {"incarnation": 2}], ids=str
)
def test_a_key_share_is_good_for_its_place_only(changed: dict[str, object]) -> None:
    check_hello(hello(), "s", "source", "r", 1, RAK.public.cose_key())
    with pytest.raises(HelloRefused, match="belongs to another"):
        check_hello(hello(**changed), "s", "source", "r", 1, RAK.public.cose_key())


def test_a_key_share_must_be_signed_by_the_attested_key() -> None:
    other = derive_key(SEED, "another rak", Curve.P384)
    with pytest.raises(HelloRefused, match="not signed"):
        check_hello(hello(), "s", "source", "r", 1, other.public.cose_key())
    with pytest.raises(HelloRefused, match="malformed"):
        check_hello(b"noise", "s", "source", "r", 1, RAK.public.cose_key())


def test_a_bundle_opens_in_its_place_under_its_key_and_nowhere_else() -> None:
    key = bytes(32)
    bundle = msgpack.decode(seal(key, "s", 3, b"content"), type=Bundle)
    assert open_bundle(key, "s", bundle) == b"content"
    for wrong in (Bundle("s", 4, bundle.sealed), Bundle("s", 3, bundle.sealed[:-1]), Bundle("s", 3, b"")):
        with pytest.raises(BundleRefused):
            open_bundle(key, "s", wrong)
    with pytest.raises(BundleRefused):
        open_bundle(key, "t", bundle)
    with pytest.raises(BundleRefused):
        open_bundle(b"k" * 32, "s", bundle)


def test_closed_sessions_are_forgotten_in_the_end_and_open_ones_never() -> None:
    sessions = Sessions()
    for number in range(200):
        state = "relinquished" if number == 0 else "discarded"
        one = Session(
            session=f"s{number}", role="source", state=state, realm="r", incarnation=1, peer="b", peer_rak=b""
        )
        sessions.open(one, frozenset(CLOSED))
    assert len(sessions.sessions) < 70
    assert "s0" in sessions.sessions
    assert "s199" in sessions.sessions
