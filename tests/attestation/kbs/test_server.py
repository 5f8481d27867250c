"""The whole exchange: a good Realm gets its secret, everyone else a recorded denial."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from attestation import ear
from attestation.claims import PlatformClaims, RealmClaims
from attestation.ear_results import Issuer
from attestation.errors import Denied, RefusalReason, Refused
from attestation.kbs import messages
from attestation.kbs.client import Guest
from attestation.kbs.exchange import (
    TRANSITIONS,
    AuditEvent,
    BrokerState,
    ExchangeInput,
    ExchangeState,
    Session,
)
from attestation.kbs.server import Broker, Decision, resource_name
from attestation.keys import Curve, SigningKey, derive_key, from_base64url
from attestation.policy import Policy, Rule, Verdict, default_policy
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import create
from attestation.verify import PlatformCache

RESOURCES = {"default/disk/key": b"disk key", "default/tls/key": b"tls key"}
NONCE = bytes(range(32))
DISK = "default/disk/key"


class Bench:
    """A broker, a guest and a machine that makes the guest's tokens."""

    def __init__(
        self,
        platform: PlatformClaims,
        realm: RealmClaims,
        cpak: SigningKey,
        rak: SigningKey,
        references: ReferenceValues,
    ) -> None:
        self.platform, self.realm, self.cpak, self.rak = platform, realm, cpak, rak
        policy = default_policy(minimum_versions={"RMM": "0.6.0"})
        self.broker = Broker(RESOURCES, policy, TrustAnchors.any_instance(cpak.public), references)
        self.guest = Guest(b"guest seed")

    def token(self, challenge: bytes) -> bytes:
        realm = msgspec.structs.replace(self.realm, challenge=challenge)
        return create(self.platform, realm, self.cpak, self.rak)

    def ask(self, nonce: bytes = NONCE, now_ns: int = 0) -> tuple[str, bytes]:
        session, challenge = self.broker.request(self.guest.request(), nonce, now_ns=now_ns)
        return session, self.guest.receive(challenge)

    def attest(self, nonce: bytes = NONCE) -> Decision:
        session, challenge = self.ask(nonce)
        return self.broker.attest(session, self.guest.attestation(self.token(challenge)))


@pytest.fixture
def bench(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey,
    references: ReferenceValues,
) -> Bench:  # fmt: skip
    return Bench(platform_claims, realm_claims, cpak, rak, references)


def _audit(bench: Bench) -> list[tuple[AuditEvent, str]]:
    return [(record.event, record.reason) for record in bench.broker.state.audit]


def test_a_good_realm_gets_its_secret(bench: Bench) -> None:
    decision = bench.attest()
    assert decision.accepted
    assert decision.operations == 2
    assert decision.initial_measurement == bench.realm.initial_measurement
    sealed = bench.broker.resource(decision.session, DISK, b"ephemeral")
    assert bench.guest.open(sealed) == RESOURCES[DISK]
    assert (
        bench.guest.open(bench.broker.resource(decision.session, "/kbs/v0/resource/default/tls/key", b"e2"))
        == b"tls key"
    )
    assert _audit(bench) == [
        (AuditEvent.ADMITTED, "policy"), (AuditEvent.RELEASED, "policy"), (AuditEvent.RELEASED, "policy"),
    ]  # fmt: skip
    assert bench.broker.state.audit[1].instance_id == bench.platform.instance_id.hex()
    assert bench.broker.state.audit[1].initial_measurement == bench.realm.initial_measurement.hex()


def test_the_same_exchange_repeats_byte_for_byte(
    bench: Bench, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey,
    references: ReferenceValues,
) -> None:  # fmt: skip
    twin = Bench(platform_claims, realm_claims, cpak, rak, references)
    sealed = [each.broker.resource(each.attest().session, DISK, b"ephemeral") for each in (bench, twin)]
    assert sealed[0] == sealed[1]
    assert bench.broker.state == twin.broker.state


