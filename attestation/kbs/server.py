"""The broker's side of the key-broker exchange: message in, message out.

The caller supplies nonce, ephemeral seed and the present instant, so that the same code serves a repeatable simulation
and a live server. Source: confidential-containers/trustee, kbs/src (protocol 0.4.0).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from attestation import policy as policies
from attestation.appraise import Appraisal, Scheme, appraise, failed
from attestation.ear import EarProfile, sign_jwt, verify_jwt
from attestation.ear_results import Issuer, bound_key, policy_facts, trustee_result
from attestation.errors import Denied, RefusalReason, Refused, Stale, Untrusted
from attestation.kbs import jwe, messages
from attestation.kbs.exchange import (
    AuditEvent,
    AuditRecord,
    BrokerState,
    ExchangeEffect,
    ExchangeInput,
    ExchangeState,
    Session,
)
from attestation.keys import PublicKey
from attestation.policy import Policy, PolicyResult, Verdict
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.verify import PlatformCache, Verified, verify

SESSION_LIFETIME_NS = 300 * 10**9
MAX_SESSIONS = 100_000
MAX_AUDIT_RECORDS = 100_000
_NS_PER_S = 10**9
_ATTESTED = (ExchangeState.APPRAISED, ExchangeState.RELEASED)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one piece of evidence: the verdict, the kind and text of the reason, and what they rest on.

    ``token`` is the signed result (JWT), present when the evidence verified and the broker has an issuer: a policy that
    says no does not withhold it, as in Trustee.
    """

    session: str
    verdict: Verdict
    reason: RefusalReason | None
    detail: str
    appraisal: Appraisal
    policy: PolicyResult | None = None
    operations: int = 0
    instance_id: bytes = b""
    initial_measurement: bytes = b""
    token: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the evidence verified and releases something."""
        return self.verdict is Verdict.ALLOW


class Broker:
    """Releases resources (by ``repository/type/tag``) to Realms whose evidence satisfies the policy."""

    def __init__(
        self,
        resources: Mapping[str, bytes],
        policy: Policy,
        anchors: TrustAnchors,
        references: ReferenceValues,
        *,
        state: BrokerState | None = None,
        trusted_platforms: PlatformCache | None = None,
        session_lifetime_ns: int = SESSION_LIFETIME_NS,
        scheme: Scheme = Scheme.VERAISON,
        issuer: Issuer | None = None,
    ) -> None:
        self.resources = resources
        self.policy = policy
        self.anchors = anchors
        self.references = references
        self.state = BrokerState() if state is None else state
        self.trusted_platforms = trusted_platforms
        self.session_lifetime_ns = session_lifetime_ns
        self.scheme = scheme
        self.issuer = issuer

    def request(
        self, body: bytes, nonce: bytes, *, now_ns: int = 0, session_id: str | None = None
    ) -> tuple[str, bytes]:
        """Answer a Request: session id (the cookie) and Challenge body.

        ``session_id`` defaults to one derived from the nonce: repeatable, and guessable by whoever sees the nonce, so a
        live server passes its own. Raises Malformed or Denied.
        """
        messages.check_request(body)
        if session_id is None:
            session_id = hashlib.sha256(b"kbs session\0" + nonce).hexdigest()[:32]
        self._make_room(now_ns)
        text = base64.b64encode(nonce).decode()
        self.state.sessions[session_id] = Session(session_id, text, now_ns)
        return session_id, messages.challenge_body(nonce)

    def attest(self, session: str, body: bytes, *, now_ns: int = 0) -> Decision:
        """Verify, appraise and judge the evidence of an Attestation; bad evidence is a Decision that denies.

        Raises Denied (session) only when the session is unknown, expired, or past its one attestation.
        """
        record = self._session(session, now_ns)
        if record.state is not ExchangeState.CHALLENGED:
            raise Denied(f"session is {record.state}: its nonce is used up", reason=RefusalReason.SESSION)
        try:
            message = messages.Attestation(body)
            if not hmac.compare_digest(message.nonce.encode(), record.nonce.encode()):
                raise Stale("runtime data carry another nonce than this session's", label="nonce")
            verified = verify(message.token, self.anchors, message.challenge, trusted_platforms=self.trusted_platforms)
        except Refused as refusal:
            record.problem = str(refusal)
            record.move(ExchangeInput.EVIDENCE_REFUSED)
            self._record(record, now_ns, AuditEvent.REFUSED, "", refusal.reason, str(refusal))
            return Decision(
                session=session, verdict=Verdict.DENY, reason=refusal.reason, detail=str(refusal),
                appraisal=failed(refusal),
            )  # fmt: skip
        record.tee_key = message.tee_key.raw()
        return self._judge(record, verified, message, now_ns)

    def _judge(self, record: Session, verified: Verified, message: messages.Attestation, now_ns: int) -> Decision:
        appraisal = appraise(verified, self.references, self.scheme)
        record.facts = policies.facts_of(verified, appraisal, self.references)
        record.move(ExchangeInput.EVIDENCE_VERIFIED)
        result = policies.evaluate_any(self.policy, record.facts)
        admits = result.verdict is Verdict.ALLOW
        detail = result.summary()
        effect = record.move(ExchangeInput.POLICY_ADMITS if admits else ExchangeInput.POLICY_REFUSES)
        if effect is ExchangeEffect.RECORD:
            record.problem = detail
        reason = None if admits else RefusalReason.POLICY
        event = AuditEvent.ADMITTED if admits else AuditEvent.REFUSED
        self._record(record, now_ns, event, "", reason or "policy", detail)
        return Decision(
            session=record.id, verdict=result.verdict, reason=reason, detail=detail, appraisal=appraisal,
            policy=result, operations=verified.operations, instance_id=verified.platform.instance_id,
            initial_measurement=verified.realm.initial_measurement,
            token=self._token(appraisal, verified, message, record, now_ns),
        )  # fmt: skip

    def _token(
        self, appraisal: Appraisal, verified: Verified, message: messages.Attestation, record: Session, now_ns: int
    ) -> str:
        """The signed result, in which a later bearer finds key and facts again; empty without an issuer."""
        if self.issuer is None:
            return ""
        runtime = {"nonce": message.nonce, "tee-pubkey": messages.tee_pubkey(message.tee_key)}
        result = trustee_result(
            appraisal, verified, issued_at=now_ns // _NS_PER_S, runtime_data=runtime, facts=record.facts,
            issuer=self.issuer,
        )  # fmt: skip
        return sign_jwt(result, self.issuer.key, embed_key=True)

    def resource(self, session: str, path: str, ephemeral_seed: bytes, *, now_ns: int = 0) -> bytes:
        """Release a resource as a JWE for the key that the evidence bound. Raises Denied, and records why."""
        record = self._session(session, now_ns)
        try:
            if record.state not in _ATTESTED:
                why = f": {record.problem}" if record.problem else ""
                raise Denied(f"session is {record.state}, not attested{why}", reason=RefusalReason.SESSION)
            name, content, summary = self._release(record.facts, path)
        except Denied as denial:
            if record.state in _ATTESTED:
                record.move(ExchangeInput.RESOURCE_DENIED)
            self._record(record, now_ns, AuditEvent.DENIED, path, denial.reason, denial.message)
            raise
        sealed = jwe.seal(content, PublicKey.from_raw(record.tee_key), ephemeral_seed)
        record.move(ExchangeInput.RESOURCE_RELEASED)
        self._record(record, now_ns, AuditEvent.RELEASED, name, "policy", summary)
        return sealed

    def bearer_resource(self, token: str, path: str, ephemeral_seed: bytes, *, now_ns: int = 0) -> bytes:
        """Release a resource to the bearer of a result of ours (``Authorization: Bearer``), session or not.

        Key and facts are those in the token. Raises Refused, and records why once the token is known to be ours.
        """
        if self.issuer is None:
            raise Untrusted("this broker issues no tokens", reason=RefusalReason.UNKNOWN_KEY)
        result = verify_jwt(token, self.issuer.key.public, now_s=now_ns // _NS_PER_S)
        if result.profile != EarProfile.TRUSTEE or result.expires_at is None:
            raise Untrusted("token is not one that opens resources", reason=RefusalReason.PROFILE, label="eat_profile")
        record = Session("", "", now_ns, tee_key=bound_key(result).raw(), facts=policy_facts(result))
        try:
            name, content, summary = self._release(record.facts, path)
        except Denied as denial:
            self._record(record, now_ns, AuditEvent.DENIED, path, denial.reason, denial.message)
            raise
        self._record(record, now_ns, AuditEvent.RELEASED, name, "policy", summary)
        return jwe.seal(content, PublicKey.from_raw(record.tee_key), ephemeral_seed)

    def _release(self, facts: dict[str, int | str], path: str) -> tuple[str, bytes, str]:
        """Name, content and the policy's word for a resource. Raises Denied."""
        name = resource_name(path)
        result = policies.evaluate(self.policy, facts, name)
        if result.verdict is not Verdict.ALLOW:
            raise Denied(f"policy says {result.verdict}: {result.summary()}")
        # policy first: who may not have a resource does not learn whether it exists
        content = self.resources.get(name)
        if content is None:
            raise Denied(f"no resource {name}", reason=RefusalReason.RESOURCE)
        return name, content, result.summary()

    def _session(self, session_id: str, now_ns: int) -> Session:
        record = self.state.sessions.get(session_id)
        if record is None:
            raise Denied("no such session", reason=RefusalReason.SESSION)
        if now_ns - record.created_ns > self.session_lifetime_ns:
            del self.state.sessions[session_id]
            raise Denied("session has expired", reason=RefusalReason.SESSION)
        return record

    def _make_room(self, now_ns: int) -> None:
        """Keep the number of sessions bounded: expired ones leave, then the oldest."""
        sessions = self.state.sessions
        while sessions:
            oldest = sessions[next(iter(sessions))]
            if len(sessions) < MAX_SESSIONS and now_ns - oldest.created_ns <= self.session_lifetime_ns:
                return
            del sessions[oldest.id]

    def _record(self, record: Session, now_ns: int, event: AuditEvent, resource: str, reason: str, detail: str) -> None:
        state = self.state
        if len(state.audit) >= MAX_AUDIT_RECORDS:
            del state.audit[0]
        state.audit.append(
            AuditRecord(
                number=state.audit_count, at_ns=now_ns, session=record.id, event=event, resource=resource,
                reason=str(reason), detail=detail, instance_id=str(record.facts.get("platform.instance-id", "")),
                initial_measurement=str(record.facts.get("realm.initial-measurement", "")),
            )
        )  # fmt: skip
        state.audit_count += 1


def resource_name(path: str) -> str:
    """The resource a path names: ``repository/type/tag``, alone or under the broker's URL. Raises Denied (path)."""
    name = path.removeprefix("kbs://").lstrip("/").removeprefix("kbs/v0/resource/")
    parts = name.split("/")
    if len(parts) != 3 or not all(part and part not in (".", "..") for part in parts):
        raise Denied(f"{path!r:.100} does not name repository/type/tag", reason=RefusalReason.PATH)
    return name
