"""Verification: recorded tokens get their stated verdicts for the stated reasons, in the order of the text."""

from __future__ import annotations

import json
from pathlib import Path

import cbor2
import msgspec
import pytest
from ruamel.yaml import YAML

from attestation import token as tokens
from attestation.claims import PlatformClaims, PlatformProfile, RealmClaims, RealmProfile, SoftwareComponent
from attestation.errors import RefusalReason, Refused
from attestation.hashes import HashName
from attestation.keys import Curve, PublicKey, SigningKey, derive_key
from attestation.stores import TrustAnchor, TrustAnchors, read_anchor_store
from attestation.token import Wrapper, create
from attestation.verify import PlatformCache, check_binding, verify, verify_platform

NONCE = bytes(range(64))

TOKENS: list[tuple[str, str, RefusalReason | None]] = [
    ("cca-token-01.cbor", "keys/rust-cpak.json", None),
    ("cca-token-01.cbor", "stores/rust-ta.json", RefusalReason.UNKNOWN_INSTANCE),
    ("cca-token-01.cbor", "keys/rust-pkey.json", RefusalReason.SIGNATURE),
    ("cca-token-01.cbor", "keys/cca_realm.pem", RefusalReason.SIGNATURE),
    ("cca-token-02.cbor", "stores/rust-ta-02-ok.json", None),
    ("cca-token-02.cbor", "stores/rust-ta-02-bad.json", RefusalReason.UNKNOWN_KEY),
    ("cca-token-draft-ffm-00.cbor", "keys/rust-cpak.json", None),
    ("cca-token-draft-ffm-00.cbor", "keys/cca_platform.pem", None),
    ("bug-33-repro.cbor", "stores/rust-ta-tfa.json", RefusalReason.BINDING),
    ("tf-rmm-cca_token.cbor", "keys/rust-cpak.json", None),
    ("services-cca-good.cbor", "keys/services-ec.p256.jwk", None),
    ("services-cca-good.cbor", "keys/integ-ec.p256.alt.jwk", RefusalReason.SIGNATURE),
    ("services-e2e-cca-evidence.cbor", "keys/services-e2e-ec-p256.jwk", None),
    ("trustee-cca-example-token.cbor", "trustee/cpak-pub.json", None),
    ("trustee-cca-example-token.cbor", "trustee/tastore.json", None),
    ("iat-cca_token.cbor", "keys/cca_platform.pem", None),
    ("iat-cca_example_token_legacy.cbor", "keys/cca_platform.pem", None),
    ("iat-cca_example_token.cbor", "keys/cca_platform.pem", None),
    ("iat-cca_example_platform_token.cbor", "keys/cca_platform.pem", RefusalReason.MALFORMED),
    ("iat-cca_example_platform_token_legacy.cbor", "keys/cca_platform.pem", RefusalReason.MALFORMED),
    ("iat-cca_platform_token.cbor", "keys/cca_platform.pem", RefusalReason.MALFORMED),
    ("draft-ffm-04-example.cbor", "keys/cca_platform.pem", RefusalReason.SIGNATURE),
]

DERIVED_REASONS = {
    "bad-platform-signature": RefusalReason.SIGNATURE,
    "bad-realm-signature": RefusalReason.SIGNATURE,
    "bad-realm-payload": RefusalReason.SIGNATURE,
    "bad-realm-signed-by-other-key": RefusalReason.SIGNATURE,
    "bad-alg-mismatch": RefusalReason.SIGNATURE,
    "bad-signature-der": RefusalReason.SIGNATURE,
    "bad-binding": RefusalReason.BINDING,
    "bad-wrapper": RefusalReason.MALFORMED,
    "bad-907": RefusalReason.MALFORMED,
    "bad-missing-platform": RefusalReason.MALFORMED,
    "bad-trailing-byte": RefusalReason.MALFORMED,
    "bad-indefinite": RefusalReason.MALFORMED,
    "bad-duplicate": RefusalReason.MALFORMED,
    "bad-untagged": RefusalReason.MALFORMED,
    "bad-alg-not-protected": RefusalReason.MALFORMED,
    "bad-payload-nil": RefusalReason.MALFORMED,
    "bad-platform-profile": RefusalReason.PROFILE,
    "bad-realm-profile": RefusalReason.PROFILE,
}
"""Failure class by the start of a case's name; what is not listed is a broken claim."""


def load_anchors(path: Path) -> TrustAnchors:
    """Trust anchors from a store, or one key for any instance."""
    data = path.read_bytes()
    if path.suffix == ".pem":
        return TrustAnchors.any_instance(PublicKey.from_pem(data))
    document = json.loads(data)
    if isinstance(document, list):
        return read_anchor_store(data)
    return TrustAnchors.any_instance(PublicKey.from_jwk(document))


