"""Appraise verified evidence against reference values, and explain each claim.

Two schemes exist in the field and are both kept, because their verdicts differ on the same evidence:
``VERAISON`` is the CCA scheme of the Veraison service (veraison/services, scheme/arm-cca), ``CCATOKEN`` the appraisal
of the Rust token library that Trustee embeds (veraison/rust-ccatoken, src/token). One rule is ours: a component whose
reference is marked revoked contraindicates the platform's executables. A bad platform is a verdict, not an exception.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from attestation.claim_records import Lifecycle, PlatformClaims, RealmClaims, SoftwareComponent, lifecycle_name
from attestation.errors import RefusalReason, Refused
from attestation.stores import ComponentReference, PlatformReference, RealmReference, ReferenceValues
from attestation.trust import CRYPTO_FAILED, VERIFIER_MALFUNCTION, Tier, TrustClaim, TrustVector, meaning, tier_of
from attestation.verify import Verified

PLATFORM_SUBMOD = "CCA_SSD_PLATFORM"
REALM_SUBMOD = "CCA_REALM"
FAILED_SUBMOD = "ARM_CCA"


class Scheme(StrEnum):
    """Whose appraisal rules apply."""

    VERAISON = "veraison"
    CCATOKEN = "ccatoken"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why one member of a trust vector has its value."""

    claim: TrustClaim
    value: int
    expected: str
    found: str
    rule: str
    source: str = ""

    @property
    def tier(self) -> Tier:
        """The tier of the value."""
        return tier_of(self.value)

    @property
    def meaning(self) -> str:
        """The value in words."""
        return meaning(self.claim, self.value)


class SubmodAppraisal(msgspec.Struct, frozen=True):
    """The verdict on one half of the evidence, and the reasons."""

    name: str
    vector: TrustVector
    explanations: tuple[Explanation, ...] = ()

    @property
    def status(self) -> Tier:
        """The worst tier of the vector."""
        return self.vector.status


class Appraisal(msgspec.Struct, frozen=True):
    """Verdicts on platform and Realm; both are the same single failed submod when the evidence was refused."""

    scheme: Scheme
    platform: SubmodAppraisal
    realm: SubmodAppraisal
    refused: RefusalReason | None = None
    problem: str = ""

    @property
    def submods(self) -> tuple[SubmodAppraisal, ...]:
        """The submods of an EAR."""
        return (self.platform,) if self.refused is not None else (self.platform, self.realm)

    @property
    def affirming(self) -> bool:
        """Whether every submod is affirming."""
        return all(submod.status is Tier.AFFIRMING for submod in self.submods)


