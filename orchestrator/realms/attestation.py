"""The verifier and key broker as a service of the control plane: real verdicts, and the exact instant of each reply.

Evidence waits for one of `attestation.servers` workers, first come first served, and takes `attestation.service` there;
`attestation.latency` is the way to the service and back, half of it each way. Verdicts come from real signatures over
real tokens (`attestation.kbs`, `attestation.verify`, `attestation.appraise`, `attestation.policy`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Struct, field

from attestation.appraise import Appraisal, appraise_claims
from attestation.claims import RealmClaims
from attestation.errors import Denied, RefusalReason, Refused, Untrusted
from attestation.kbs import messages
from attestation.kbs.server import Broker
from attestation.stores import ReferenceValues, TrustAnchor, TrustAnchors
from attestation.token import decode
from attestation.trust import Tier
from attestation.verify import PlatformCache, VerifiedPlatform, verify_platform
from cca_machine.commands import MachineSpec
from cca_machine.layout import PRIVATE
from cca_machine.monitor.platform_token import platform_identity
from orchestrator.cluster.schema import Attestation, Cluster
from orchestrator.engine.streams import derive
from orchestrator.fleet.health import PlatformVerdict
from orchestrator.inputs import VerifierAnswered
from orchestrator.plan import new_platform_references
from orchestrator.realms.policy import release_policy, secrets
from orchestrator.realms.reference import expected_rim, realm_references, realm_spec, resource_path, rim_rule

TokenSink: TypeAlias = Callable[[str, int, str, int, bytes], None]
"""Takes (realm, incarnation, machine, arrived_ns, token) of every token that reaches the verifier, good or bad."""

SESSION_LIFETIME_NS = 24 * 3600 * 10**9
"""A challenge stays open while its order is repeated; the control plane closes it when the copy is given up."""

_NO_REALM = RealmClaims(
    challenge=bytes(64), personalization_value=bytes(64), initial_measurement=b"", extensible_measurements=()
)
"""Stands for the Realm half where only a platform is appraised; that half of the result is not read."""


class Service(NamedTuple):
    """The instants (virtual ns) of one piece of work: arrival, begin and end of service, reply."""

    arrived_ns: int
    started_ns: int
    done_ns: int
    replied_ns: int


class VerifierQueue(Struct):
    """When each worker is free again (virtual ns); work is to be given in the order of arrival."""

    free_ns: list[int]
    service_ns: int
    there_ns: int
    back_ns: int

    @classmethod
    def of(cls, settings: Attestation) -> VerifierQueue:
        """An idle service with these settings; an odd latency is one nanosecond longer on the way back."""
        there_ns = settings.latency // 2
        return cls([0] * settings.servers, settings.service, there_ns, settings.latency - there_ns)

    def serve(self, arrived_ns: int) -> Service:
        """Give the next work to the worker that is free first."""
        worker = min(range(len(self.free_ns)), key=self.free_ns.__getitem__)
        started_ns = max(arrived_ns + self.there_ns, self.free_ns[worker])
        done_ns = started_ns + self.service_ns
        self.free_ns[worker] = done_ns
        return Service(arrived_ns, started_ns, done_ns, done_ns + self.back_ns)


class Challenge(NamedTuple):
    """An open key-broker session: its cookie, and the nonce as the guest gets it."""

    session: str
    nonce: str


class Subject(NamedTuple):
    """Whom evidence is about, as the control plane asked for it, and why it did."""

    realm: str
    incarnation: int
    kind: str
    machine: str
    why: str


class EvidenceVerdict(Struct, frozen=True):
    """What verifier and policy said about one piece of evidence; `rak` and `platform_token` are set when it passed."""

    subject: Subject
    session: str
    passed: bool
    reason: str
    detail: str
    evidence_sha256: str
    rim: str
    tiers: dict[str, str]
    service: Service
    rak: bytes = b""
    platform_token: bytes = b""


class Verifier:
    """Verifier, policy and key broker of one run."""

    def __init__(
        self,
        cluster: Cluster,
        machines: Mapping[str, MachineSpec],
        references: ReferenceValues,
        seed: bytes,
        sink: TokenSink | None = None,
    ) -> None:
        self._cluster = cluster
        self._machines = machines
        self._seed = seed
        self._sink = sink
        self._introduced: set[str] = set()
        self._challenges = 0
        self._anchors = TrustAnchors()
        self.references = ReferenceValues(*references.records())
        """What evidence is compared with, as it stands."""
        self._accepted: dict[str, tuple[bytes, bytes]] = {}
        """Platform token and RAK that each machine was last accepted with."""
        self._cache = PlatformCache()
        self._broker = Broker(
            secrets(cluster, seed),
            release_policy(cluster),
            self._anchors,
            self.references,
            trusted_platforms=self._cache,
            session_lifetime_ns=SESSION_LIFETIME_NS,
        )
        self.queue = VerifierQueue.of(cluster.attestation)

    # -- machines ------------------------------------------------------------------------------------------------------

    def appraise_platform(
        self, machine: str, boot: int, platform_token: bytes, rak: bytes, arrived_ns: int
    ) -> PlatformVerdict:
        """Verify and appraise a platform token, and that it vouches for `rak`; instants in virtual ns."""
        self._introduce(machine)
        replied_ns = self.queue.serve(arrived_ns).replied_ns
        digest = self.digest(platform_token)
        reason, why = "", ""
        try:
            self._judge_platform(platform_token, rak)
        except Refused as refusal:
            reason, why = refusal.reason, str(refusal)
        passed = not reason
        if passed:
            self._accepted[machine] = platform_token, rak
        return PlatformVerdict(
            machine, boot, digest, rak if passed else b"", passed, reason, why, arrived_ns, replied_ns
        )

    def reappraise_platform(self, machine: str, boot: int, now_ns: int) -> PlatformVerdict | None:
        """Judge the token that the machine was last accepted with once more; None when there is none."""
        accepted = self._accepted.get(machine)
        return self.appraise_platform(machine, boot, *accepted, now_ns) if accepted is not None else None

    def revoke(self, measurements: Collection[bytes]) -> None:
        """Refuse evidence over firmware components with these digests from now on, whatever was said before."""
        self.references.revoke(measurements)

    def follow(self, cluster: Cluster, seed: int) -> None:
        """Go on under a cluster file that an operator changed: its kinds, their secrets, its releases, its policy.

        Reference values are only added, so what was revoked stays so; `seed` is the number that the run was given.
        """
        if cluster is self._cluster:
            return
        before, self._cluster = self._cluster, cluster
        self._broker.resources = secrets(cluster, self._seed)
        self._broker.policy = release_policy(cluster)
        known = {reference.initial_measurement for reference in realm_references(before)}
        for reference in realm_references(cluster):
            if reference.initial_measurement not in known:
                self.references.add_realm(reference)
        if cluster.firmware.releases != before.firmware.releases:
            for platform in new_platform_references(before, cluster, seed):
                self.references.add_platform(platform)

    def _judge_platform(self, platform_token: bytes, rak: bytes) -> VerifiedPlatform:
        verified = verify_platform(platform_token, self._anchors, trusted_platforms=self._cache)
        if not hmac.compare_digest(verified.claims.binding or b"", hashlib.sha256(rak).digest()):
            raise Untrusted("platform token does not vouch for this RAK", reason=RefusalReason.BINDING, label=10)
        appraisal = appraise_claims(verified.claims, _NO_REALM, self.references)
        if appraisal.platform.status is not Tier.AFFIRMING:
            bad = [told for told in appraisal.platform.explanations if told.tier is not Tier.AFFIRMING]
            told = "; ".join(f"{item.claim}: {item.meaning}, found {item.found}" for item in bad)
            raise Denied(f"platform is {appraisal.platform.status.text}: {told}")
        return verified

    def _introduce(self, machine: str) -> None:
        """Take the manufacturer's endorsement of a machine into the anchors when it is first needed."""
        if machine in self._introduced:
            return
        self._introduced.add(machine)
        spec = self._machines[machine]
        identity = platform_identity(spec.seed)
        self._anchors.add(TrustAnchor(identity.instance_id, spec.implementation_id, identity.cpak.public))

    # -- Realms --------------------------------------------------------------------------------------------------------

    def challenge(self, realm: str, incarnation: int, now_ns: int) -> Challenge:
        """Open a session: a fresh nonce from the stream `attestation/nonce` of this Realm and incarnation."""
        self._challenges += 1
        nonce = derive(self._seed, "attestation/nonce", realm, incarnation, self._challenges)
        session = f"{realm}/{incarnation}/{self._challenges}"
        _, body = self._broker.request(messages.request_body(), nonce, now_ns=now_ns, session_id=session)
        return Challenge(session, messages.read_challenge(body))

    def appraise_evidence(
        self, subject: Subject, session: str, evidence: bytes, arrived_ns: int
    ) -> EvidenceVerdict | None:
        """Judge the evidence of a Realm that arrived at `arrived_ns` (virtual ns); never raises for evidence.

        None when somebody outside is asked (`orchestrator.realms.outside`): then `answer` gives the verdict.
        """
        self._introduce(subject.machine)
        service = self.queue.serve(arrived_ns)
        token = _token_of(evidence)
        digest = self.digest(token or evidence)
        if token and self._sink is not None:
            self._sink(subject.realm, subject.incarnation, subject.machine, arrived_ns, token)
        try:
            decision = self._broker.attest(session, evidence, now_ns=arrived_ns)
        except Denied as denial:
            return EvidenceVerdict(subject, session, False, denial.reason, str(denial), digest, "", {}, service)
        finally:
            self._broker.state.audit.clear()  # the trace is the audit trail of a run
        rim = decision.initial_measurement.hex()
        reason = str(decision.reason or "")
        detail = decision.detail
        if decision.accepted:
            reason, detail = self._match(subject, session, detail)
        if not decision.accepted or reason:
            self.close(session)
            tiers = _tiers(decision.appraisal)
            return EvidenceVerdict(subject, session, False, reason, detail, digest, rim, tiers, service)
        verified = decode(token, self._cache.platform)
        self._accepted[subject.machine] = verified.platform.token, verified.realm.claims.public_key
        return EvidenceVerdict(
            subject, session, True, "", detail, digest, rim, _tiers(decision.appraisal), service,
            rak=verified.realm.claims.public_key, platform_token=verified.platform.token,
        )  # fmt: skip

    def answer(self, answered: VerifierAnswered, now_ns: int) -> EvidenceVerdict | None:
        """What an answer from outside comes to: nothing, as nobody outside was asked."""
        return None

    def _match(self, subject: Subject, session: str, detail: str) -> tuple[str, str]:
        """Whether evidence that some rule admits is of the Realm that was asked: its image, its name in the RPV."""
        facts = self._broker.state.sessions[session].facts
        spec = realm_spec(self._cluster, subject.kind, subject.realm, subject.incarnation)
        machine = self._machines[subject.machine]
        wanted = expected_rim(spec, rim_rule(machine.edition, machine.quirks))
        if facts["realm.initial-measurement"] != wanted.hex():
            return RefusalReason.CLAIMS, "the RIM is of another kind of Realm than the one asked for evidence"
        if spec.mec == PRIVATE and facts.get("realm.mec-policy") != PRIVATE:
            return RefusalReason.CLAIMS, "the Realm shares its memory encryption context with others"
        if facts["realm.personalization-value"] != spec.rpv.hex():
            return RefusalReason.BINDING, "the personalization value names another Realm"
        return "", detail

    def release(self, verdict: EvidenceVerdict) -> bytes:
        """The secret of the verdict's Realm, sealed to the key its evidence bound; closes the session.

        Raises:
            Denied: policy does not release this resource, or the session was not attested.
        """
        path = resource_path(self._cluster, verdict.subject.kind)
        seed = derive(self._seed, "broker/ephemeral", verdict.session)
        try:
            return self._broker.resource(verdict.session, path, seed, now_ns=verdict.service.replied_ns)
        finally:
            self._broker.state.audit.clear()
            self.close(verdict.session)

    def digest(self, token: bytes) -> str:
        """The name of a token in records: its SHA-256 in hexadecimal."""
        return hashlib.sha256(token).hexdigest()

    def close(self, session: str) -> None:
        """Forget a session; evidence for it will be refused."""
        self._broker.state.sessions.pop(session, None)


class _Primary(Struct):
    token: list[int]


class _Evidence(Struct):
    primary_evidence: _Primary


class _Body(Struct):
    """As much of a key-broker attestation body as names the token; the broker judges the whole of it."""

    evidence: _Evidence = field(name="tee-evidence")


_BODY = msgspec.json.Decoder(_Body)


def _token_of(evidence: bytes) -> bytes:
    """The CCA token in a key-broker attestation body; empty when there is none to be read."""
    try:
        return bytes(_BODY.decode(evidence).evidence.primary_evidence.token)
    except (msgspec.MsgspecError, ValueError):
        return b""


def _tiers(appraisal: Appraisal) -> dict[str, str]:
    """Trust tiers by half and claim, as `platform/executables`."""
    tiers = {}
    for half, submod in (("platform", appraisal.platform), ("realm", appraisal.realm)):
        for explained in submod.explanations:
            tiers[f"{half}/{explained.claim}"] = explained.tier.text
    return tiers