def refusal_of(data: bytes, anchors: TrustAnchors) -> Refused | None:
    """Why a token is refused; None when it is accepted, after both signatures were really verified."""
    try:
        verified = verify(data, anchors, None)
    except Refused as refused:
        return refused
    assert verified.operations == 2
    return None


def test_every_recorded_token_gets_the_verdict_of_its_table(vectors: Path) -> None:
    folder = vectors / "attestation"
    for name, key, reason in TOKENS:
        data = (folder / "tokens" / name).read_bytes()
        refusal = refusal_of(data, load_anchors(folder / key))
        assert (refusal and refusal.reason) == reason, f"{name} with {key}: {refusal or 'accepted'}"
    assert {name for name, _, _ in TOKENS} == {path.name for path in (folder / "tokens").glob("*.cbor")}
    print(f"{len(TOKENS)} token verdicts")


def test_recorded_platform_tokens_verify_alone(vectors: Path) -> None:
    folder = vectors / "attestation"
    anchors = load_anchors(folder / "keys/cca_platform.pem")
    for path in sorted((folder / "tokens").glob("iat-cca*platform_token*.cbor")):
        verified = verify_platform(path.read_bytes(), anchors)
        assert verified.operations == 1
        with pytest.raises(Refused):
            verify_platform(path.read_bytes(), load_anchors(folder / "keys/cca_realm.pem"))


def test_the_draft_04_example_parses_and_binds_though_its_signatures_are_stale(vectors: Path) -> None:
    evidence = tokens.decode((vectors / "attestation/tokens/draft-ffm-04-example.cbor").read_bytes())
    check_binding(evidence)
    assert evidence.platform.claims.profile == PlatformProfile.V2026_2_0
    assert evidence.realm.claims.mec_policy == "private"


def test_every_made_token_gets_the_verdict_of_the_text(vectors: Path) -> None:
    folder = vectors / "attestation/derived"
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    for case in cases:
        refusal = refusal_of((folder / case["file"]).read_bytes(), load_anchors(folder / case["key"]))
        if refusal is None:
            assert case["expect"] in ("accept", "either"), f"{case['file']} was accepted: {case['why']}"
        else:
            assert case["expect"] in ("reject", "either"), f"{case['file']}: {refusal}"
            wanted = next((r for p, r in DERIVED_REASONS.items() if case["file"].startswith(p)), RefusalReason.CLAIMS)
            assert refusal.reason is wanted, f"{case['file']}: {refusal}"
    print(f"{len(cases)} derived verdicts")


def test_recorded_challenges_answer_their_nonce_and_no_other(vectors: Path) -> None:
    folder = vectors / "attestation"
    data = (folder / "tokens/services-e2e-cca-evidence.cbor").read_bytes()
    anchors = load_anchors(folder / "keys/services-e2e-ec-p256.jwk")
    assert verify(data, anchors, b"AB" * 32).fresh
    with pytest.raises(Refused) as refused:
        verify(data, anchors, b"BA" * 32)
    assert refused.value.reason is RefusalReason.FRESHNESS


@pytest.mark.parametrize("size", [1, 8, 32, 48, 63, 64])
def test_a_short_nonce_matches_its_zero_padded_challenge(
    size: int, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey
) -> None:
    nonce = b"\x5a" * size
    realm = msgspec.structs.replace(realm_claims, challenge=nonce + bytes(64 - size))
    anchors = TrustAnchors.any_instance(cpak.public)
    data = create(platform_claims, realm, cpak, rak)
    assert verify(data, anchors, nonce).fresh
    for wrong in (nonce + b"\x01" if size < 64 else b"\x5b" * 64, b"", bytes(65)):
        with pytest.raises(Refused) as refused:
            verify(data, anchors, wrong)
        assert refused.value.reason is RefusalReason.FRESHNESS


@pytest.mark.parametrize("wrapper", list(Wrapper))
@pytest.mark.parametrize("curve", list(Curve))
def test_our_own_tokens_verify_with_two_operations(
    wrapper: Wrapper, curve: Curve, platform_claims: PlatformClaims, realm_claims: RealmClaims, rak: SigningKey
) -> None:
    cpak = derive_key(b"machine", "CPAK", curve)
    verified = verify(
        create(platform_claims, realm_claims, cpak, rak, wrapper), TrustAnchors.any_instance(cpak.public), NONCE
    )
    assert verified.operations == 2
    assert verified.realm.initial_measurement == realm_claims.initial_measurement
    assert verified.platform.sw_components == platform_claims.sw_components