class _Verdict:
    """Collects the values of one vector with their explanations; a later value for a claim replaces the earlier."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.explained: dict[TrustClaim, Explanation] = {}

    def set(self, claim: TrustClaim, value: int, expected: str, found: str, rule: str, source: str = "") -> None:
        self.explained[claim] = Explanation(
            claim=claim, value=value, expected=expected, found=found, rule=rule, source=source
        )

    def done(self) -> SubmodAppraisal:
        values = {claim.field: explanation.value for claim, explanation in self.explained.items()}
        ordered = tuple(self.explained[claim] for claim in TrustClaim if claim in self.explained)
        return SubmodAppraisal(self.name, TrustVector(**values), ordered)


def appraise(verified: Verified, references: ReferenceValues, scheme: Scheme = Scheme.VERAISON) -> Appraisal:
    """Appraise verified evidence; every member of both vectors comes with expected, found, rule and source."""
    return appraise_claims(verified.platform, verified.realm, references, scheme)


def appraise_claims(
    platform: PlatformClaims, realm: RealmClaims, references: ReferenceValues, scheme: Scheme = Scheme.VERAISON
) -> Appraisal:
    """Appraise claims whose signatures the caller has verified."""
    if scheme is Scheme.CCATOKEN:
        known = references.platform(platform.implementation_id)
        # without a reference for the platform the Rust library does not look at the Realm at all
        realm_verdict = _ccatoken_realm(realm, references) if known else SubmodAppraisal(REALM_SUBMOD, TrustVector())
        return Appraisal(scheme, _ccatoken_platform(platform, known), realm_verdict)
    return Appraisal(scheme, _veraison_platform(platform, references), _veraison_realm(realm, references))


def failed(refusal: Refused) -> Appraisal:
    """The appraisal of evidence that was refused: one submod, every claim "cryptographic validation failed"."""
    problem = f"integrity validation failed: bad evidence: {refusal.message}"
    explanations = tuple(
        Explanation(
            claim=claim, value=CRYPTO_FAILED, expected="evidence that verifies", found=refusal.message,
            rule=f"refused: {refusal.reason}",
        )
        for claim in TrustClaim
    )  # fmt: skip
    submod = SubmodAppraisal(FAILED_SUBMOD, TrustVector.all(CRYPTO_FAILED), explanations)
    return Appraisal(Scheme.VERAISON, submod, submod, refusal.reason, problem)


def _veraison_platform(claims: PlatformClaims, references: ReferenceValues) -> SubmodAppraisal:
    verdict = _Verdict(PLATFORM_SUBMOD)
    verdict.set(TrustClaim.HARDWARE, 2, "platform signature holds", "it holds", "signature verified under the CPAK")
    state = lifecycle_name(claims.lifecycle)
    trusted = state in (Lifecycle.SECURED, Lifecycle.NON_PLATFORM_DEBUG)
    found = f"{state or 'no lifecycle range'} ({claims.lifecycle:#06x})"
    for claim in (TrustClaim.INSTANCE_IDENTITY, TrustClaim.RUNTIME_OPAQUE, TrustClaim.STORAGE_OPAQUE):
        verdict.set(
            claim, 2 if trusted else 96, f"{Lifecycle.SECURED} or {Lifecycle.NON_PLATFORM_DEBUG}", found,
            "lifecycle (2395)",
        )  # fmt: skip
    _veraison_configuration(verdict, claims, references)
    _veraison_executables(verdict, claims, references)
    return verdict.done()


def _veraison_configuration(verdict: _Verdict, claims: PlatformClaims, references: ReferenceValues) -> None:
    known = [reference for reference in references.platform(claims.implementation_id) if reference.config is not None]
    match = next((reference for reference in known if reference.config == claims.config), None)
    expected = " or ".join((reference.config or b"").hex() for reference in known) or "empty (no reference value)"
    approved = match is not None or (not known and not claims.config)
    verdict.set(
        TrustClaim.CONFIGURATION, 2 if approved else 32, expected, claims.config.hex() or "empty",
        "configuration (2401) equals a reference value byte for byte",
        match.source if match is not None else "",
    )  # fmt: skip


def _component_name(component: SoftwareComponent, index: int) -> str:
    return component.measurement_type or f"component {index}"


def _mismatch(component: SoftwareComponent, reference: ComponentReference | None) -> str:
    """Why a component does not match its reference; empty when it does. The signer id is not compared."""
    if reference is None:
        return f"no reference for digest {component.measurement_value.hex()}"
    if reference.name is not None and reference.name != component.measurement_type:
        return f"reference is for {reference.name}"
    if reference.version is not None and reference.version != (component.version or ""):
        return f"version {component.version or 'missing'}, reference says {reference.version}"
    return ""


def _veraison_executables(verdict: _Verdict, claims: PlatformClaims, references: ReferenceValues) -> None:
    mismatches, revoked, sources = [], [], []
    for index, component in enumerate(claims.sw_components):
        if component.measurement_type is None:
            verdict.set(
                TrustClaim.EXECUTABLES, VERIFIER_MALFUNCTION, "a measurement type in every component",
                f"component {index} has none", "the service stops with an error on a component without type",
            )  # fmt: skip
            return
        reference = references.component(claims.implementation_id, component.measurement_value)
        why = _mismatch(component, reference)
        if why:
            mismatches.append(f"{_component_name(component, index)}: {why}")
        elif reference is not None:
            if reference.revoked:
                revoked.append(
                    f"{_component_name(component, index)} {reference.version or ''}: revoked".replace(" :", ":")
                )
            if reference.source and reference.source not in sources:
                sources.append(reference.source)
    value, found = 2, f"all {len(claims.sw_components)} components match"
    if mismatches:
        value, found = 33, "; ".join(mismatches)
    if revoked:
        value, found = 96, "; ".join(revoked + mismatches)
    verdict.set(
        TrustClaim.EXECUTABLES, value, "each component in the reference values", found,
        "component digest found, name and version equal where the reference has them, none revoked",
        ", ".join(sources),
    )  # fmt: skip


def _veraison_realm(claims: RealmClaims, references: ReferenceValues) -> SubmodAppraisal:
    verdict = _Verdict(REALM_SUBMOD)
    verdict.set(
        TrustClaim.INSTANCE_IDENTITY, 2, "realm signature and binding hold", "they hold",
        "signature verified under a RAK that the platform vouches for",
    )  # fmt: skip
    rim = claims.initial_measurement.hex()
    verdict.set(
        TrustClaim.EXECUTABLES, 33, "a reference for this RIM", f"none for RIM {rim}", "RIM (44238) selects references"
    )
    for reference in references.realm(claims.initial_measurement):
        if reference.initial_measurement != claims.initial_measurement:
            for claim in TrustClaim:
                verdict.set(
                    claim, VERIFIER_MALFUNCTION, f"RIM {reference.initial_measurement.hex()}", f"RIM {rim}",
                    "a reference selected by the RIM holds another RIM", reference.source,
                )  # fmt: skip
            break
        expected_rpv = reference.personalization_value
        if expected_rpv is not None and expected_rpv != claims.personalization_value:
            verdict.set(
                TrustClaim.EXECUTABLES, 96, f"RPV {expected_rpv.hex()}", f"RPV {claims.personalization_value.hex()}",
                "RIM equal, personalization value (44235) differs", reference.source,
            )  # fmt: skip
            continue
        differing = _differing_rems(claims, reference)
        verdict.set(
            TrustClaim.EXECUTABLES, 3 if differing else 2, f"RIM {rim} and its REMs",
            ", ".join(differing) or "RIM and all REMs match",
            "RIM and RPV equal: 3; all REMs (44239) with a reference equal too: 2", reference.source,
        )  # fmt: skip
        break
    return verdict.done()


def _differing_rems(claims: RealmClaims, reference: RealmReference) -> list[str]:
    pairs = zip(reference.extensible_measurements, claims.extensible_measurements, strict=False)
    return [
        f"REM{index} is {found.hex()}, reference {expected.hex()}"
        for index, (expected, found) in enumerate(pairs)
        if expected is not None and expected != found
    ]


def _same_components(claims: PlatformClaims, reference: PlatformReference) -> bool:
    """Rust library: vectors of the same length and order, type and version compared where the reference has them."""
    if len(claims.sw_components) != len(reference.components):
        return False
    return all(
        found.measurement_value == expected.measurement_value
        and found.signer_id == expected.signer_id
        and (expected.name is None or expected.name == found.measurement_type)
        and (expected.version is None or expected.version == found.version)
        and not expected.revoked
        for found, expected in zip(claims.sw_components, reference.components, strict=True)
    )


def _ccatoken_platform(claims: PlatformClaims, known: tuple[PlatformReference, ...]) -> SubmodAppraisal:
    verdict = _Verdict(PLATFORM_SUBMOD)
    expected = f"a reference for implementation {claims.implementation_id.hex()}"
    rule = "configuration and all components equal to one reference, in order"
    match = next(
        (reference for reference in known if reference.config == claims.config and _same_components(claims, reference)),
        None,
    )
    if match is None:
        found = f"none of {len(known)} references is equal" if known else "no reference for this implementation"
        verdict.set(TrustClaim.HARDWARE, 97, expected, found, rule)
        return verdict.done()
    for claim, value in (
        (TrustClaim.INSTANCE_IDENTITY, 2),
        (TrustClaim.CONFIGURATION, 2),
        (TrustClaim.EXECUTABLES, 3),
        (TrustClaim.HARDWARE, 2),
        (TrustClaim.RUNTIME_OPAQUE, 32),
    ):
        verdict.set(claim, value, expected, "equal", rule, match.source)
    return verdict.done()


def _ccatoken_realm(claims: RealmClaims, references: ReferenceValues) -> SubmodAppraisal:
    verdict = _Verdict(REALM_SUBMOD)
    rim = claims.initial_measurement.hex()
    known = references.realm(claims.initial_measurement)
    value, found, source = -97, f"none for RIM {rim}", ""
    if known:
        value, found, source = 96, "REMs differ from every reference", known[0].source
    for reference in known:
        if all(rem is None for rem in reference.extensible_measurements):
            value, found, source = 3, "RIM matches, no REMs to compare", reference.source
            break
        if not _differing_rems(claims, reference):
            value, found, source = 2, "RIM and all REMs match", reference.source
            break
    verdict.set(
        TrustClaim.EXECUTABLES, value, "a reference for this RIM", found, "RIM, then REMs; RPV not compared", source
    )
    return verdict.done()
