"""Claim sets in the JSON form of the Veraison tools: names instead of labels, byte strings in standard base64.

Source: veraison/ccatoken (JSON tags of the claim structs), veraison/evcli (claims file). The rules are those of the
claim tables: a JSON claim set is turned into labels and checked like a decoded one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from attestation import cbor, claims
from attestation import claim_rules as rules
from attestation.claim_records import PlatformClaims, RealmClaims, SoftwareComponent
from attestation.errors import BadClaims, Malformed
from attestation.profiles import PROFILE, SW_COMPONENTS, ClaimRule, ClaimTable
from attestation.stores import read_json

PLATFORM_MEMBER = "cca-platform-token"
REALM_MEMBER = "cca-realm-delegated-token"
_PLATFORM_PROFILE = "cca-platform-profile"
_REALM_PROFILE = "cca-realm-profile"
_TEXT_READERS = (rules.text, rules.non_empty_text, rules.hash_name, rules.mec_policy)
_COMPONENT_NAMES: tuple[tuple[str, int, str, bool], ...] = (
    ("measurement-type", 1, "measurement_type", False),
    ("measurement-value", 2, "measurement_value", True),
    ("version", 4, "version", False),
    ("signer-id", 5, "signer_id", True),
    ("measurement-description", 6, "description", False),
)
"""JSON name, key, field, and whether the value is bytes."""


def read_platform(document: Any) -> PlatformClaims:
    """Read a platform claim set; unknown names are ignored. Raises Malformed or BadClaims."""
    members = _object(document)
    if _PLATFORM_PROFILE not in members:
        raise BadClaims(f"{_PLATFORM_PROFILE} is missing", label=PROFILE)
    table = claims.platform_table(members[_PLATFORM_PROFILE])
    return claims.read_platform(_labels(members, table))[0]


def read_realm(document: Any) -> RealmClaims:
    """Read a Realm claim set; unknown names are ignored. Raises Malformed or BadClaims."""
    members = _object(document)
    table = claims.realm_table(members.get(_REALM_PROFILE, ""))
    return claims.read_realm(_labels(members, table))[0]


def read_claims_file(data: bytes | str) -> tuple[PlatformClaims, RealmClaims]:
    """Read the claims file of a token generator: both claim sets.

    It is a template: the RAK is a placeholder, and a challenge that is missing on either side is zero filled, because
    binding and nonce replace them. Raises Malformed or BadClaims.
    """
    document = _object(read_json(data, "claims file"))
    for member in (PLATFORM_MEMBER, REALM_MEMBER):
        if not isinstance(document.get(member), dict):
            raise BadClaims(f"{member} is missing", label=member)
    platform = {"cca-platform-challenge": base64.b64encode(bytes(32)).decode()} | document[PLATFORM_MEMBER]
    realm = {"cca-realm-challenge": base64.b64encode(bytes(64)).decode()} | document[REALM_MEMBER]
    placeholder = cbor.encode({1: 2, -1: 2, -2: bytes(48), -3: bytes(48)}) if realm.get(_REALM_PROFILE) else bytes(97)
    realm["cca-realm-public-key"] = base64.b64encode(placeholder).decode()
    return read_platform(platform), read_realm(realm)


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Malformed("claim set is not a JSON object")
    return document


def _labels(members: Mapping[str, Any], table: ClaimTable) -> dict[int, Any]:
    return {rule.label: _from_json(rule, members[rule.json_name]) for rule in table.rules if rule.json_name in members}


def _from_json(rule: ClaimRule, value: Any) -> Any:
    if rule.label == SW_COMPONENTS and isinstance(value, list):
        return [_component(rule, item) for item in value]
    if rule.read in _TEXT_READERS:
        return value
    if isinstance(value, list):
        return [_bytes(rule, item) for item in value]
    return _bytes(rule, value)


def _component(rule: ClaimRule, item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {
        key: _bytes(rule, item[name]) if is_bytes else item[name]
        for name, key, _, is_bytes in _COMPONENT_NAMES
        if name in item
    }


def _bytes(rule: ClaimRule, value: Any) -> Any:
    """Base64 to bytes; what is no string is left to the rule to refuse."""
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadClaims(f"{rule.json_name} is not base64", label=rule.label) from None


def write_platform(platform: PlatformClaims) -> dict[str, Any]:
    """A platform claim set with JSON names, as in annotated evidence."""
    return _named(platform, claims.platform_table(platform.profile))


def write_realm(realm: RealmClaims) -> dict[str, Any]:
    """A Realm claim set with JSON names, as in annotated evidence."""
    return _named(realm, claims.realm_table(realm.profile, direct=not realm.public_key))


def _named(record: PlatformClaims | RealmClaims, table: ClaimTable) -> dict[str, Any]:
    pairs = ((rule.json_name, getattr(record, rule.field)) for rule in table.rules)
    return {name: _to_json(value) for name, value in pairs if value not in (None, ())}


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, SoftwareComponent):
        pairs = ((name, getattr(value, field)) for name, _, field, _ in _COMPONENT_NAMES)
        return {name: _to_json(member) for name, member in pairs if member is not None}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if hasattr(value, "__struct_fields__"):
        return {name: _to_json(getattr(value, name)) for name in value.__struct_fields__}
    return value
