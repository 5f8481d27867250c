"""Policies: three values, and only a clear yes releases."""

from __future__ import annotations

import msgspec
import pytest

from attestation import policy as policies
from attestation.appraise import appraise_claims
from attestation.claims import PlatformClaims, RealmClaims
from attestation.keys import derive_key
from attestation.policy import Condition, Facts, Operator, Policy, Rule, Verdict, default_policy, evaluate
from attestation.stores import ReferenceValues, TrustAnchors
from attestation.token import create
from attestation.verify import verify

ALLOW, DENY, UNKNOWN = Verdict.ALLOW, Verdict.DENY, Verdict.UNKNOWN
FACTS: Facts = {
    "number": 7, "text": "secured", "bytes": "ab", "version": "1.10.0", "odd": "1.2rc5", "good": 2, "warned": 33,
    "bad": 96, "silent": -1, "status": "none", "fine": "affirming",
}  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "operator", "values", "verdict"),
    [
        ("number", Operator.EQUALS, (7,), ALLOW), ("number", Operator.EQUALS, (8,), DENY),
        ("missing", Operator.EQUALS, (7,), UNKNOWN), ("bytes", Operator.EQUALS, ("ab",), ALLOW),
        ("text", Operator.ONE_OF, ("debug", "secured"), ALLOW), ("text", Operator.ONE_OF, ("debug",), DENY),
        ("number", Operator.AT_LEAST, (7,), ALLOW), ("number", Operator.AT_LEAST, (8,), DENY),
        ("text", Operator.AT_LEAST, (1,), UNKNOWN),
        ("version", Operator.VERSION_AT_LEAST, ("1.9",), ALLOW),
        ("version", Operator.VERSION_AT_LEAST, ("v1.10",), ALLOW),
        ("version", Operator.VERSION_AT_LEAST, ("1.10.1",), DENY),
        ("odd", Operator.VERSION_AT_LEAST, ("1.0",), UNKNOWN),
        ("good", Operator.TIER_IS, ("affirming",), ALLOW), ("warned", Operator.TIER_IS, ("affirming",), DENY),
        ("warned", Operator.TIER_IS, ("affirming", "warning"), ALLOW), ("bad", Operator.TIER_IS, ("affirming",), DENY),
        ("silent", Operator.TIER_IS, ("affirming",), UNKNOWN), ("status", Operator.TIER_IS, ("affirming",), UNKNOWN),
        ("fine", Operator.TIER_IS, ("affirming",), ALLOW), ("text", Operator.TIER_IS, ("affirming",), DENY),
    ],
)  # fmt: skip
def test_a_condition_is_true_false_or_unknown(
    fact: str, operator: Operator, values: tuple[int | str, ...], verdict: Verdict
) -> None:
    policy = Policy("test", "1", (Rule("row", "*", (Condition(fact, operator, values),)),))
    result = evaluate(policy, FACTS, "a/b/c")
    assert result.verdict is verdict
    assert result.reasons[0].verdict is verdict


YES = Condition("number", Operator.EQUALS, (7,))
NO = Condition("number", Operator.EQUALS, (8,))
MAYBE = Condition("missing", Operator.EQUALS, (7,))


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([(YES, YES)], ALLOW), ([(YES, NO)], DENY), ([(YES, MAYBE)], UNKNOWN), ([(NO, MAYBE)], DENY),
        ([(NO,), (YES,)], ALLOW), ([(NO,), (MAYBE,)], UNKNOWN), ([(NO,), (NO,)], DENY), ([], DENY),
    ],
)  # fmt: skip
def test_rules_are_and_and_policies_are_or(rows: list[tuple[Condition, ...]], verdict: Verdict) -> None:
    policy = Policy("test", "1", tuple(Rule(f"row {i}", "*", row) for i, row in enumerate(rows)))
    assert evaluate(policy, FACTS, "a/b/c").verdict is verdict


def test_a_resource_that_no_rule_covers_is_denied() -> None:
    policy = Policy("test", "1", (Rule("row", "payments/*/key", (YES,)),))
    assert evaluate(policy, FACTS, "payments/db/key").verdict is ALLOW
    denied = evaluate(policy, FACTS, "salaries/db/key")
    assert denied.verdict is DENY
    assert "no rule" in denied.summary()


def _facts(platform: PlatformClaims, realm: RealmClaims, references: ReferenceValues, **keys: object) -> Facts:
    cpak, rak = derive_key(b"p", "CPAK"), derive_key(b"p", "RAK")
    verified = verify(create(platform, realm, cpak, rak), TrustAnchors.any_instance(cpak.public), realm.challenge)
    return policies.facts_of(verified, appraise_claims(platform, realm, references), references)


def test_the_default_policy_wants_all_that_it_lists(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    policy = default_policy(minimum_versions={"RMM": "0.6"})

    def judge(platform: PlatformClaims, realm: RealmClaims = realm_claims) -> Verdict:
        return evaluate(policy, _facts(platform, realm, references), "a/b/c").verdict

    assert judge(platform_claims) is ALLOW
    assert judge(msgspec.structs.replace(platform_claims, lifecycle=0x4000)) is DENY
    assert judge(msgspec.structs.replace(platform_claims, config=b"other")) is DENY
    unknown_rmm = msgspec.structs.replace(platform_claims.sw_components[2], measurement_value=bytes(32))
    assert judge(msgspec.structs.replace(platform_claims, sw_components=(unknown_rmm,))) is DENY
    no_rmm = msgspec.structs.replace(platform_claims, sw_components=platform_claims.sw_components[:2])
    assert judge(no_rmm) is UNKNOWN
    assert judge(platform_claims, msgspec.structs.replace(realm_claims, initial_measurement=bytes(32))) is DENY
    older = default_policy(minimum_versions={"RMM": "0.7"})
    assert evaluate(older, _facts(platform_claims, realm_claims, references), "a/b/c").verdict is DENY


def test_facts_name_firmware_with_what_the_references_know(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    facts = _facts(platform_claims, realm_claims, references)
    assert facts["firmware.RMM.version"] == "0.6.0"
    assert facts["firmware.RMM.security-version"] == 7
    assert facts["platform.lifecycle"] == "secured"
    assert facts["realm.executables"] == 2
    assert facts["fresh"] == 1
