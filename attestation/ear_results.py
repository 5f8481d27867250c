"""From an appraisal to the attestation result that the two verifiers of the field would issue for it.

``veraison_result`` is the form of the Veraison service: one submod per half of the evidence, or one failed submod.
``trustee_result`` is the token of Trustee's attestation service: one submod ``cpu0``, and in its annotated evidence the
key that the guest bound, from which the broker encrypts. Sources: veraison/services scheme/arm-cca and
integration-tests/data/results, confidential-containers/trustee attestation-service/src/ear_token.
"""

from __future__ import annotations

from typing import Any

import msgspec

from attestation import claims_json
from attestation.appraise import Appraisal, SubmodAppraisal
from attestation.claim_records import PlatformClaims, RealmClaims
from attestation.ear import Ear, EarProfile, Submod, VerifierId
from attestation.errors import Malformed, Refused
from attestation.keys import PublicKey, SigningKey
from attestation.trust import TrustClaim, tier_of
from attestation.verify import Verified

OURS = VerifierId("Realmfleet", "realmfleet attestation")
VERAISON_POLICY = "policy:ARM_CCA"
TRUSTEE_SUBMOD = "cpu0"
TRUSTEE_POLICY = "default"
TRUSTEE_LIFETIME_S = 300
_PARSED = (
    "cca-realm-initial-measurement",
    "cca-realm-personalization-value",
    "cca-realm-extensible-measurements",
    "cca-realm-hash-algo-id",
    "cca-realm-challenge",
)
_PLATFORM_PARSED = ("cca-platform-instance-id", "cca-platform-implementation-id")


class Issuer(msgspec.Struct, frozen=True):
    """Who signs attestation results, and for how long (seconds) they hold."""

    key: SigningKey
    verifier: VerifierId = OURS
    lifetime_s: int = TRUSTEE_LIFETIME_S


def veraison_result(
    appraisal: Appraisal,
    verified: Verified | None,
    *,
    issued_at: int,
    nonce: str | None = None,
    verifier: VerifierId = OURS,
    policy_id: str | None = VERAISON_POLICY,
) -> Ear:
    """The Veraison service's result; ``verified`` None for evidence that was refused. ``issued_at`` in seconds."""
    evidence: tuple[dict[str, Any] | None, ...] = (None,)
    if verified is not None:
        evidence = (claims_json.write_platform(verified.platform), claims_json.write_realm(verified.realm))
    submods = {
        submod.name: Submod(
            status=submod.status,
            vector=submod.vector.members(),
            policy_ids=() if policy_id is None else (policy_id,),
            annotated_evidence=annotated,
            policy_claims={"problem": appraisal.problem} if appraisal.problem else None,
        )
        for submod, annotated in zip(appraisal.submods, evidence, strict=True)
    }
    return Ear(issued_at=issued_at, verifier=verifier, nonce=nonce, submods=submods)


def trustee_result(
    appraisal: Appraisal,
    verified: Verified,
    *,
    issued_at: int,
    runtime_data: dict[str, Any],
    facts: dict[str, int | str],
    issuer: Issuer,
) -> Ear:
    """The token of Trustee's attestation service; ``facts`` become the policy claims that the broker judges later."""
    vector = worst_of(appraisal.submods)
    annotated = {
        "cca": parsed_claims(verified.platform, verified.realm),
        "init_data": verified.realm.personalization_value.hex(),
        "init_data_claims": None,
        "report_data": verified.realm.challenge.hex(),
        "runtime_data_claims": runtime_data,
    }
    status = max(submod.status for submod in appraisal.submods)
    submod = Submod(
        status=status, vector=vector, policy_ids=(TRUSTEE_POLICY,), annotated_evidence=annotated,
        policy_claims=dict(facts),
    )  # fmt: skip
    return Ear(
        profile=EarProfile.TRUSTEE, issued_at=issued_at, expires_at=issued_at + issuer.lifetime_s,
        verifier=issuer.verifier, submods={TRUSTEE_SUBMOD: submod},
    )  # fmt: skip


def worst_of(submods: tuple[SubmodAppraisal, ...]) -> dict[TrustClaim, int]:
    """One vector for platform and Realm together: of each member the value of the worse tier."""
    return {
        claim: max(
            (submod.vector.members()[claim] for submod in submods), key=lambda value: (tier_of(value), abs(value))
        )
        for claim in TrustClaim
    }


def parsed_claims(platform: PlatformClaims, realm: RealmClaims) -> dict[str, Any]:
    """The claims that Trustee's CCA verifier hands to policies, byte strings in standard base64."""
    realm_json, platform_json = claims_json.write_realm(realm), claims_json.write_platform(platform)
    return {
        "realm": {name: realm_json[name] for name in _PARSED},
        "platform": {name: platform_json[name] for name in _PLATFORM_PARSED},
    }


def bound_key(ear: Ear) -> PublicKey:
    """The guest's key that a Trustee token carries. Raises Malformed when it has none."""
    submod = ear.submods.get(TRUSTEE_SUBMOD)
    annotated = (submod.annotated_evidence if submod is not None else None) or {}
    runtime = annotated.get("runtime_data_claims")
    jwk = runtime.get("tee-pubkey") if isinstance(runtime, dict) else None
    if not isinstance(jwk, dict):
        raise Malformed("token carries no key of the guest", label="tee-pubkey")
    try:
        return PublicKey.from_jwk(jwk)
    except Refused as refusal:
        raise refusal.located(part="tee-pubkey") from None


def policy_facts(ear: Ear) -> dict[str, int | str]:
    """The facts that a Trustee token of ours carries for resource policies. Raises Malformed when it has none."""
    submod = ear.submods.get(TRUSTEE_SUBMOD)
    facts = submod.policy_claims if submod is not None else None
    if not facts or not all(isinstance(value, int | str) for value in facts.values()):
        raise Malformed("token carries no facts for policies", label="ear.veraison.policy-claims")
    return facts