@pytest.mark.parametrize("name", list(HashName))
def test_the_binding_uses_the_hash_that_the_realm_names(
    name: HashName, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey
) -> None:
    realm = msgspec.structs.replace(realm_claims, public_key_hash_algo_id=name)
    verified = verify(create(platform_claims, realm, cpak, rak), TrustAnchors.any_instance(cpak.public), NONCE)
    assert len(verified.platform.challenge or b"") == name.size


def _newer(platform_claims: PlatformClaims, realm_claims: RealmClaims, mode: str) -> tuple[PlatformClaims, RealmClaims]:
    platform = msgspec.structs.replace(
        platform_claims, profile=PlatformProfile.V2026_2_0 + mode, client_id=1, challenge=None
    )
    realm = msgspec.structs.replace(
        realm_claims, profile=RealmProfile.V2026_2_0, mec_policy="private", instance_id=b"\x01" + bytes(32)
    )
    return platform, realm


def test_the_2026_profiles_bind_by_claim_2408(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey
) -> None:
    anchors = TrustAnchors.any_instance(cpak.public)
    platform, realm = _newer(platform_claims, realm_claims, "")
    assert verify(create(platform, realm, cpak, rak, Wrapper.CMW_907), anchors, NONCE).operations == 2
    platform, realm = _newer(platform_claims, realm_claims, ";HESRAK")
    for challenge, good in ((realm.challenge, True), (bytes(64), False)):
        data = create(msgspec.structs.replace(platform, challenge=challenge), realm, cpak, rak)
        if good:
            verify(data, anchors, NONCE)
        else:
            with pytest.raises(Refused) as refused:
                verify(data, anchors, NONCE)
            assert refused.value.reason is RefusalReason.BINDING


def test_direct_mode_binds_the_unsigned_realm_claims(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey
) -> None:
    platform, realm = _newer(platform_claims, realm_claims, ";direct")
    realm_set = tokens.encode_realm_direct(realm)
    anchors = TrustAnchors.any_instance(cpak.public)
    for bound, good in ((HashName.SHA_256.digest(realm_set), True), (bytes(32), False)):
        signed = tokens.encode_platform(msgspec.structs.replace(platform, workload_binding=bound), cpak)
        data = tokens.encode_collection(signed, realm_set, Wrapper.CMW_907)
        if good:
            assert verify(data, anchors, NONCE).operations == 1
        else:
            with pytest.raises(Refused) as refused:
                verify(data, anchors, NONCE)
            assert refused.value.reason is RefusalReason.BINDING


def test_a_realm_token_of_another_machine_is_not_bound(
    token: bytes, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, anchors: TrustAnchors
) -> None:
    other = create(platform_claims, realm_claims, derive_key(b"other", "CPAK"), derive_key(b"other", "RAK"))
    mixed = tokens.encode_collection(tokens.decode(token).platform.token, tokens.decode(other).realm.token)
    with pytest.raises(Refused) as refused:
        verify(mixed, anchors, NONCE)
    assert refused.value.reason is RefusalReason.BINDING


def test_a_rak_off_its_curve_is_refused_as_a_key(
    platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey
) -> None:
    encoded = bytearray(rak.public.cose_key())
    encoded[-1] ^= 1
    realm = msgspec.structs.replace(realm_claims, public_key=bytes(encoded))
    bound = HashName.SHA_256.digest(bytes(encoded))
    platform = msgspec.structs.replace(platform_claims, challenge=bound)
    data = tokens.encode_collection(tokens.encode_platform(platform, cpak), tokens.encode_realm(realm, rak))
    with pytest.raises(Refused) as refused:
        verify(data, TrustAnchors.any_instance(cpak.public), NONCE)
    assert (refused.value.reason, refused.value.label) == (RefusalReason.UNKNOWN_KEY, 44237)


def test_identity_decides_which_anchor_counts(token: bytes, cpak: SigningKey, anchors: TrustAnchors) -> None:
    anchor = next(iter(anchors))
    assert verify(token, anchors, NONCE).anchor == anchor
    for wrong in (
        TrustAnchor(b"\x01" + bytes(32), anchor.implementation_id, cpak.public),
        TrustAnchor(anchor.instance_id, bytes(32), cpak.public),
    ):
        with pytest.raises(Refused) as refused:
            verify(token, TrustAnchors([wrong]), NONCE)
        assert refused.value.reason is RefusalReason.UNKNOWN_INSTANCE
    with pytest.raises(Refused) as refused:
        verify(token, TrustAnchors(), NONCE)
    assert refused.value.reason is RefusalReason.UNKNOWN_INSTANCE


def test_one_flipped_byte_anywhere_is_refused(token: bytes, anchors: TrustAnchors) -> None:
    for at in range(0, len(token), 7):
        changed = token[:at] + bytes([token[at] ^ 0x01]) + token[at + 1 :]
        with pytest.raises(Refused):
            verify(changed, anchors, NONCE)