def test_a_broker_continues_from_its_snapshot(bench: Bench) -> None:
    decision = bench.attest()
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.broker.state), type=BrokerState)
    again = Broker(RESOURCES, bench.broker.policy, bench.broker.anchors, bench.broker.references, state=state)
    guest = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.guest), type=Guest)
    assert guest.open(again.resource(decision.session, DISK, b"ephemeral")) == RESOURCES[DISK]


def _refused(bench: Bench, decision: Decision, reason: RefusalReason) -> None:
    assert decision.verdict is not Verdict.ALLOW
    assert decision.reason is reason
    assert bench.broker.state.audit[-1].event is AuditEvent.REFUSED
    assert bench.broker.state.audit[-1].reason == reason
    with pytest.raises(Denied) as denied:
        bench.broker.resource(decision.session, DISK, b"ephemeral")
    assert denied.value.reason is RefusalReason.SESSION
    assert bench.broker.state.audit[-1].event is AuditEvent.DENIED


def test_a_stale_token_is_refused(bench: Bench) -> None:
    _, old_challenge = bench.ask(b"\1" * 32)
    old = bench.token(old_challenge)
    session, _ = bench.ask(b"\2" * 32)
    _refused(bench, bench.broker.attest(session, bench.guest.attestation(old)), RefusalReason.FRESHNESS)


def test_a_replayed_attestation_is_refused_in_another_session(bench: Bench) -> None:
    _, challenge = bench.ask(b"\1" * 32)
    body = bench.guest.attestation(bench.token(challenge))
    session, _ = bench.ask(b"\2" * 32)
    _refused(bench, bench.broker.attest(session, body), RefusalReason.FRESHNESS)


def test_a_token_bound_to_another_key_is_refused(bench: Bench) -> None:
    session, challenge = bench.ask()
    thief = Guest(b"thief")
    thief.challenge(bench.guest.nonce)
    body = thief.attestation(bench.token(challenge))
    _refused(bench, bench.broker.attest(session, body), RefusalReason.FRESHNESS)


def test_a_tampered_token_is_refused(bench: Bench) -> None:
    session, challenge = bench.ask()
    token = bench.token(challenge)
    tampered = token[:-1] + bytes([token[-1] ^ 1])
    _refused(bench, bench.broker.attest(session, bench.guest.attestation(tampered)), RefusalReason.SIGNATURE)


def test_an_unknown_realm_image_is_refused_by_policy(bench: Bench) -> None:
    bench.realm = msgspec.structs.replace(bench.realm, initial_measurement=bytes(32))
    _refused(bench, bench.attest(), RefusalReason.POLICY)


def test_a_platform_without_the_rmm_measurement_is_not_released_to(bench: Bench) -> None:
    components = bench.platform.sw_components[:2]
    bench.platform = msgspec.structs.replace(bench.platform, sw_components=components)
    decision = bench.attest()
    assert decision.verdict is Verdict.UNKNOWN
    _refused(bench, decision, RefusalReason.POLICY)


def test_malformed_evidence_is_a_decision_and_no_exception(bench: Bench) -> None:
    session, _ = bench.ask()
    _refused(bench, bench.broker.attest(session, b"{"), RefusalReason.MALFORMED)


def test_a_nonce_admits_one_attestation_only(bench: Bench) -> None:
    decision = bench.attest()
    body = bench.guest.attestation(b"anything")
    with pytest.raises(Denied, match="used up"):
        bench.broker.attest(decision.session, body)
    assert bench.guest.open(bench.broker.resource(decision.session, DISK, b"e")) == RESOURCES[DISK]


def test_no_resource_before_attestation(bench: Bench) -> None:
    session, _ = bench.ask()
    with pytest.raises(Denied, match="not attested"):
        bench.broker.resource(session, DISK, b"e")
    with pytest.raises(Denied, match="no such session"):
        bench.broker.resource("unknown", DISK, b"e")


