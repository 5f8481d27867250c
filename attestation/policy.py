"""Which evidence releases which resource: declarative rows, three-valued results.

A rule names resources by pattern and lists conditions on facts; facts are drawn from verified claims, their appraisal
and the references they matched. A condition is true, false, or unknown when its fact is missing or carries no claim. A
rule is the three-valued AND of its conditions, a policy the three-valued OR of the rules whose pattern fits. Only ALLOW
releases: what cannot be judged is not released.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from attestation.appraise import Appraisal, SubmodAppraisal
from attestation.claim_records import Lifecycle, lifecycle_name
from attestation.stores import ReferenceValues
from attestation.trust import Tier, tier_of
from attestation.verify import Verified

Fact = int | str
Facts = dict[str, Fact]


class Verdict(StrEnum):
    """The answer of a condition, a rule or a policy."""

    ALLOW = "allow"
    DENY = "deny"
    UNKNOWN = "unknown"


class Operator(StrEnum):
    """How a condition compares a fact with its value."""

    EQUALS = "equals"
    ONE_OF = "one-of"
    AT_LEAST = "at-least"
    VERSION_AT_LEAST = "version-at-least"
    TIER_IS = "tier-is"


class Condition(msgspec.Struct, frozen=True):
    """One comparison: fact name, operator, and the value or values it may have."""

    fact: str
    operator: Operator
    values: tuple[int | str, ...]


class Rule(msgspec.Struct, frozen=True):
    """One row: a resource pattern (shell style, on ``repository/type/tag``) and what releases it."""

    name: str
    resource: str
    conditions: tuple[Condition, ...]


class Policy(msgspec.Struct, frozen=True):
    """A named, versioned set of rows."""

    name: str
    version: str
    rules: tuple[Rule, ...]


class Reason(msgspec.Struct, frozen=True):
    """What one condition found."""

    rule: str
    condition: str
    verdict: Verdict
    found: str


class PolicyResult(msgspec.Struct, frozen=True):
    """The answer and every condition behind it."""

    policy: str
    resource: str
    verdict: Verdict
    reasons: tuple[Reason, ...]

    def summary(self) -> str:
        """One line: the first rule that allows, or what stood against release."""
        if self.verdict is Verdict.ALLOW:
            return f"allowed by policy {self.policy}"
        against = [
            f"{reason.rule}: {reason.condition} is {reason.verdict} (found {reason.found})"
            for reason in self.reasons
            if reason.verdict is not Verdict.ALLOW
        ]
        return "; ".join(against) or f"no rule of policy {self.policy} covers {self.resource}"


def facts_of(verified: Verified, appraisal: Appraisal, references: ReferenceValues | None = None) -> Facts:
    """Draw the facts that conditions may name.

    ``fresh``; ``platform.``/``realm.`` with ``status``, each trust claim by its EAR name, and the identifying claims;
    ``platform.lifecycle`` by name; ``firmware.<component>.version``, ``.security-version`` and ``.digest``.
    Byte strings are facts in hex.
    """
    platform, realm = verified.platform, verified.realm
    facts: Facts = {
        "fresh": int(verified.fresh),
        "platform.profile": platform.profile,
        "platform.implementation-id": platform.implementation_id.hex(),
        "platform.instance-id": platform.instance_id.hex(),
        "platform.config": platform.config.hex(),
        "platform.lifecycle": lifecycle_name(platform.lifecycle) or "",
        "realm.profile": realm.profile,
        "realm.initial-measurement": realm.initial_measurement.hex(),
        "realm.personalization-value": realm.personalization_value.hex(),
    }
    if realm.mec_policy is not None:
        facts["realm.mec-policy"] = realm.mec_policy
    facts |= _vector_facts("platform", appraisal.platform) | _vector_facts("realm", appraisal.realm)
    for component in platform.sw_components:
        if component.measurement_type is None:
            continue
        prefix = f"firmware.{component.measurement_type}"
        facts[f"{prefix}.digest"] = component.measurement_value.hex()
        known = references and references.component(platform.implementation_id, component.measurement_value)
        version = component.version or (known.version if known else None)
        if version is not None:
            facts[f"{prefix}.version"] = version
        if known and known.security_version is not None:
            facts[f"{prefix}.security-version"] = known.security_version
    return facts


def _vector_facts(part: str, submod: SubmodAppraisal) -> Facts:
    facts: Facts = {f"{part}.status": submod.status.text}
    for claim, value in submod.vector.members().items():
        facts[f"{part}.{claim}"] = value
    return facts


def evaluate(policy: Policy, facts: Facts, resource: str) -> PolicyResult:
    """Ask whether ``facts`` release ``resource`` (``repository/type/tag``)."""
    fitting = (rule for rule in policy.rules if fnmatch.fnmatchcase(resource, rule.resource))
    return _evaluate(policy, facts, fitting, resource)


def evaluate_any(policy: Policy, facts: Facts) -> PolicyResult:
    """Ask whether ``facts`` release anything at all under some rule."""
    return _evaluate(policy, facts, policy.rules, "*")


def _evaluate(policy: Policy, facts: Facts, rules: Iterable[Rule], resource: str) -> PolicyResult:
    verdicts, reasons = [], []
    for rule in rules:
        row = [_judge(rule, condition, facts) for condition in rule.conditions]
        reasons += row
        verdicts.append(_all([reason.verdict for reason in row]))
    return PolicyResult(f"{policy.name} {policy.version}", resource, _any(verdicts), tuple(reasons))


def _all(verdicts: list[Verdict]) -> Verdict:
    if Verdict.DENY in verdicts:
        return Verdict.DENY
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.ALLOW


def _any(verdicts: list[Verdict]) -> Verdict:
    if Verdict.ALLOW in verdicts:
        return Verdict.ALLOW
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts else Verdict.DENY


def _judge(rule: Rule, condition: Condition, facts: Facts) -> Reason:
    fact = facts.get(condition.fact)
    verdict = Verdict.UNKNOWN if fact is None else _OPERATORS[condition.operator](fact, condition.values)
    wanted = ", ".join(str(value) for value in condition.values)
    return Reason(
        rule.name, f"{condition.fact} {condition.operator} {wanted}", verdict, "nothing" if fact is None else str(fact)
    )


def _verdict(holds: bool) -> Verdict:
    return Verdict.ALLOW if holds else Verdict.DENY


def _one_of(fact: Fact, values: tuple[int | str, ...]) -> Verdict:
    return _verdict(fact in values)


def _at_least(fact: Fact, values: tuple[int | str, ...]) -> Verdict:
    floor = values[0]
    if not isinstance(fact, int) or not isinstance(floor, int):
        return Verdict.UNKNOWN
    return _verdict(fact >= floor)


def _version_numbers(version: object) -> tuple[int, ...] | None:
    """Dotted decimal numbers; None for anything else, which has no agreed order."""
    parts = str(version).removeprefix("v").split(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _version_at_least(fact: Fact, values: tuple[int | str, ...]) -> Verdict:
    found, floor = _version_numbers(fact), _version_numbers(values[0])
    if found is None or floor is None:
        return Verdict.UNKNOWN
    return _verdict(found >= floor)


def _tier_is(fact: Fact, values: tuple[int | str, ...]) -> Verdict:
    if isinstance(fact, str):
        return Verdict.UNKNOWN if fact == Tier.NONE.text else _verdict(fact in values)
    tier = tier_of(fact)
    return Verdict.UNKNOWN if tier is Tier.NONE else _verdict(tier.text in values)


_OPERATORS: dict[Operator, Callable[[Fact, tuple[int | str, ...]], Verdict]] = {
    Operator.EQUALS: _one_of,
    Operator.ONE_OF: _one_of,
    Operator.AT_LEAST: _at_least,
    Operator.VERSION_AT_LEAST: _version_at_least,
    Operator.TIER_IS: _tier_is,
}

FRESH = Condition("fresh", Operator.EQUALS, (1,))
SECURED = Condition("platform.lifecycle", Operator.EQUALS, (Lifecycle.SECURED.value,))
PLATFORM_AFFIRMING = Condition("platform.executables", Operator.TIER_IS, ("affirming",))
REALM_KNOWN = Condition("realm.executables", Operator.TIER_IS, ("affirming",))
PLATFORM_STATUS = Condition("platform.status", Operator.TIER_IS, ("affirming",))


def default_policy(*, minimum_versions: dict[str, str] | None = None, resource: str = "*") -> Policy:
    """Fresh evidence, lifecycle secured, platform affirming, Realm image known, and firmware not older than asked."""
    floors = tuple(
        Condition(f"firmware.{component}.version", Operator.VERSION_AT_LEAST, (version,))
        for component, version in sorted((minimum_versions or {}).items())
    )
    conditions = (FRESH, SECURED, PLATFORM_AFFIRMING, PLATFORM_STATUS, REALM_KNOWN, *floors)
    return Policy("default", "1", (Rule("known-platform-and-realm", resource, conditions),))
