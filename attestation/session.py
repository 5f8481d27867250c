"""Verification sessions as the Veraison service offers them: new session, nonce, evidence, signed result; no sockets.

The caller supplies nonce entropy, session id and the present instant, so that the same code serves a repeatable
simulation and a live server. A bad token is no error here: it is a complete session with a contraindicated result.
Source: veraison/services verification/api (challenge-response v1), veraison/docs api/challenge-response.
"""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from attestation import cbor
from attestation.appraise import appraise, failed
from attestation.ear import sign_jwt
from attestation.ear_results import Issuer, veraison_result
from attestation.errors import Denied, Malformed, RefusalReason, Refused
from attestation.keys import from_base64url, to_base64url
from attestation.stores import ReferenceValues, TrustAnchors, read_json
from attestation.token import decode
from attestation.verify import PlatformCache, Verified, check_freshness, verify

SESSION_LIFETIME_NS = 150 * 10**9
MAX_SESSIONS = 100_000
MIN_NONCE, MAX_NONCE, DEFAULT_NONCE = 8, 64, 32
SESSION_MEDIA_TYPE = "application/vnd.veraison.challenge-response-session+json"
EVIDENCE_MEDIA_TYPE = 'application/eat-collection; profile="http://arm.com/CCA-SSD/1.0.0"'
PROBLEM_MEDIA_TYPE = "application/problem+json"
NEW_SESSION = "/challenge-response/v1/newSession"
_CMW_JSON = frozenset({"application/cmw+json", "application/vnd.veraison.cmw+json"})
_CMW_CBOR = frozenset({"application/cmw+cbor", "application/vnd.veraison.cmw+cbor"})
_CMW_EITHER = frozenset({"application/cmw", "application/vnd.veraison.cmw"})
_NS_PER_S = 10**9


class SessionState(StrEnum):
    """Where a verification session stands; the values are those of the service's JSON."""

    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETE = "complete"
    FAILED = "failed"


class SessionInput(StrEnum):
    """What moves a session."""

    EVIDENCE_RECEIVED = "evidence-received"
    RESULT_ISSUED = "result-issued"
    VERIFIER_FAILED = "verifier-failed"


class SessionEffect(StrEnum):
    """What a move does besides changing the state."""

    KEEP_EVIDENCE = "keep-evidence"
    KEEP_RESULT = "keep-result"
    NOTHING = "nothing"


TRANSITIONS: dict[tuple[SessionState, SessionInput], tuple[SessionState, SessionEffect]] = {
    (SessionState.WAITING, SessionInput.EVIDENCE_RECEIVED): (SessionState.PROCESSING, SessionEffect.KEEP_EVIDENCE),
    (SessionState.PROCESSING, SessionInput.RESULT_ISSUED): (SessionState.COMPLETE, SessionEffect.KEEP_RESULT),
    (SessionState.PROCESSING, SessionInput.VERIFIER_FAILED): (SessionState.FAILED, SessionEffect.NOTHING),
}
"""(state, input) to (next state, effect). One nonce admits one piece of evidence: no row leads back to WAITING."""


class VerificationSession(msgspec.Struct):
    """One session: its nonce, until when it lives (ns since the epoch), and what came of it."""

    id: str
    nonce: bytes
    expires_ns: int
    state: SessionState = SessionState.WAITING
    evidence_type: str = ""
    evidence: bytes = b""
    result: str = ""

    def move(self, event: SessionInput) -> SessionEffect:
        """Take one step of the table. Raises Denied (session) when the state does not know the input."""
        step = TRANSITIONS.get((self.state, event))
        if step is None:
            raise Denied(f"session is {self.state}: {event} is not possible", reason=RefusalReason.SESSION)
        self.state, effect = step
        return effect

    def document(self) -> dict[str, Any]:
        """The session as the service's JSON."""
        document: dict[str, Any] = {
            "status": self.state.value,
            "nonce": to_base64url(self.nonce),
            "expiry": rfc3339(self.expires_ns),
            "accept": [EVIDENCE_MEDIA_TYPE],
        }
        if self.evidence_type:
            value = base64.b64encode(self.evidence).decode()
            document["evidence"] = {"type": self.evidence_type, "value": value}
        if self.result:
            document["result"] = self.result
        return document