def test_a_session_expires(bench: Bench) -> None:
    session, challenge = bench.ask()
    body = bench.guest.attestation(bench.token(challenge))
    late = bench.broker.session_lifetime_ns + 1
    with pytest.raises(Denied, match="expired"):
        bench.broker.attest(session, body, now_ns=late)
    assert session not in bench.broker.state.sessions


def test_expired_sessions_make_room_for_new_ones(bench: Bench) -> None:
    for number in range(5):
        bench.ask(bytes([number]) * 32, now_ns=number)
    assert len(bench.broker.state.sessions) == 5
    bench.ask(b"\x99" * 32, now_ns=bench.broker.session_lifetime_ns + 3)
    assert len(bench.broker.state.sessions) == 3


def test_resources_are_denied_by_name(bench: Bench) -> None:
    rule = bench.broker.policy.rules[0]
    narrow = Policy("narrow", "1", (Rule(rule.name, "default/*/key", rule.conditions),))
    bench.broker.policy = narrow
    session = bench.attest().session
    for path, reason in (
        ("default/none/key", RefusalReason.RESOURCE), ("payroll/db/key", RefusalReason.POLICY),
        ("default/disk", RefusalReason.PATH), ("default/../key", RefusalReason.PATH),
    ):  # fmt: skip
        with pytest.raises(Denied) as denied:
            bench.broker.resource(session, path, b"e")
        assert denied.value.reason is reason
        assert bench.broker.state.audit[-1].event is AuditEvent.DENIED
        assert bench.broker.state.audit[-1].reason == reason
    assert bench.guest.open(bench.broker.resource(session, DISK, b"e")) == RESOURCES[DISK]


def test_no_secret_in_the_audit_trail_or_an_error(bench: Bench) -> None:
    decision = bench.attest()
    bench.broker.resource(decision.session, DISK, b"e")
    written = msgspec.json.encode(bench.broker.state.audit)
    assert RESOURCES[DISK] not in written
    assert bench.guest.key().private_bytes().hex().encode() not in written


def test_a_broker_that_knows_the_platform_verifies_it_once(bench: Bench) -> None:
    bench.broker.trusted_platforms = PlatformCache()
    assert [bench.attest(bytes([number]) * 32).operations for number in range(3)] == [2, 1, 1]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"version":"0.4.0","tee":"snp"}', b'{"version":"0.4","tee":"cca"}', b'{"version":4,"tee":"cca"}'],
)
def test_a_request_that_is_not_ours_is_refused(bench: Bench, body: bytes) -> None:
    with pytest.raises(Refused):
        bench.broker.request(body, NONCE)
    assert not bench.broker.state.sessions


@pytest.mark.parametrize("state", list(ExchangeState))
@pytest.mark.parametrize("event", list(ExchangeInput))
def test_the_state_table_has_exactly_its_rows(state: ExchangeState, event: ExchangeInput) -> None:
    session = Session("id", "nonce", 0, state=state)
    if (state, event) in TRANSITIONS:
        effect = session.move(event)
        assert (session.state, effect) == TRANSITIONS[state, event]
    else:
        with pytest.raises(Denied):
            session.move(event)
        assert session.state is state


def test_every_state_is_reached_and_refusal_is_final() -> None:
    reached = {ExchangeState.CHALLENGED} | {target for target, _ in TRANSITIONS.values()}
    assert reached == set(ExchangeState)
    assert not [state for state, _ in TRANSITIONS if state is ExchangeState.REFUSED]
    assert ExchangeState.CHALLENGED not in {target for target, _ in TRANSITIONS.values()}


@pytest.mark.parametrize("path", ["a/b/c", "/a/b/c", "kbs:///a/b/c", "/kbs/v0/resource/a/b/c"])
def test_a_resource_path_is_read_in_each_form(path: str) -> None:
    assert resource_name(path) == "a/b/c"


