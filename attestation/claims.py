"""Claim sets to CBOR and back: encode in the firmware's order, decode and validate strictly.

Unknown claims are ignored and reported; everything else that deviates from the profile's table is refused with label
and byte offset. Source: draft-ffm-rats-cca-token, sections on platform and Realm claims.
"""

from __future__ import annotations

from typing import Any

from attestation import cbor, claim_rules
from attestation.claim_records import (
    BindingMode,
    ExtensionDevice,
    Lifecycle,
    MecPolicy,
    PlatformClaims,
    PlatformProfile,
    RealmClaims,
    RealmProfile,
    RotPublicKey,
    SoftwareComponent,
    lifecycle_name,
)
from attestation.errors import BadClaims, RefusalReason
from attestation.profiles import PLATFORM_TABLES, PROFILE, REALM_DIRECT_TABLES, REALM_TABLES, SW_COMPONENTS, ClaimTable

__all__ = [
    "BindingMode",
    "ExtensionDevice",
    "Lifecycle",
    "MecPolicy",
    "PlatformClaims",
    "PlatformProfile",
    "RealmClaims",
    "RealmProfile",
    "RotPublicKey",
    "SoftwareComponent",
    "decode_platform",
    "decode_realm",
    "encode_platform_claims",
    "encode_realm_claims",
    "lifecycle_name",
    "platform_table",
    "read_platform",
    "read_realm",
    "realm_table",
]


def platform_table(profile: object, payload: bytes = b"") -> ClaimTable:
    """Choose the platform claim table by claim 265. Raises BadClaims (profile)."""
    table = PLATFORM_TABLES.get(profile) if isinstance(profile, str) else None
    if table is None:
        raise _unknown_profile("platform", profile, payload)
    return table


def realm_table(profile: object, payload: bytes = b"", *, direct: bool = False) -> ClaimTable:
    """Choose the Realm claim table by claim 265, the empty string when it is absent. Raises BadClaims (profile)."""
    tables = REALM_DIRECT_TABLES if direct else REALM_TABLES
    table = tables.get(profile) if isinstance(profile, str) else None
    if table is None:
        raise _unknown_profile("realm", profile, payload)
    return table


def _unknown_profile(part: str, profile: object, payload: bytes) -> BadClaims:
    offset = _offset(payload, (PROFILE,))
    message = f"unknown {part} profile {_shown(profile)}"
    return BadClaims(message, reason=RefusalReason.PROFILE, label=PROFILE, offset=offset)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def encode_platform_claims(claims: PlatformClaims) -> bytes:
    """Encode platform claims in the order in which the profile's firmware writes them. Raises BadClaims."""
    return _encode(claims, platform_table(claims.profile))


def encode_realm_claims(claims: RealmClaims, *, direct: bool = False) -> bytes:
    """Encode Realm claims in the order in which the profile's RMM writes them. Raises BadClaims."""
    return _encode(claims, realm_table(claims.profile, direct=direct))


def _encode(claims: PlatformClaims | RealmClaims, table: ClaimTable) -> bytes:
    values: dict[int, Any] = {}
    for rule in table.rules:
        value = getattr(claims, rule.field)
        if value is None or value == ():
            if rule.required:
                raise BadClaims(f"{rule.json_name} is missing", label=rule.label)
            continue
        values[rule.label] = rule.write(value)
    data = cbor.encode(values)
    # what is written must be what every strict reader, ours included, accepts
    _fields(values, table, data)
    if len(data) > cbor.TOKEN_LIMITS.max_bytes:
        raise BadClaims(f"claims of {len(data)} bytes are more than a reader takes")
    return data


def decode_platform(payload: bytes) -> tuple[PlatformClaims, tuple[str, ...]]:
    """Decode and validate a platform claim set; also what was ignored. Raises Malformed or BadClaims."""
    return read_platform(cbor.decode(payload), payload)


def decode_realm(payload: bytes, *, direct: bool = False) -> tuple[RealmClaims, tuple[str, ...]]:
    """Decode and validate a Realm claim set; also what was ignored. Raises Malformed or BadClaims."""
    return read_realm(cbor.decode(payload), payload, direct=direct)


def read_platform(values: Any, payload: bytes = b"") -> tuple[PlatformClaims, tuple[str, ...]]:
    """Validate decoded platform claims; ``payload`` are the bytes they came from, to name offsets."""
    if not isinstance(values, dict):
        raise BadClaims("platform claims are not a map", offset=0)
    if PROFILE not in values:
        raise BadClaims("cca-platform-profile is missing", label=PROFILE)
    table = platform_table(values[PROFILE], payload)
    claims = PlatformClaims(**_fields(values, table, payload))
    ignored = [f"platform claim {label}" for label in values if label not in table.labels]
    ignored += claim_rules.unknown_component_keys(values[SW_COMPONENTS], table.components)
    return claims, tuple(ignored)


def read_realm(values: Any, payload: bytes = b"", *, direct: bool = False) -> tuple[RealmClaims, tuple[str, ...]]:
    """Validate decoded Realm claims; ``payload`` are the bytes they came from, to name offsets."""
    if not isinstance(values, dict):
        raise BadClaims("realm claims are not a map", offset=0)
    profile = values.get(PROFILE, "")
    if PROFILE in values and profile == "":
        raise BadClaims("realm profile is empty", label=PROFILE, offset=_offset(payload, (PROFILE,)))
    table = realm_table(profile, payload, direct=direct)
    claims = RealmClaims(**({"profile": profile} | _fields(values, table, payload)))
    return claims, tuple(f"realm claim {label}" for label in values if label not in table.labels)


def _offset(payload: bytes, path: claim_rules.Path) -> int | None:
    return cbor.locate(payload, path) if payload else None


def _fields(values: dict[Any, Any], table: ClaimTable, payload: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for rule in table.rules:
        # what is missing is named before what is wrong: that is the more telling of two mistakes
        if rule.required and rule.label not in values:
            raise BadClaims(f"{rule.json_name} is missing", label=rule.label)
    for label, field, json_name, read, *_ in table.rules:
        if label in values:
            try:
                fields[field] = read(values[label])
            except claim_rules.RuleBroken as broken:
                raise BadClaims(
                    f"{json_name} {broken.message}", label=label, offset=_offset(payload, (label, *broken.path))
                ) from None
    for label in table.forbidden:
        if label in values:
            raise BadClaims(
                f"claim {label} must be absent under this profile", label=label, offset=_offset(payload, (label,))
            )
    return fields