class SessionsState(msgspec.Struct):
    """Everything of a session service that a snapshot holds."""

    sessions: dict[str, VerificationSession] = {}
    version: int = 1


class UnsupportedMediaType(Malformed):
    """Evidence came under a media type that the service does not take (HTTP 415)."""


class NonceRequest(NamedTuple):
    """What a client asks for: its own nonce, or one of ``size`` bytes."""

    nonce: bytes | None
    size: int


def read_nonce_request(nonce: str | None, size: str | None) -> NonceRequest:
    """Read the query of newSession: a nonce in base64url, or the size of one in bytes, not both. Raises Malformed."""
    if nonce is not None and size is not None:
        raise Malformed("nonce and nonceSize must not both be given", label="nonceSize")
    if nonce is not None:
        try:
            own = from_base64url(nonce.rstrip("="))
        except Malformed:
            raise Malformed("nonce is not base64url", label="nonce") from None
        if not MIN_NONCE <= len(own) <= MAX_NONCE:
            raise Malformed(f"nonce must be {MIN_NONCE} to {MAX_NONCE} bytes, is {len(own)}", label="nonce")
        return NonceRequest(own, len(own))
    if size is None:
        return NonceRequest(None, DEFAULT_NONCE)
    number = int(size) if size.isascii() and size.isdecimal() and len(size) < 4 else 0
    if not MIN_NONCE <= number <= MAX_NONCE:
        raise Malformed(f"nonceSize must be a number from {MIN_NONCE} to {MAX_NONCE}", label="nonceSize")
    return NonceRequest(None, number)