def test_the_challenge_body_is_that_of_the_protocol(bench: Bench) -> None:
    _, body = bench.broker.request(messages.request_body(), NONCE)
    assert json.loads(body) == {"nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "extra-params": ""}


@pytest.fixture
def issuing(bench: Bench) -> Bench:
    bench.broker.issuer = Issuer(derive_key(b"broker", "attestation results", Curve.P256))
    return bench


def test_the_token_opens_resources_without_the_session(issuing: Bench) -> None:
    decision = issuing.attest()
    token = messages.read_response(messages.response_body(decision.token))
    del issuing.broker.state.sessions[decision.session]
    assert issuing.guest.open(issuing.broker.bearer_resource(token, DISK, b"e")) == RESOURCES[DISK]
    last = issuing.broker.state.audit[-1]
    assert (last.event, last.initial_measurement) == (AuditEvent.RELEASED, issuing.realm.initial_measurement.hex())


def test_the_token_is_the_result_that_trustee_issues(issuing: Bench) -> None:
    token = issuing.attest().token
    assert issuing.broker.issuer is not None
    header = json.loads(from_base64url(token.split(".")[0]))
    assert header["jwk"] == issuing.broker.issuer.key.public.jwk()
    result = ear.verify_jwt(token, issuing.broker.issuer.key.public, now_s=0)
    cpu = result.submods["cpu0"]
    assert result.profile == ear.EarProfile.TRUSTEE
    assert result.expires_at == 300
    assert cpu.status.text == "affirming"
    assert cpu.annotated_evidence is not None
    assert cpu.annotated_evidence["runtime_data_claims"]["tee-pubkey"] == messages.tee_pubkey(
        issuing.guest.key().public
    )
    assert (
        cpu.annotated_evidence["cca"]["realm"]["cca-realm-initial-measurement"]
        == base64.b64encode(issuing.realm.initial_measurement).decode()
    )


def test_a_token_outlived_tampered_or_of_a_stranger_opens_nothing(issuing: Bench) -> None:
    token = issuing.attest().token
    stranger = derive_key(b"stranger", "attestation results", Curve.P256)
    assert issuing.broker.issuer is not None
    forged = ear.sign_jwt(ear.verify_jwt(token, issuing.broker.issuer.key.public), stranger, embed_key=True)
    for bad, now_ns in ((token, 300 * 10**9), (token[:-2] + "AA", 0), (forged, 0), ("", 0)):
        with pytest.raises(Refused):
            issuing.broker.bearer_resource(bad, DISK, b"e", now_ns=now_ns)


def test_evidence_that_the_policy_refuses_gets_a_token_that_opens_nothing(issuing: Bench) -> None:
    issuing.realm = msgspec.structs.replace(issuing.realm, initial_measurement=bytes(32))
    decision = issuing.attest()
    assert decision.verdict is not Verdict.ALLOW
    with pytest.raises(Denied) as denied:
        issuing.broker.bearer_resource(decision.token, DISK, b"e")
    assert denied.value.reason is RefusalReason.POLICY
    assert issuing.broker.state.audit[-1].event is AuditEvent.DENIED


def test_refused_evidence_gets_no_token(issuing: Bench) -> None:
    session, _ = issuing.ask()
    assert issuing.broker.attest(session, b"{").token == ""


def test_a_veraison_result_under_the_same_key_opens_nothing(issuing: Bench) -> None:
    assert issuing.broker.issuer is not None
    key = issuing.broker.issuer.key
    result = msgspec.structs.replace(
        ear.verify_jwt(issuing.attest().token, key.public), profile=ear.EarProfile.VERAISON
    )
    with pytest.raises(Refused) as refused:
        issuing.broker.bearer_resource(ear.sign_jwt(result, key), DISK, b"e")
    assert refused.value.reason is RefusalReason.PROFILE
