"""Appraisal: the recorded verdicts of two verifiers, tier arithmetic, and an explanation for each claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from attestation import corim
from attestation.appraise import Appraisal, Scheme, SubmodAppraisal, appraise, appraise_claims, failed
from attestation.claims import PlatformClaims, RealmClaims
from attestation.errors import RefusalReason, Refused
from attestation.keys import PublicKey
from attestation.stores import (
    ComponentReference,
    PlatformReference,
    RealmReference,
    ReferenceValues,
    TrustAnchors,
    read_reference_store,
)
from attestation.trust import Tier, TrustClaim, TrustVector, tier_of
from attestation.verify import verify


def shown(submod: SubmodAppraisal) -> dict[str, Any]:
    """A submod as the recorded cases write it: members that are 0 are left out."""
    vector = {str(claim): value for claim, value in submod.vector.members().items() if value}
    return {"status": submod.status.text, "vector": vector}


def submods(appraisal: Appraisal) -> dict[str, Any]:
    """All submods as the recorded cases write them."""
    return {submod.name: shown(submod) for submod in appraisal.submods}


def read_corims(folder: Path, names: list[str]) -> tuple[TrustAnchors, ReferenceValues]:
    """Anchors and references of several CoRIM files."""
    corims = [corim.read((folder / name).read_bytes()) for name in names]
    anchors = TrustAnchors(anchor for each in corims for anchor in each.anchors)
    platform = [reference for each in corims for reference in each.platform]
    return anchors, ReferenceValues(platform, [reference for each in corims for reference in each.realm])


READ_BY_US_ONLY = "component-version-no-scheme"
"""The Go library stops on a version without scheme with a nil pointer; the value itself is unambiguous."""


def test_every_recorded_appraisal_gets_the_verdict_of_the_service(vectors: Path) -> None:
    folder = vectors / "attestation"
    cases = json.loads((folder / "derived/appraisal/cases.json").read_text())["cases"]
    for case in cases:
        token, nonce = (folder / case["token"]).read_bytes(), bytes.fromhex(case["nonce"])
        if "refused" in case and case["name"] != READ_BY_US_ONLY:
            with pytest.raises(Refused):
                verify(token, read_corims(folder, case["corims"])[0], nonce)
            continue
        anchors, references = read_corims(folder, case["corims"])
        appraisal = appraise(verify(token, anchors, nonce), references)
        if case["name"] == READ_BY_US_ONLY:
            assert appraisal.affirming
        else:
            assert submods(appraisal) == case["submods"], case["name"]
    print(f"{len(cases)} appraisal cases")


def test_a_second_reference_with_the_right_personalization_value_is_found(vectors: Path) -> None:
    folder = vectors / "attestation"
    names = ["corim/services/corim-cca-platform-valid.cbor", "derived/appraisal/rpv-second-matches-realm.cbor"]
    anchors, references = read_corims(folder, names)
    verified = verify((folder / "tokens/services-cca-good.cbor").read_bytes(), anchors, None)
    assert shown(appraise(verified, references).realm)["vector"] == {"instance-identity": 2, "executables": 2}


def test_recorded_service_results_are_reproduced(vectors: Path) -> None:
    folder = vectors / "attestation"
    expected = json.loads((folder / "veraison/cca.good.json").read_text())
    names = ["corim/services/corim-cca-platform-valid.cbor", "corim/services/corim-cca-realm-valid.cbor"]
    anchors, references = read_corims(folder, names)
    appraisal = appraise(verify((folder / "tokens/services-cca-good.cbor").read_bytes(), anchors, None), references)
    for submod in appraisal.submods:
        recorded = expected[submod.name]
        assert submod.status.text == recorded["ear.status"]
        assert {str(claim): value for claim, value in submod.vector.members().items()} == recorded[
            "ear.trustworthiness-vector"
        ]


def test_a_freshness_failure_has_the_recorded_form(vectors: Path) -> None:
    folder = vectors / "attestation"
    expected = json.loads((folder / "veraison/cca.freshness-fail.json").read_text())["ARM_CCA"]
    names = ["corim/services/corim-cca-platform-valid.cbor"]
    anchors, _ = read_corims(folder, names)
    problem = expected["ear.veraison.policy-claims"]["problem"]
    nonce = bytes.fromhex(problem.rsplit("(", 1)[1].rstrip(")"))
    with pytest.raises(Refused) as refused:
        verify((folder / "tokens/services-cca-good.cbor").read_bytes(), anchors, nonce)
    appraisal = failed(refused.value)
    assert appraisal.refused is RefusalReason.FRESHNESS
    assert appraisal.problem == problem
    (submod,) = appraisal.submods
    assert (submod.name, submod.status) == ("ARM_CCA", Tier.CONTRAINDICATED)
    assert set(submod.vector.members().values()) == {99}


PLATFORM_EQUAL = {"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 32}


@pytest.mark.parametrize(
    ("token", "key", "store", "executables"),
    [
        ("cca-token-01.cbor", "keys/cca_platform.pem", "stores/rust-rv.json", 2),
        ("cca-token-draft-ffm-00.cbor", "keys/cca_platform.pem", "trustee/rvstore.json", -97),
    ],
)
def test_golden_stores_give_the_verdicts_of_the_rust_library(
    vectors: Path, token: str, key: str, store: str, executables: int
) -> None:
    folder = vectors / "attestation"
    anchors = TrustAnchors.any_instance(PublicKey.from_pem((folder / key).read_bytes()))
    references = read_reference_store((folder / store).read_bytes())
    verified = verify((folder / "tokens" / token).read_bytes(), anchors, None)
    appraisal = appraise(verified, references, Scheme.CCATOKEN)
    assert shown(appraisal.platform)["vector"] == PLATFORM_EQUAL
    assert shown(appraisal.realm)["vector"] == {"executables": executables}


def test_the_rust_scheme_minds_component_order_and_signer(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    def hardware(claims: PlatformClaims) -> int:
        return appraise_claims(claims, realm_claims, references, Scheme.CCATOKEN).platform.vector.hardware

    assert hardware(platform_claims) == 2
    swapped = msgspec.structs.replace(platform_claims, sw_components=platform_claims.sw_components[::-1])
    assert hardware(swapped) == 97
    unknown = msgspec.structs.replace(platform_claims, implementation_id=bytes(32))
    appraisal = appraise_claims(unknown, realm_claims, references, Scheme.CCATOKEN)
    assert shown(appraisal.platform)["vector"] == {"hardware": 97}
    assert shown(appraisal.realm) == {"status": "none", "vector": {}}


@pytest.mark.parametrize(
    ("value", "tier"),
    [
        (-128, 96), (-97, 96), (-96, 32), (-33, 32), (-32, 2), (-2, 2), (-1, 0), (0, 0), (1, 0), (2, 2), (31, 2),
        (32, 32), (95, 32), (96, 96), (127, 96),
    ],
)  # fmt: skip
def test_tiers_change_where_ar4si_says(value: int, tier: int) -> None:
    assert tier_of(value) == tier


def test_the_worst_tier_is_the_status() -> None:
    assert TrustVector(executables=3, configuration=32).status is Tier.WARNING
    assert TrustVector(executables=33, hardware=97).status is Tier.CONTRAINDICATED
    assert TrustVector.all(-1).status is Tier.NONE
    assert TrustVector().status is Tier.NONE


@pytest.mark.parametrize(
    ("lifecycle", "value"),
    [(0x3003, 2), (0x40FF, 2), (0x0000, 96), (0x1000, 96), (0x2000, 96), (0x5000, 96), (0x6000, 96)],
)
def test_lifecycle_decides_identity_and_opacity(
    lifecycle: int, value: int, platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    claims = msgspec.structs.replace(platform_claims, lifecycle=lifecycle)
    vector = appraise_claims(claims, realm_claims, references).platform.vector
    assert (vector.instance_identity, vector.runtime_opaque, vector.storage_opaque) == (value, value, value)
    assert (vector.executables, vector.hardware) == (2, 2)


def _component(measurement_value: bytes, **fields: Any) -> ReferenceValues:
    reference = ComponentReference(measurement_value=measurement_value, **fields)
    return ReferenceValues([PlatformReference(implementation_id=bytes([0xA1]) * 32, components=(reference,))])


def test_executables_follow_digest_name_version_and_revocation(
    platform_claims: PlatformClaims, realm_claims: RealmClaims
) -> None:
    component = platform_claims.sw_components[2]
    digest = component.measurement_value
    claims = msgspec.structs.replace(platform_claims, sw_components=(component,))

    def executables(references: ReferenceValues) -> int:
        return appraise_claims(claims, realm_claims, references).platform.vector.executables

    assert executables(_component(digest)) == 2
    assert executables(_component(digest, name="RMM", version="0.6.0", signer_id=bytes(32))) == 2
    assert executables(_component(digest, name="BL31")) == 33
    assert executables(_component(digest, version="0.6.1")) == 33
    assert executables(_component(bytes(32))) == 33
    assert executables(ReferenceValues()) == 33
    assert executables(_component(digest, revoked=True)) == 96
    later = _component(digest)
    later.add_platform(
        PlatformReference(
            implementation_id=platform_claims.implementation_id,
            components=(ComponentReference(measurement_value=digest, revoked=True),),
        )
    )
    assert executables(later) == 96


def test_a_component_without_type_is_a_verdict_and_no_exception(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    nameless = msgspec.structs.replace(platform_claims.sw_components[0], measurement_type=None)
    claims = msgspec.structs.replace(platform_claims, sw_components=(nameless,))
    assert appraise_claims(claims, realm_claims, references).platform.vector.executables == -1


def test_an_empty_config_needs_no_reference(platform_claims: PlatformClaims, realm_claims: RealmClaims) -> None:
    for config, value in ((b"", 2), (b"x", 32)):
        claims = msgspec.structs.replace(platform_claims, config=config)
        assert appraise_claims(claims, realm_claims, ReferenceValues()).platform.vector.configuration == value


@pytest.mark.parametrize(
    ("rems", "rpv", "value"),
    [
        ((None,) * 4, None, 2),
        ((bytes(32),) * 4, None, 2),
        ((None, bytes(32), None, None), None, 2),
        ((bytes(32), b"\1" * 32, None, None), None, 3),
        ((None,) * 4, bytes([0x55]) * 64, 2),
        ((None,) * 4, bytes(64), 96),
    ],
)
def test_realm_executables_follow_rim_rpv_and_rems(
    rems: tuple[bytes | None, ...], rpv: bytes | None, value: int,
    platform_claims: PlatformClaims, realm_claims: RealmClaims,
) -> None:  # fmt: skip
    reference = RealmReference(
        initial_measurement=realm_claims.initial_measurement, extensible_measurements=rems, personalization_value=rpv
    )
    vector = appraise_claims(platform_claims, realm_claims, ReferenceValues([], [reference])).realm.vector
    assert vector == TrustVector(instance_identity=2, executables=value)


def test_each_member_of_a_vector_is_explained(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    for scheme in Scheme:
        appraisal = appraise_claims(platform_claims, realm_claims, references, scheme)
        for submod in appraisal.submods:
            explained = {explanation.claim: explanation for explanation in submod.explanations}
            for claim, value in submod.vector.members().items():
                if value == 0:
                    assert claim not in explained
                    continue
                why = explained[claim]
                assert why.value == value
                assert why.expected
                assert why.found
                assert why.rule
                assert why.meaning
    sources = {
        why.claim: why.source
        for why in appraise_claims(platform_claims, realm_claims, references).platform.explanations
    }
    assert sources[TrustClaim.CONFIGURATION] == "release 1"


def test_an_appraisal_survives_the_wire(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, references: ReferenceValues
) -> None:
    appraisal = appraise_claims(platform_claims, realm_claims, references)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(appraisal), type=Appraisal) == appraisal
