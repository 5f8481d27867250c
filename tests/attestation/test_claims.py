"""Claim sets: every recorded one gets its verdict, ours are written in the firmware's order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest

from attestation import claims, claims_json
from attestation.claims import (
    ExtensionDevice,
    Lifecycle,
    PlatformClaims,
    PlatformProfile,
    RealmClaims,
    RealmProfile,
    RotPublicKey,
    lifecycle_name,
)
from attestation.errors import BadClaims, RefusalReason, Refused
from attestation.profiles import PLATFORM_TABLES, REALM_TABLES
from attestation.token import decode

GOOD_CBOR = {
    "go-platform-cbor/CcaPlatformClaimsAll.cbor",
    "go-platform-cbor/CcaPlatformClaimsMandatoryOnly.cbor",
    "go-platform-cbor/CcaPlatformLegacyClaimsAll.cbor",
    "go-platform-cbor/CcaPlatformLegacyClaimsMandatoryOnly.cbor",
    "go-realm-cbor/CcaRealmClaimsAll.cbor",
    "go-realm-cbor/CcaRealmLegacyClaimsAll.cbor",
    "platform-claims.cbor",
    "realm-claims.cbor",
    "realm-claims+spurious-numeric-key.cbor",
    "realm-claims+spurious-text-key.cbor",
}
BAD_CBOR = {
    "go-platform-cbor/CcaPlatformClaimsInvalidMultiNonce.cbor": 10,
    "go-platform-cbor/CcaPlatformClaimsMissingMandatoryNonce.cbor": 10,
    "go-realm-cbor/CcaClaimsMissingMandExtendedMeas.cbor": 44239,
    "go-realm-cbor/CcaClaimsMissingMandHashAlgID.cbor": 44236,
    "go-realm-cbor/CcaClaimsMissingMandInitialMeas.cbor": 44238,
    "go-realm-cbor/CcaClaimsMissingMandPubKey.cbor": 44237,
    "go-realm-cbor/CcaRealmClaimsMissingMandNonce.cbor": 10,
    "realm-claims-missing-challenge.cbor": 10,
}
BAD_JSON = {
    "go-platform-json/test-config-missing.json": 2401,
    "go-platform-json/test-hash-algid-invalid.json": 2402,
    "go-platform-json/test-hash-algid-missing.json": 2402,
    "go-platform-json/test-implementation-id-invalid-long.json": 2396,
    "go-platform-json/test-implementation-id-invalid-missing.json": 2396,
    "go-platform-json/test-instance-id-invalid.json": 256,
    "go-platform-json/test-instance-id-missing.json": 256,
    "go-platform-json/test-invalid-profile.json": 265,
    "go-platform-json/test-invalid-psa-claims.json": 2396,
    "go-platform-json/test-lifecycle-invalid.json": 2395,
    "go-platform-json/test-no-sw-components.json": 2399,
    "go-platform-json/test-nonce-invalid.json": 10,
    "go-platform-json/test-sw-components-invalid-combo.json": 2399,
    "go-platform-json/test-sw-components-invalid-missing.json": 2399,
    "go-platform-json/test-vsi-invalid-empty.json": 2400,
    "go-realm-json/test-invalid-extended-meas.json": 44239,
    "go-realm-json/test-invalid-initial-meas.json": 44238,
    "go-realm-json/test-invalid-nonce.json": 10,
    "go-realm-json/test-invalid-personalization-val.json": 44235,
    "go-realm-json/test-invalid-public-key.json": 44237,
    "go-realm-json/test-missing-extended-meas.json": 44239,
    "go-realm-json/test-missing-hash-alg-id.json": 44236,
    "go-realm-json/test-missing-initial-meas.json": 44238,
    "go-realm-json/test-missing-nonce.json": 10,
    "go-realm-json/test-missing-personalization-val.json": 44235,
    "go-realm-json/test-missing-public-key-alg-id.json": 44240,
    "go-realm-json/test-missing-public-key.json": 44237,
}
GOOD_JSON = {"go-platform-json/test-token-valid-full.json", "go-realm-json/test-cca-claims-all-valid.json"}
CLAIMS_FILES = {
    "services-cca-good.json",
    "services-e2e-cca-evidence.json",
    "services-e2e-cca-claims-without-realm-challenge.json",
    "evcli-cca-claims.json",
    "evcli-cca-claims-without-realm-challenge.json",
}


def _is_realm(name: str) -> bool:
    return "realm" in name


def _read_cbor(folder: Path, name: str) -> tuple[PlatformClaims | RealmClaims, tuple[str, ...]]:
    data = (folder / name).read_bytes()
    return claims.decode_realm(data) if _is_realm(name) else claims.decode_platform(data)


def _read_json(folder: Path, name: str) -> PlatformClaims | RealmClaims:
    document = json.loads((folder / name).read_text())
    return claims_json.read_realm(document) if _is_realm(name) else claims_json.read_platform(document)


def test_every_recorded_claim_set_gets_its_verdict(vectors: Path) -> None:
    folder = vectors / "attestation/claims"
    for name in GOOD_CBOR:
        _read_cbor(folder, name)
    for name in GOOD_JSON:
        _read_json(folder, name)
    for reader, cases in ((_read_cbor, BAD_CBOR), (_read_json, BAD_JSON)):
        for name, label in cases.items():
            with pytest.raises(Refused) as refused:
                reader(folder, name)
            assert refused.value.label == label, name
    listed = len(GOOD_CBOR) + len(BAD_CBOR) + len(GOOD_JSON) + len(BAD_JSON)
    present = [*folder.glob("go-*/*.cbor"), *folder.glob("*.cbor"), *folder.glob("go-*/*.json")]
    assert len(present) == listed
    print(f"{listed} claim sets read")


def test_a_second_nonce_is_named_as_such(vectors: Path) -> None:
    data = (vectors / "attestation/claims/go-platform-cbor/CcaPlatformClaimsInvalidMultiNonce.cbor").read_bytes()
    with pytest.raises(BadClaims, match="single byte string") as refused:
        claims.decode_platform(data)
    assert data[refused.value.offset or 0] == 0x82


def test_spurious_claims_are_ignored_and_reported(vectors: Path) -> None:
    folder = vectors / "attestation/claims"
    for name in ("realm-claims+spurious-numeric-key.cbor", "realm-claims+spurious-text-key.cbor"):
        read, ignored = _read_cbor(folder, name)
        assert read == _read_cbor(folder, "realm-claims.cbor")[0]
        assert len(ignored) == 1
        assert ignored[0].startswith("realm claim")


def test_recorded_identities_are_read(vectors: Path) -> None:
    folder = vectors / "attestation"
    identities = (folder / "claims/impl-id.bin").read_bytes(), (folder / "claims/inst-id.bin").read_bytes()
    assert tuple(map(len, identities)) == (32, 33)


def test_every_claims_file_reads_as_a_template(vectors: Path) -> None:
    folder = vectors / "attestation/claims"
    for name in CLAIMS_FILES:
        platform, realm = claims_json.read_claims_file((folder / name).read_bytes())
        assert claims_json.read_platform(claims_json.write_platform(platform)) == platform
        assert claims_json.read_realm(claims_json.write_realm(realm)) == realm
    with pytest.raises(BadClaims) as refused:
        claims_json.read_claims_file((folder / "evcli-cca-claims-bad-norealm.json").read_bytes())
    assert refused.value.label == "cca-realm-delegated-token"


def test_json_claims_equal_the_cbor_claims_of_the_same_token(vectors: Path) -> None:
    folder = vectors / "attestation"
    evidence = decode((folder / "tokens/services-cca-good.cbor").read_bytes())
    expected = json.loads((folder / "veraison/cca.good.json").read_text())
    annotated = expected["CCA_REALM"]["ear.veraison.annotated-evidence"]
    assert claims_json.write_realm(evidence.realm.claims) == annotated


def _labels(data: bytes) -> list[int]:
    return list(cbor2.loads(data))


def test_claims_stand_in_the_order_of_the_firmware(platform_claims: PlatformClaims, realm_claims: RealmClaims) -> None:
    realm = msgspec.structs.replace(
        realm_claims, public_key=bytes.fromhex("a401022002215830") + bytes(48) + b"\x22\x58\x30" + bytes(48)
    )
    platform_order = [265, 10, 2396, 256, 2401, 2395, 2402, 2400, 2399]
    assert _labels(claims.encode_platform_claims(platform_claims)) == platform_order
    assert list(cbor2.loads(claims.encode_platform_claims(platform_claims))[2399][0]) == [1, 5, 4, 2, 6]
    assert _labels(claims.encode_realm_claims(realm)) == [10, 44235, 44237, 44236, 44240, 265, 44238, 44239]
    legacy = msgspec.structs.replace(realm_claims, profile=RealmProfile.LEGACY, public_key=bytes(97))
    assert _labels(claims.encode_realm_claims(legacy)) == [10, 44235, 44237, 44236, 44240, 44238, 44239]
    newer = msgspec.structs.replace(
        realm, profile=RealmProfile.V2024_2_0, mec_policy="private", instance_id=b"\x01" + bytes(32)
    )
    expected = [10, 256, 44235, 44237, 44236, 44240, 44243, 265, 44238, 44239]
    assert _labels(claims.encode_realm_claims(newer)) == expected
    assert cbor2.loads(claims.encode_realm_claims(newer))[44243] == 1


def _platform_of(profile: str, base: PlatformClaims) -> PlatformClaims:
    fields: dict[str, Any] = {"profile": profile}
    if "#2." in profile:
        fields |= {"client_id": 1, "peer_signers": (b"peer",), "manufacturing_config": b"m"}
        fields["rot_public_keys"] = (RotPublicKey(owner="CM", active=1, index=0, digest=bytes(32)),)
    if "2026" in profile:
        fields |= {"workload_binding": bytes(32), "challenge": bytes(64) if "HESRAK" in profile else None}
        component = msgspec.structs.replace(
            base.sw_components[0], live_activation=True, countersigners=(bytes(32), bytes(48))
        )
        fields["sw_components"] = (component,)
        fields["tpm_binding"] = b"tpm"
    if "2024:cca_platform#2" in profile or "#2.1.0" in profile:
        device = ExtensionDevice(
            measurements=bytes(32), certificates=bytes(48), uses_ide=True, protocol="spdm-1.3.0",
            vca=bytes(32), device_type="cxl-type-3", encryption=1,
        )  # fmt: skip
        fields["extension"] = (device,)
    return msgspec.structs.replace(base, **fields)


@pytest.mark.parametrize("profile", list(PLATFORM_TABLES))
def test_platform_claims_of_every_profile_round_trip(profile: str, platform_claims: PlatformClaims) -> None:
    wanted = _platform_of(profile, platform_claims)
    assert claims.decode_platform(claims.encode_platform_claims(wanted)) == (wanted, ())
    assert claims_json.write_platform(wanted)["cca-platform-profile"] == profile


@pytest.mark.parametrize("profile", list(REALM_TABLES))
def test_realm_claims_of_every_profile_round_trip(profile: str, realm_claims: RealmClaims, rak: Any) -> None:
    fields: dict[str, Any] = {"profile": profile, "public_key": rak.public.cose_key() if profile else rak.public.raw()}
    if "#2." in profile:
        fields |= {"mec_policy": "shared", "instance_id": b"\x01" + bytes(32), "devices_token_hash": bytes(32)}
    if "2026" in profile:
        fields["lfa_policy"] = 1
    wanted = msgspec.structs.replace(realm_claims, **fields)
    assert claims.decode_realm(claims.encode_realm_claims(wanted)) == (wanted, ())


def _with(claims_bytes: bytes, changes: dict[int, Any]) -> bytes:
    values = cbor2.loads(claims_bytes) | changes
    return cbor2.dumps({label: value for label, value in values.items() if value is not ...})


PLATFORM_BREAKS: list[tuple[str, dict[int, Any], int]] = [
    (PlatformProfile.V2023_1_0, {10: bytes(31)}, 10),
    (PlatformProfile.V2023_1_0, {10: bytes(65)}, 10),
    (PlatformProfile.V2023_1_0, {10: [bytes(32)]}, 10),
    (PlatformProfile.V2023_1_0, {2396: bytes(33)}, 2396),
    (PlatformProfile.V2023_1_0, {2396: "x" * 32}, 2396),
    (PlatformProfile.V2023_1_0, {256: bytes(33)}, 256),
    (PlatformProfile.V2023_1_0, {256: b"\x01" + bytes(31)}, 256),
    (PlatformProfile.V2023_1_0, {2395: -1}, 2395),
    (PlatformProfile.V2023_1_0, {2395: True}, 2395),
    (PlatformProfile.V2023_1_0, {2395: 0x3000 << 16}, 2395),
    (PlatformProfile.V2023_1_0, {2399: {}}, 2399),
    (PlatformProfile.V2023_1_0, {2399: [7]}, 2399),
    (PlatformProfile.V2023_1_0, {2399: [{2: bytes(32), 5: bytes(32), 1: 7}]}, 2399),
    (PlatformProfile.V2023_1_0, {2399: [{2: bytes(33), 5: bytes(32)}]}, 2399),
    (PlatformProfile.V2023_1_0, {2400: ""}, 2400),
    (PlatformProfile.V2023_1_0, {2401: "text"}, 2401),
    (PlatformProfile.V2023_1_0, {2402: "sha256"}, 2402),
    (PlatformProfile.V2023_1_0, {2402: "md5"}, 2402),
    (PlatformProfile.V2023_1_0, {265: 7}, 265),
    (PlatformProfile.V2024_2_0, {2394: ...}, 2394),
    (PlatformProfile.V2024_2_0, {2394: 2}, 2394),
    (PlatformProfile.V2024_2_0, {2401: b""}, 2401),
    (PlatformProfile.V2024_2_0, {2403: b""}, 2403),
    (PlatformProfile.V2024_2_0, {2404: []}, 2404),
    (PlatformProfile.V2024_2_0, {2404: [{2: bytes(32), 3: bytes(32), 4: True, 5: "spdm-1.2.0", 7: "gpu"}]}, 2404),
    (PlatformProfile.V2024_2_0, {2404: [{2: bytes(32), 3: bytes(32), 4: True, 5: "x", 7: "cxl-type-3"}]}, 2404),
    (PlatformProfile.V2024_2_0, {2404: [{2: bytes(32), 3: bytes(32), 4: True, 5: "x", 7: "gpu", 9: 1}]}, 2404),
    (PlatformProfile.V2024_2_0, {2405: [{1: "XX", 2: 1, 3: 0, 4: bytes(32)}]}, 2405),
    (PlatformProfile.V2024_2_0, {2406: b""}, 2406),
    (PlatformProfile.V2026_2_0, {2408: ...}, 2408),
    (PlatformProfile.V2026_2_0, {2408: bytes(31)}, 2408),
    (PlatformProfile.V2026_2_0, {10: bytes(32)}, 10),
    (PlatformProfile.V2026_2_0, {2399: [{2: bytes(32), 5: bytes(32), 8: []}]}, 2399),
    (f"{PlatformProfile.V2026_2_0};HESRAK", {10: ...}, 10),
]


@pytest.mark.parametrize(("profile", "change", "label"), PLATFORM_BREAKS)
def test_a_broken_platform_claim_is_refused_by_label(
    profile: str, change: dict[int, Any], label: int, platform_claims: PlatformClaims
) -> None:
    data = _with(claims.encode_platform_claims(_platform_of(profile, platform_claims)), change)
    with pytest.raises(BadClaims) as refused:
        claims.decode_platform(data)
    assert refused.value.label == label
    if change[label] is not ...:
        assert refused.value.offset is not None


def test_older_tables_are_not_loosened_by_newer_ones(platform_claims: PlatformClaims) -> None:
    data = _with(claims.encode_platform_claims(platform_claims), {2408: bytes(32), 2394: 99, 2404: "anything"})
    read, ignored = claims.decode_platform(data)
    assert read == platform_claims
    assert set(ignored) == {"platform claim 2408", "platform claim 2394", "platform claim 2404"}


def test_the_default_form_never_emits_an_unknown_hash(platform_claims: PlatformClaims) -> None:
    with pytest.raises(BadClaims) as refused:
        claims.encode_platform_claims(msgspec.structs.replace(platform_claims, hash_algo_id="sha-1"))
    assert refused.value.label == 2402


def test_an_unknown_profile_is_its_own_reason(platform_claims: PlatformClaims) -> None:
    data = _with(claims.encode_platform_claims(platform_claims), {265: "tag:arm.com,2024:platform#2.0.0"})
    with pytest.raises(BadClaims) as refused:
        claims.decode_platform(data)
    assert refused.value.reason is RefusalReason.PROFILE


def test_mec_policy_reads_as_number_and_as_text(realm_claims: RealmClaims, rak: Any) -> None:
    wanted = msgspec.structs.replace(
        realm_claims, profile=RealmProfile.V2024_2_0, public_key=rak.public.cose_key(), mec_policy="private",
        instance_id=b"\x01" + bytes(32),
    )  # fmt: skip
    data = claims.encode_realm_claims(wanted)
    assert claims.decode_realm(_with(data, {44243: "private"}))[0] == wanted
    for wrong in (2, "secret", True, b"private"):
        with pytest.raises(BadClaims):
            claims.decode_realm(_with(data, {44243: wrong}))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0x0000, Lifecycle.UNKNOWN), (0x10FF, Lifecycle.ASSEMBLY_AND_TEST), (0x2000, Lifecycle.PROVISIONING),
        (0x3003, Lifecycle.SECURED), (0x30FF, Lifecycle.SECURED), (0x40FF, Lifecycle.NON_PLATFORM_DEBUG),
        (0x5000, Lifecycle.RECOVERABLE_DEBUG), (0x60FF, Lifecycle.DECOMMISSIONED),
        (0x0100, None), (0x3100, None), (0x6100, None), (0x7000, None), (0x10000, None),
    ],
)  # fmt: skip
def test_lifecycle_ranges_end_where_the_text_ends_them(value: int, name: Lifecycle | None) -> None:
    assert lifecycle_name(value) is name