def test_a_platform_token_is_verified_once_and_then_recognised(
    token: bytes, platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey,
    anchors: TrustAnchors,
) -> None:  # fmt: skip
    cache = PlatformCache()
    assert verify(token, anchors, NONCE, trusted_platforms=cache).operations == 2
    assert verify(token, anchors, NONCE, trusted_platforms=cache).operations == 1
    second = create(platform_claims, msgspec.structs.replace(realm_claims, challenge=bytes(64)), cpak, rak)
    again = verify(second, anchors, bytes(64), trusted_platforms=cache)
    assert again.operations == 1
    assert again == verify(second, anchors, bytes(64))._replace(operations=1)
    rebooted = create(platform_claims, realm_claims, cpak, derive_key(b"seed of a machine", "RAK of boot 2"))
    assert verify(rebooted, anchors, NONCE, trusted_platforms=cache).operations == 2


def test_a_recognised_platform_still_needs_its_anchor(token: bytes, anchors: TrustAnchors) -> None:
    cache = PlatformCache()
    verify(token, anchors, NONCE, trusted_platforms=cache)
    anchor = next(iter(anchors))
    with pytest.raises(Refused) as refused:
        verify(token, TrustAnchors(), NONCE, trusted_platforms=cache)
    assert refused.value.reason is RefusalReason.UNKNOWN_INSTANCE
    replaced = TrustAnchors([TrustAnchor(anchor.instance_id, anchor.implementation_id, derive_key(b"x", "y").public)])
    with pytest.raises(Refused) as refused:
        verify(token, replaced, NONCE, trusted_platforms=cache)
    assert refused.value.reason is RefusalReason.SIGNATURE


def test_a_cache_does_not_hide_a_bad_realm_token(token: bytes, anchors: TrustAnchors) -> None:
    cache = PlatformCache(capacity=1)
    verify(token, anchors, NONCE, trusted_platforms=cache)
    parts = cbor2.loads(token).value
    bad = tokens.encode_collection(parts[44234], parts[44241][:-1] + bytes([parts[44241][-1] ^ 1]))
    with pytest.raises(Refused) as refused:
        verify(bad, anchors, NONCE, trusted_platforms=cache)
    assert refused.value.reason is RefusalReason.SIGNATURE
    assert len(cache) == 1


def test_without_a_nonce_nothing_claims_to_be_fresh(token: bytes, anchors: TrustAnchors) -> None:
    assert not verify(token, anchors, None).fresh


def _from_yaml(path: Path) -> tuple[PlatformClaims, RealmClaims]:
    """Claims from a source file of the TF-M token compiler."""
    document = YAML(typ="safe").load(path)
    platform, realm = document["cca_platform_token"], document["cca_realm_delegated_token"]
    components = tuple(
        SoftwareComponent(
            measurement_type=item["sw_component_type"],
            measurement_value=item["measurement_value"],
            version=item["sw_component_version"],
            signer_id=item["signer_id"],
        )
        for item in platform["cca_platform_sw_components"]
    )
    platform_claims = PlatformClaims(
        profile=platform["cca_attestation_profile"],
        challenge=platform["cca_platform_challenge"],
        implementation_id=platform["cca_platform_implementation_id"],
        instance_id=platform["cca_platform_instance_id"],
        config=platform["cca_platform_config"],
        lifecycle=int(platform["cca_platform_lifecycle"].rsplit("_", 1)[1], 16),
        sw_components=components,
    )
    realm_claims = RealmClaims(
        profile=RealmProfile.LEGACY,
        challenge=realm["cca_realm_challenge"],
        personalization_value=realm["cca_realm_personalization_value"],
        public_key=realm["cca_realm_pub_key"],
        initial_measurement=realm["cca_realm_initial_measurement"],
        extensible_measurements=tuple(realm["cca_realm_extensible_measurements"]),
    )
    return platform_claims, realm_claims


@pytest.mark.parametrize(
    ("name", "bound"), [("iat-valid-cca-token.yaml", True), ("iat-cca-invalid-plat-challenge.yaml", False)]
)
def test_recorded_token_sources_bind_as_their_names_say(
    vectors: Path, name: str, bound: bool, cpak: SigningKey, rak: SigningKey
) -> None:
    platform, realm = _from_yaml(vectors / "attestation/claims" / name)
    # the RAK of the file has no private key here: binding is judged on decoded evidence, apart from signatures
    data = tokens.encode_collection(tokens.encode_platform(platform, cpak), tokens.encode_realm(realm, rak))
    evidence = tokens.decode(data)
    if bound:
        check_binding(evidence)
    else:
        with pytest.raises(Refused) as refused:
            check_binding(evidence)
        assert refused.value.reason is RefusalReason.BINDING
