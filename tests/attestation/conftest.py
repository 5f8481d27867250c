"""A platform, a Realm and a token of our own, for tests that need good evidence to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from attestation.claims import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.keys import SigningKey, derive_key
from attestation.stores import (
    ComponentReference,
    PlatformReference,
    RealmReference,
    ReferenceValues,
    TrustAnchor,
    TrustAnchors,
)
from attestation.token import create

NONCE = bytes(range(64))
IMPLEMENTATION = bytes([0xA1]) * 32
INSTANCE = b"\x01" + bytes([0xB2]) * 32
SIGNER = bytes([0xC3]) * 32
CONFIG = bytes.fromhex("cfcfcfcf")
RIM = bytes([0x44]) * 32
RPV = bytes([0x55]) * 64
COMPONENTS = (("RSE_BL2", "1.0.0", 0x10), ("AP_BL31", "2.12.1", 0x11), ("RMM", "0.6.0", 0x12))


@pytest.fixture(scope="session")
def own_vectors() -> Path:
    """Small known answers kept in this repository."""
    return Path(__file__).resolve().parents[1] / "vectors" / "attestation"


@pytest.fixture(scope="session")
def cpak() -> SigningKey:
    return derive_key(b"seed of a machine", "CPAK")


@pytest.fixture(scope="session")
def rak() -> SigningKey:
    return derive_key(b"seed of a machine", "RAK of boot 1")


@pytest.fixture(scope="session")
def platform_claims() -> PlatformClaims:
    components = tuple(
        SoftwareComponent(
            measurement_type=name,
            measurement_value=bytes([fill]) * 32,
            version=version,
            signer_id=SIGNER,
            description="sha-256",
        )
        for name, version, fill in COMPONENTS
    )
    return PlatformClaims(
        challenge=bytes(32),
        implementation_id=IMPLEMENTATION,
        instance_id=INSTANCE,
        config=CONFIG,
        lifecycle=0x3003,
        sw_components=components,
        service_indicator="https://verifier.example/",
    )


@pytest.fixture(scope="session")
def realm_claims() -> RealmClaims:
    return RealmClaims(
        challenge=NONCE,
        personalization_value=RPV,
        initial_measurement=RIM,
        extensible_measurements=(bytes(32),) * 4,
    )


@pytest.fixture(scope="session")
def token(platform_claims: PlatformClaims, realm_claims: RealmClaims, cpak: SigningKey, rak: SigningKey) -> bytes:
    return create(platform_claims, realm_claims, cpak, rak)


@pytest.fixture
def anchors(cpak: SigningKey) -> TrustAnchors:
    return TrustAnchors([TrustAnchor(INSTANCE, IMPLEMENTATION, cpak.public)])


@pytest.fixture
def references() -> ReferenceValues:
    components = tuple(
        ComponentReference(
            measurement_value=bytes([fill]) * 32, signer_id=SIGNER, name=name, version=version, security_version=7
        )
        for name, version, fill in COMPONENTS
    )
    return ReferenceValues(
        [PlatformReference(implementation_id=IMPLEMENTATION, components=components, config=CONFIG, source="release 1")],
        [RealmReference(initial_measurement=RIM, extensible_measurements=(bytes(32),) * 4, source="image 1")],
    )