class SessionService:
    """Verifies evidence in sessions and signs Veraison results."""

    def __init__(
        self,
        anchors: TrustAnchors,
        references: ReferenceValues,
        issuer: Issuer,
        *,
        state: SessionsState | None = None,
        trusted_platforms: PlatformCache | None = None,
        lifetime_ns: int = SESSION_LIFETIME_NS,
    ) -> None:
        self.anchors = anchors
        self.references = references
        self.issuer = issuer
        self.state = SessionsState() if state is None else state
        self.trusted_platforms = trusted_platforms
        self.lifetime_ns = lifetime_ns

    def new_session(
        self, request: NonceRequest, *, session_id: str, entropy: bytes, now_ns: int
    ) -> VerificationSession:
        """Open a session; ``entropy`` (64 bytes) is what a nonce is cut from when the client brings none."""
        self._make_room(now_ns)
        nonce = request.nonce if request.nonce is not None else entropy[: request.size]
        session = VerificationSession(session_id, nonce, now_ns + self.lifetime_ns)
        self.state.sessions[session_id] = session
        return session

    def get(self, session_id: str, *, now_ns: int) -> VerificationSession:
        """Find a session. Raises Denied (session) when it is unknown or has expired."""
        session = self.state.sessions.get(session_id)
        if session is None or now_ns >= session.expires_ns:
            self.state.sessions.pop(session_id, None)
            raise Denied("session not found", reason=RefusalReason.SESSION)
        return session

    def delete(self, session_id: str, *, now_ns: int) -> None:
        """Forget a session. Raises Denied (session) when it is unknown."""
        del self.state.sessions[self.get(session_id, now_ns=now_ns).id]

    def submit(self, session_id: str, media_type: str, body: bytes, *, now_ns: int) -> VerificationSession:
        """Take evidence, judge it, and keep the signed result.

        Raises Denied (session) for a session that is unknown or has had its evidence, UnsupportedMediaType, or
        Malformed for a conceptual message wrapper that cannot be opened.
        """
        session = self.get(session_id, now_ns=now_ns)
        kind, evidence = unwrap(media_type, body)
        if not same_media_type(kind, EVIDENCE_MEDIA_TYPE):
            raise UnsupportedMediaType(f"media type {kind!r:.120} is not supported", label="content-type")
        session.move(SessionInput.EVIDENCE_RECEIVED)
        session.evidence_type, session.evidence = EVIDENCE_MEDIA_TYPE, evidence
        # the service renews a session whenever it stores it
        session.expires_ns = now_ns + self.lifetime_ns
        session.result = self._result(session, evidence, now_ns)
        session.move(SessionInput.RESULT_ISSUED)
        return session

    def _result(self, session: VerificationSession, evidence: bytes, now_ns: int) -> str:
        verified: Verified | None = None
        try:
            # the service looks at the challenge before it looks at signatures
            check_freshness(decode(evidence).realm.claims, session.nonce)
            verified = verify(evidence, self.anchors, session.nonce, trusted_platforms=self.trusted_platforms)
            appraisal = appraise(verified, self.references)
        except Refused as refusal:
            appraisal = failed(refusal)
        result = veraison_result(
            appraisal, verified, issued_at=now_ns // _NS_PER_S, nonce=to_base64url(session.nonce),
            verifier=self.issuer.verifier,
        )  # fmt: skip
        return sign_jwt(result, self.issuer.key)

    def capabilities(self) -> dict[str, Any]:
        """What the discovery endpoint tells: key of the results, media types, endpoints."""
        return {
            "ear-verification-key": {"alg": "ES256", **self.issuer.key.public.jwk()},
            "media-types": [EVIDENCE_MEDIA_TYPE],
            "version": self.issuer.verifier.build,
            "service-state": "READY",
            "api-endpoints": {"newChallengeResponseSession": NEW_SESSION},
        }

    def _make_room(self, now_ns: int) -> None:
        """Keep the number of sessions bounded: expired ones leave, then the oldest."""
        sessions = self.state.sessions
        while sessions:
            oldest = sessions[next(iter(sessions))]
            if len(sessions) < MAX_SESSIONS and now_ns < oldest.expires_ns:
                return
            del sessions[oldest.id]


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """An error body of the service (RFC 9457)."""
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a media type, in lower case where case does not matter."""
    kind, *parameters = text.split(";")
    pairs = (parameter.partition("=") for parameter in parameters if "=" in parameter)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def same_media_type(one: str, other: str) -> bool:
    """Whether two media types are the same, however they are spaced and quoted."""
    return media_type(one) == media_type(other)


def unwrap(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Take evidence out of a conceptual message wrapper, if it is in one: media type and bytes. Raises Malformed."""
    kind, _ = media_type(content_type)
    if kind in _CMW_EITHER:
        kind = "application/cmw+json" if body.lstrip()[:1] == b"[" else "application/cmw+cbor"
    if kind in _CMW_JSON:
        record = read_json(body, "conceptual message wrapper")
    elif kind in _CMW_CBOR:
        record = cbor.decode(body)
    else:
        return content_type, body
    if not isinstance(record, list) or not 2 <= len(record) <= 3 or not isinstance(record[0], str):
        raise Malformed("conceptual message wrapper is not [media type, value]")
    value = record[1]
    if kind in _CMW_JSON and isinstance(value, str):
        return record[0], from_base64url(value)
    if kind in _CMW_JSON or not isinstance(value, bytes):
        raise Malformed("value in the conceptual message wrapper is not bytes")
    return record[0], value


def rfc3339(at_ns: int) -> str:
    """An instant (ns since the epoch) as RFC 3339 text in UTC, to the second."""
    days, seconds = divmod(at_ns // _NS_PER_S, 86400)
    # civil date from a day count, in eras of 400 years that begin on 1 March
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day, month = day_of_year - (153 * shifted + 2) // 5 + 1, shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"
