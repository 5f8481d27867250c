"""A verifier outside the fleet: evidence goes to a real one, and its answer comes home as a journaled input.

Challenges, sessions and secrets stay the control plane's own: the outside verifier stands where an attestation service
stands behind a key broker. What it is asked leaves as a `Question`; whoever paces a live run asks it on the wall clock
and admits the answer, so that a replay finds it in the journal and asks nobody. Platform tokens after a boot are judged
here: they come without a Realm's half, and the protocols of outside verifiers take whole evidence only.
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from msgspec import Struct

from attestation.errors import Denied, RefusalReason, Refused, Stale
from attestation.kbs import jwe, messages
from attestation.kbs.messages import Attestation
from attestation.keys import PublicKey
from attestation.token import Evidence, decode
from cca_machine.layout import PRIVATE
from orchestrator.engine.streams import derive
from orchestrator.inputs import VerifierAnswered
from orchestrator.realms.attestation import EvidenceVerdict, Service, Subject, Verifier
from orchestrator.realms.policy import secrets
from orchestrator.realms.reference import expected_rim, realm_spec, resource_path, rim_rule


class Question(Struct, frozen=True):
    """What the outside verifier is asked: a token, and what its challenge must be made of.

    `challenge` are the 64 bytes that the token must carry; `runtime_data` the nonce and key that they are a hash of.
    """

    number: int
    realm: str
    token: bytes
    challenge: bytes
    runtime_data: dict[str, Any]


class _Open(Struct, frozen=True):
    subject: Subject
    session: str
    digest: str
    token: bytes
    tee_key: bytes
    arrived_ns: int


class OutsideVerifier(Verifier):
    """Sessions and secrets as ever; verdicts over Realms' evidence from outside."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._asked = 0
        self._open: dict[int, _Open] = {}
        self._keys: dict[str, bytes] = {}
        self._questions: list[Question] = []

    def take_questions(self) -> list[Question]:
        """What is to be asked and was not taken yet."""
        taken, self._questions = self._questions, []
        return taken

    def appraise_evidence(
        self, subject: Subject, session: str, evidence: bytes, arrived_ns: int
    ) -> EvidenceVerdict | None:
        """Hold the evidence to its session, and ask outside; a verdict at once only for another session's evidence."""
        self._introduce(subject.machine)
        try:
            message = Attestation(evidence)
            digest = self.digest(message.token)
            if self._sink is not None:
                self._sink(subject.realm, subject.incarnation, subject.machine, arrived_ns, message.token)
            posed = self._broker.state.sessions[session].nonce
            if not hmac.compare_digest(message.nonce.encode(), posed.encode()):
                raise Stale("runtime data carry another nonce than this session's", label="nonce")
        except Refused as refusal:
            self.close(session)
            digest = self.digest(evidence)
            return _refused(subject, session, digest, refusal.reason, str(refusal), _at(arrived_ns, arrived_ns))
        self._asked += 1
        runtime = {
            "additional-evidence": "",
            "nonce": message.nonce,
            "tee-pubkey": messages.tee_pubkey(message.tee_key),
        }
        self._questions.append(Question(self._asked, subject.realm, message.token, message.challenge, runtime))
        self._open[self._asked] = _Open(subject, session, digest, message.token, message.tee_key.raw(), arrived_ns)
        return None

    def answer(self, answered: VerifierAnswered, now_ns: int) -> EvidenceVerdict | None:
        """The verdict that an answer comes to at `now_ns` (virtual ns); None when nobody waits for it."""
        opened = self._open.pop(answered.question, None)
        if opened is None:
            return None
        subject, session, service = opened.subject, opened.session, _at(opened.arrived_ns, now_ns)
        reason, detail, evidence = answered.reason, answered.detail, None
        if answered.accepted:
            reason, detail, evidence = self._own(opened, detail)
        if evidence is None or reason:
            self.close(session)
            return msgspec.structs.replace(
                _refused(subject, session, opened.digest, reason, detail, service), tiers=answered.tiers
            )
        self._keys[session] = opened.tee_key
        return EvidenceVerdict(
            subject, session, True, "", detail, opened.digest, evidence.realm.claims.initial_measurement.hex(),
            answered.tiers, service, rak=evidence.realm.claims.public_key, platform_token=evidence.platform.token,
        )  # fmt: skip

    def _own(self, opened: _Open, detail: str) -> tuple[str, str, Evidence | None]:
        """Whether evidence that the verifier accepts is of the Realm that was asked for it."""
        subject = opened.subject
        try:
            evidence = decode(opened.token)
        except Refused as refusal:
            return refusal.reason, str(refusal), None
        spec = realm_spec(self._cluster, subject.kind, subject.realm, subject.incarnation)
        machine = self._machines[subject.machine]
        wanted = expected_rim(spec, rim_rule(machine.edition, machine.quirks))
        if evidence.realm.claims.initial_measurement != wanted:
            return RefusalReason.CLAIMS, "the RIM is of another kind of Realm than the one asked for evidence", None
        if spec.mec == PRIVATE and evidence.realm.claims.mec_policy != PRIVATE:
            return RefusalReason.CLAIMS, "the Realm shares its memory encryption context with others", None
        if evidence.realm.claims.personalization_value != spec.rpv:
            return RefusalReason.BINDING, "the personalization value names another Realm", None
        return "", detail, evidence

    def release(self, verdict: EvidenceVerdict) -> bytes:
        """The secret of the verdict's Realm, sealed to the key its evidence bound; closes the session.

        Raises:
            Denied: no verdict from outside stands behind the session.
        """
        path = resource_path(self._cluster, verdict.subject.kind)
        key = self._keys.get(verdict.session)
        self.close(verdict.session)
        if key is None:
            raise Denied("session is not attested", reason=RefusalReason.SESSION)
        seed = derive(self._seed, "broker/ephemeral", verdict.session)
        return jwe.seal(secrets(self._cluster, self._seed)[path], PublicKey.from_raw(key), seed)

    def close(self, session: str) -> None:
        """Forget a session; what is still asked about it will be answered in vain."""
        super().close(session)
        self._keys.pop(session, None)


def _refused(
    subject: Subject, session: str, digest: str, reason: str, detail: str, service: Service
) -> EvidenceVerdict:
    return EvidenceVerdict(subject, session, False, str(reason), detail, digest, "", {}, service)


def _at(arrived_ns: int, replied_ns: int) -> Service:
    """Instants of work that was done elsewhere: what it took is the wall clock's."""
    return Service(arrived_ns, arrived_ns, replied_ns, replied_ns)
