"""Platform evidence: who the machine is, what firmware it runs, and which Realm attestation key it vouches for.

The token is of the profile that the machine was made with, signed with the platform attestation key (CPAK). It
carries the hash of the Realm attestation key (RAK), so that whatever the RAK signs is bound to this machine and
firmware: as its challenge, or from the profiles of 2026 on as its workload binding.
Source: draft-ffm-rats-cca-token; RSE delegated attestation (TF-M; TF-A docs/components/measured_boot).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

from attestation.claim_records import PlatformProfile
from attestation.claims import PlatformClaims, SoftwareComponent
from attestation.keys import Curve, SigningKey, derive_key
from attestation.token import encode_platform
from cca_machine.monitor.ports import Platform
from cca_machine.monitor.state import MeasurementSlot

CONFIG = bytes.fromhex("cfcfcfcf")
"""Claim 2401, as in the sample token of TF-A."""

HASH_NAME = "sha-256"


REALM_MANAGEMENT = 1
"""Claim 2394: the client that asked for the token is the Realm management security domain."""

PROFILES: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "2023": lambda binding: {"profile": PlatformProfile.V2023_1_0, "challenge": binding},
    "2024": lambda binding: {
        "profile": PlatformProfile.V2024_2_0, "challenge": binding, "client_id": REALM_MANAGEMENT,
    },
    "2026": lambda binding: {
        "profile": PlatformProfile.V2026_2_0, "workload_binding": binding, "client_id": REALM_MANAGEMENT,
    },
}  # fmt: skip
"""Claims that differ between the profiles, given the hash of the RAK, by year."""


class PlatformIdentity(NamedTuple):
    """The key that signs platform tokens and the instance id (33 bytes) under which verifiers look it up."""

    cpak: SigningKey
    instance_id: bytes


def platform_identity(seed: bytes) -> PlatformIdentity:
    """The identity of the machine with this seed: 0x01 (UEID of type RAND) and the hash of the CPAK's COSE_Key."""
    cpak = derive_key(seed, "cpak", Curve.P384)
    return PlatformIdentity(cpak, b"\x01" + hashlib.sha256(cpak.public.cose_key()).digest())


def realm_attestation_key(seed: bytes, boot: int, slots: dict[int, MeasurementSlot]) -> SigningKey:
    """The RAK of this boot and these measurements: another boot, or other firmware, has another key."""
    registers = hashlib.sha256()
    for slot in sorted(slots):
        registers.update(slot.to_bytes(4, "big") + slots[slot].register)
    return derive_key(seed, f"rak/{boot}/{registers.hexdigest()}", Curve.P384)


def software_components(slots: dict[int, MeasurementSlot]) -> tuple[SoftwareComponent, ...]:
    """Claim 2399 in slot order: each component as it runs now.

    The measurement is that of the running image, which is what reference values name, and not the register: a register
    that was extended by a live activation can only be explained by the event log, which profile 1.0.0 has no claim for.
    RSE also forgets type and version of a slot that is extended again; here they stay, or no reference would match.
    """
    return tuple(
        SoftwareComponent(
            measurement_type=slot.last.component,
            measurement_value=slot.last.digest,
            version=slot.last.version,
            signer_id=slot.last.signer,
            description=HASH_NAME,
        )
        for _, slot in sorted(slots.items())
    )


def platform_token(platform: Platform, rak: SigningKey, slots: dict[int, MeasurementSlot]) -> bytes:
    """The platform token (COSE_Sign1, tag 18) over these measurements, bound to `rak`."""
    identity = platform_identity(platform.seed)
    claims = PlatformClaims(
        implementation_id=platform.implementation_id,
        instance_id=identity.instance_id,
        config=CONFIG,
        lifecycle=platform.lifecycle,
        sw_components=software_components(slots),
        hash_algo_id=HASH_NAME,
        **PROFILES[platform.token_profile](hashlib.sha256(rak.public.cose_key()).digest()),
    )
    return encode_platform(claims, identity.cpak)
