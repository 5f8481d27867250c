"""Veraison sessions: the recorded results, the state table, the rules for nonces and media types."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation import ear
from attestation.claims import PlatformClaims, RealmClaims
from attestation.ear_results import Issuer
from attestation.errors import Denied, Malformed, RefusalReason, Refused
from attestation.keys import Curve, PublicKey, SigningKey, derive_key, to_base64url
from attestation.session import (
    EVIDENCE_MEDIA_TYPE,
    TRANSITIONS,
    NonceRequest,
    SessionInput,
    SessionService,
    SessionsState,
    SessionState,
    UnsupportedMediaType,
    VerificationSession,
    read_nonce_request,
    rfc3339,
    same_media_type,
)
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import create, pad_nonce

ISSUER = Issuer(derive_key(b"verifier", "EAR", Curve.P256))
NOW = 1_800_000_000 * 10**9
ENTROPY = bytes(range(64))
Make = Callable[[bytes], bytes]


@pytest.fixture
def service(anchors: TrustAnchors, references: ReferenceValues) -> SessionService:
    return SessionService(anchors, references, ISSUER)


@pytest.fixture
def make(platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey) -> Make:
    def token(nonce: bytes) -> bytes:
        realm = msgspec.structs.replace(realm_claims, challenge=pad_nonce(nonce))
        return create(platform_claims, realm, cpak, rak)

    return token


def _open(service: SessionService, request: NonceRequest | None = None) -> VerificationSession:
    request = NonceRequest(None, 32) if request is None else request
    return service.new_session(request, session_id="a", entropy=ENTROPY, now_ns=NOW)


def _result(session: VerificationSession) -> ear.Ear:
    return ear.verify_jwt(session.result, ISSUER.key.public, now_s=NOW // 10**9, nonce=to_base64url(session.nonce))


@pytest.mark.parametrize("size", [8, 31, 32, 33, 64])
def test_a_good_token_gives_an_affirming_result_for_every_size_of_nonce(
    service: SessionService, make: Make, size: int
) -> None:
    session = _open(service, read_nonce_request(None, str(size)))
    assert len(session.nonce) == size
    done = service.submit("a", EVIDENCE_MEDIA_TYPE, make(session.nonce), now_ns=NOW)
    assert done.state is SessionState.COMPLETE
    result = _result(done)
    assert result.affirming
    assert set(result.submods) == {"CCA_SSD_PLATFORM", "CCA_REALM"}


def test_a_stale_token_is_a_complete_session_with_a_contraindicated_result(service: SessionService, make: Make) -> None:
    _open(service)
    done = service.submit("a", EVIDENCE_MEDIA_TYPE, make(b"another nonce"), now_ns=NOW)
    submod = _result(done).submods["ARM_CCA"]
    assert done.state is SessionState.COMPLETE
    assert set((submod.vector or {}).values()) == {99}
    assert "does not match session nonce" in str(submod.policy_claims)


def test_freshness_is_told_before_the_signature(service: SessionService, make: Make) -> None:
    _open(service)
    broken = make(b"another nonce")
    done = service.submit("a", EVIDENCE_MEDIA_TYPE, broken[:-1] + bytes([broken[-1] ^ 1]), now_ns=NOW)
    assert "freshness" in str(_result(done).submods["ARM_CCA"].policy_claims)


def test_bytes_that_are_no_token_are_a_result_and_no_error(service: SessionService) -> None:
    _open(service)
    done = service.submit("a", EVIDENCE_MEDIA_TYPE, b"\xff", now_ns=NOW)
    assert _result(done).submods["ARM_CCA"].status.text == "contraindicated"


def test_the_recorded_good_token_gives_the_recorded_result(vectors: Path) -> None:
    from attestation.corim import read

    folder = vectors / "attestation"
    claims = json.loads((folder / "veraison" / "cca.good.json").read_text())["CCA_REALM"]
    nonce = base64.b64decode(claims["ear.veraison.annotated-evidence"]["cca-realm-challenge"])
    references = ReferenceValues()
    for name in ("platform", "realm"):
        corim = read((folder / "corim" / "services" / f"corim-cca-{name}-valid.cbor").read_bytes())
        for platform in corim.platform:
            references.add_platform(platform)
        for realm in corim.realm:
            references.add_realm(realm)
    key = PublicKey.from_jwk(json.loads((folder / "keys" / "services-ec.p256.jwk").read_text()))
    service = SessionService(TrustAnchors.any_instance(key), references, ISSUER)
    _open(service, read_nonce_request(to_base64url(nonce), None))
    token = (folder / "tokens" / "services-cca-good.cbor").read_bytes()
    done = service.submit("a", EVIDENCE_MEDIA_TYPE, token, now_ns=NOW)
    assert ear.json_claims(_result(done))["submods"]["CCA_REALM"] == claims


def test_a_nonce_admits_one_piece_of_evidence(service: SessionService, make: Make) -> None:
    session = _open(service)
    service.submit("a", EVIDENCE_MEDIA_TYPE, b"\xff", now_ns=NOW)
    with pytest.raises(Denied):
        service.submit("a", EVIDENCE_MEDIA_TYPE, make(session.nonce), now_ns=NOW)


def test_a_session_lives_150_s_and_evidence_renews_it(service: SessionService, make: Make) -> None:
    session = _open(service)
    later = NOW + 149 * 10**9
    service.submit("a", EVIDENCE_MEDIA_TYPE, make(session.nonce), now_ns=later)
    assert service.get("a", now_ns=later + 149 * 10**9)
    with pytest.raises(Denied) as denied:
        service.get("a", now_ns=later + 150 * 10**9)
    assert denied.value.reason is RefusalReason.SESSION
    assert not service.state.sessions


def test_a_deleted_session_is_not_found(service: SessionService) -> None:
    _open(service)
    service.delete("a", now_ns=NOW)
    for call in (service.get, service.delete):
        with pytest.raises(Denied):
            call("a", now_ns=NOW)


def test_the_document_is_that_of_the_service(service: SessionService, make: Make) -> None:
    session = _open(service)
    assert session.document() == {
        "status": "waiting", "nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "expiry": "2027-01-15T08:02:30Z",
        "accept": ['application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"'],
    }  # fmt: skip
    token = make(session.nonce)
    document = service.submit("a", EVIDENCE_MEDIA_TYPE, token, now_ns=NOW).document()
    assert document["status"] == "complete"
    assert base64.b64decode(document["evidence"]["value"]) == token
    assert document["result"].count(".") == 2


def test_discovery_tells_the_key_of_the_results(service: SessionService) -> None:
    told = service.capabilities()
    assert PublicKey.from_jwk(told["ear-verification-key"]) == ISSUER.key.public
    assert told["media-types"] == [EVIDENCE_MEDIA_TYPE]


@pytest.mark.parametrize(
    "content_type", ["application/cmw+cbor", "application/vnd.veraison.cmw+cbor", "application/cmw"]
)
def test_evidence_in_a_cbor_wrapper_is_unwrapped(service: SessionService, make: Make, content_type: str) -> None:
    session = _open(service)
    body = cbor2.dumps([EVIDENCE_MEDIA_TYPE, make(session.nonce)])
    assert _result(service.submit("a", content_type, body, now_ns=NOW)).affirming


@pytest.mark.parametrize(
    "content_type", ["application/cmw+json", "application/vnd.veraison.cmw+json", "application/cmw"]
)
def test_evidence_in_a_json_wrapper_is_unwrapped(service: SessionService, make: Make, content_type: str) -> None:
    session = _open(service)
    body = json.dumps([EVIDENCE_MEDIA_TYPE, to_base64url(make(session.nonce)), 4]).encode()
    assert _result(service.submit("a", content_type, body, now_ns=NOW)).affirming


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/cmw+json", b"{}"), ("application/cmw+json", b"[1, 2]"), ("application/cmw+json", b'["a", 1]'),
        ("application/cmw+json", b'["a", "?"]'), ("application/cmw+cbor", b"\x80"), ("application/cmw+cbor", b"\xff"),
        ("application/cmw+cbor", cbor2.dumps(["a", "text"])), ("application/cmw", b""),
    ],
)  # fmt: skip
def test_a_broken_wrapper_is_refused_and_the_session_keeps_waiting(
    service: SessionService, content_type: str, body: bytes
) -> None:
    _open(service)
    with pytest.raises(Malformed):
        service.submit("a", content_type, body, now_ns=NOW)
    assert service.get("a", now_ns=NOW).state is SessionState.WAITING


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/eat-collection", 'application/eat-collection; profile="x"']
)
def test_another_media_type_is_refused_and_the_session_keeps_waiting(
    service: SessionService, content_type: str
) -> None:
    _open(service)
    with pytest.raises(UnsupportedMediaType):
        service.submit("a", content_type, b"x", now_ns=NOW)
    assert service.get("a", now_ns=NOW).state is SessionState.WAITING


def test_media_types_are_compared_by_meaning() -> None:
    assert same_media_type("Application/EAT-collection;profile=http://arm.com/CCA-SSD/1.0.0", EVIDENCE_MEDIA_TYPE)
    assert not same_media_type("application/eat-collection", EVIDENCE_MEDIA_TYPE)


@pytest.mark.parametrize(
    ("nonce", "size"),
    [
        (to_base64url(bytes(7)), None), (to_base64url(bytes(65)), None), ("?", None), ("", None), (None, "7"),
        (None, "65"), (None, "-8"), (None, "x"), (None, ""), (None, "9" * 5000), (to_base64url(bytes(8)), "8"),
    ],
)  # fmt: skip
def test_a_wrong_nonce_request_is_refused(nonce: str | None, size: str | None) -> None:
    with pytest.raises(Malformed):
        read_nonce_request(nonce, size)


def test_a_nonce_request_is_read() -> None:
    assert read_nonce_request(None, None) == (None, 32)
    assert read_nonce_request(None, "64") == (None, 64)
    assert read_nonce_request(base64.urlsafe_b64encode(bytes(8)).decode(), None) == (bytes(8), 8)


def test_expired_sessions_make_room(service: SessionService) -> None:
    for number in range(5):
        service.new_session(NonceRequest(None, 8), session_id=str(number), entropy=ENTROPY, now_ns=NOW + number)
    service.new_session(NonceRequest(None, 8), session_id="z", entropy=ENTROPY, now_ns=NOW + service.lifetime_ns + 2)
    assert list(service.state.sessions) == ["3", "4", "z"]


def test_a_service_continues_from_its_snapshot(
    service: SessionService, anchors: TrustAnchors, references: ReferenceValues, make
) -> None:
    session = _open(service)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(service.state), type=SessionsState)
    again = SessionService(anchors, references, ISSUER, state=state)
    token = make(session.nonce)
    results = [each.submit("a", EVIDENCE_MEDIA_TYPE, token, now_ns=NOW).result for each in (service, again)]
    assert results[0] == results[1]


@pytest.mark.parametrize("state", list(SessionState))
@pytest.mark.parametrize("event", list(SessionInput))
def test_the_state_table_has_exactly_its_rows(state: SessionState, event: SessionInput) -> None:
    session = VerificationSession("id", b"nonce", 0, state=state)
    if (state, event) in TRANSITIONS:
        effect = session.move(event)
        assert (session.state, effect) == TRANSITIONS[state, event]
    else:
        with pytest.raises(Refused):
            session.move(event)
        assert session.state is state


def test_every_state_is_reached_and_none_leads_back() -> None:
    assert {SessionState.WAITING} | {target for target, _ in TRANSITIONS.values()} == set(SessionState)
    assert SessionState.WAITING not in {target for target, _ in TRANSITIONS.values()}


@given(st.integers(0, 253402300799))
def test_instants_are_written_as_the_calendar_has_them(seconds: int) -> None:
    expected = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert rfc3339(seconds * 10**9) == expected.rjust(20, "0")
