"""The claim tables of every published profile, as data.

A table says which labels a claim set has, what each may be, and in which order firmware writes them. The table is
chosen by claim 265 of each inner token, never by the outer tag. Sources: draft-ffm-rats-cca-token -00 to -04, TF-RMM
(TF-RMM/tf-rmm, app/attestation) and veraison/ccatoken for the orders.
"""

from __future__ import annotations

from typing import NamedTuple

from attestation import claim_rules as rules
from attestation.claim_records import BindingMode, PlatformProfile, RealmProfile
from attestation.claim_rules import Reader, Writer, as_is

PROFILE = 265
CHALLENGE = 10
SW_COMPONENTS = 2399


class ClaimRule(NamedTuple):
    """One claim: label, record field, JSON name, what it may be, how it is written."""

    label: int
    field: str
    json_name: str
    read: Reader
    required: bool = True
    write: Writer = as_is


class ClaimTable(NamedTuple):
    """One profile's claims in the firmware's order; ``forbidden`` labels must be absent."""

    rules: tuple[ClaimRule, ...]
    labels: frozenset[int]
    components: rules.Members = ()
    forbidden: frozenset[int] = frozenset()


def _table(*claims: ClaimRule, components: rules.Members = (), forbidden: frozenset[int] = frozenset()) -> ClaimTable:
    return ClaimTable(claims, frozenset(claim.label for claim in claims), components, forbidden)


_P_PROFILE = ClaimRule(PROFILE, "profile", "cca-platform-profile", rules.text)
_P_CHALLENGE = ClaimRule(CHALLENGE, "challenge", "cca-platform-challenge", rules.digest)
_P_IMPLEMENTATION = ClaimRule(2396, "implementation_id", "cca-platform-implementation-id", rules.byte_string(32))
_P_INSTANCE = ClaimRule(256, "instance_id", "cca-platform-instance-id", rules.instance_id)
_P_CONFIG = ClaimRule(2401, "config", "cca-platform-config", rules.byte_string())
_P_CONFIG_FILLED = _P_CONFIG._replace(read=rules.non_empty_bytes)
_P_LIFECYCLE = ClaimRule(2395, "lifecycle", "cca-platform-lifecycle", rules.lifecycle)
_P_HASH = ClaimRule(2402, "hash_algo_id", "cca-platform-hash-algo-id", rules.hash_name)
_P_CLIENT = ClaimRule(2394, "client_id", "cca-platform-client-id", rules.one_of(1))
_P_SERVICE = ClaimRule(
    2400, "service_indicator", "cca-platform-service-indicator", rules.non_empty_text, required=False
)
_P_COMPONENTS = ClaimRule(
    SW_COMPONENTS, "sw_components", "cca-platform-sw-components",
    rules.components(rules.COMPONENT_MEMBERS), write=rules.write_components(rules.COMPONENT_MEMBERS),
)  # fmt: skip
_P_COMPONENTS_2026 = _P_COMPONENTS._replace(
    read=rules.components(rules.COMPONENT_MEMBERS_2026), write=rules.write_components(rules.COMPONENT_MEMBERS_2026)
)
_P_MANUFACTURING = ClaimRule(
    2403, "manufacturing_config", "cca-platform-manufacturing-config", rules.non_empty_bytes, required=False
)
_P_EXTENSION = ClaimRule(
    2404, "extension", "cca-platform-extension", rules.extension, required=False, write=rules.write_extension
)
_P_ROTPK = ClaimRule(
    2405, "rot_public_keys", "cca-platform-tbb-rotpk",
    rules.rot_public_keys, required=False, write=rules.write_rot_public_keys,
)  # fmt: skip
_P_PEERS = ClaimRule(
    2406, "peer_signers", "cca-platform-peer-signers",
    rules.peer_signers, required=False, write=rules.write_peer_signers,
)  # fmt: skip
_P_PEERS_2026 = _P_PEERS._replace(write=rules.write_list)
_P_TPM = ClaimRule(2407, "tpm_binding", "cca-platform-tpm-binding", rules.byte_string(), required=False)
_P_BINDING = ClaimRule(2408, "workload_binding", "cca-platform-workload-binding", rules.digest)

_PLATFORM_1 = _table(
    _P_PROFILE, _P_CHALLENGE, _P_IMPLEMENTATION, _P_INSTANCE, _P_CONFIG, _P_LIFECYCLE, _P_HASH, _P_SERVICE,
    _P_COMPONENTS,
    components=rules.COMPONENT_MEMBERS,
)  # fmt: skip
_PLATFORM_2024 = _table(
    _P_PROFILE, _P_CHALLENGE, _P_IMPLEMENTATION, _P_INSTANCE, _P_CONFIG_FILLED, _P_LIFECYCLE, _P_HASH, _P_CLIENT,
    _P_SERVICE, _P_COMPONENTS, _P_MANUFACTURING, _P_EXTENSION, _P_ROTPK, _P_PEERS,
    components=rules.COMPONENT_MEMBERS,
)  # fmt: skip
_PLATFORM_2026_0 = _table(
    _P_PROFILE, _P_BINDING, _P_IMPLEMENTATION, _P_INSTANCE, _P_CONFIG_FILLED, _P_LIFECYCLE, _P_HASH, _P_CLIENT,
    _P_SERVICE, _P_COMPONENTS_2026, _P_MANUFACTURING, _P_ROTPK, _P_PEERS_2026, _P_TPM,
    components=rules.COMPONENT_MEMBERS_2026,
    forbidden=frozenset({CHALLENGE}),
)  # fmt: skip
_PLATFORM_2026_1 = _table(
    *_PLATFORM_2026_0.rules, _P_EXTENSION, components=rules.COMPONENT_MEMBERS_2026, forbidden=frozenset({CHALLENGE})
)


def _hesrak(table: ClaimTable) -> ClaimTable:
    """HESRAK platform tokens also carry the Realm challenge in claim 10."""
    first, *rest = table.rules
    challenge = _P_CHALLENGE._replace(read=rules.byte_string(64))
    return _table(first, challenge, *rest, components=table.components)


PLATFORM_TABLES: dict[str, ClaimTable] = {
    PlatformProfile.LEGACY: _PLATFORM_1,
    PlatformProfile.V2023_1_0: _PLATFORM_1,
    PlatformProfile.V2024_1_1: _PLATFORM_1,
    PlatformProfile.V2024_2_0: _PLATFORM_2024,
    f"{PlatformProfile.V2024_2_0};{BindingMode.DIRECT}": _PLATFORM_2024,
} | {
    profile + suffix: _hesrak(table) if suffix == f";{BindingMode.HESRAK}" else table
    for profile, table in (
        (PlatformProfile.V2026_2_0, _PLATFORM_2026_0),
        (PlatformProfile.V2026_2_1, _PLATFORM_2026_1),
    )
    for suffix in ("", *(f";{mode}" for mode in BindingMode))
}
"""Platform claim table by claim 265."""

_R_PROFILE = ClaimRule(PROFILE, "profile", "cca-realm-profile", rules.text)
_R_CHALLENGE = ClaimRule(CHALLENGE, "challenge", "cca-realm-challenge", rules.byte_string(64))
_R_RPV = ClaimRule(44235, "personalization_value", "cca-realm-personalization-value", rules.byte_string(64))
_R_HASH = ClaimRule(44236, "hash_algo_id", "cca-realm-hash-algo-id", rules.hash_name)
_R_RAK_RAW = ClaimRule(44237, "public_key", "cca-realm-public-key", rules.raw_point)
_R_RAK = _R_RAK_RAW._replace(read=rules.cose_key)
_R_RIM = ClaimRule(44238, "initial_measurement", "cca-realm-initial-measurement", rules.digest)
_R_REM = ClaimRule(
    44239, "extensible_measurements", "cca-realm-extensible-measurements",
    rules.extensible_measurements, write=rules.write_list,
)  # fmt: skip
_R_RAK_HASH = ClaimRule(44240, "public_key_hash_algo_id", "cca-realm-public-key-hash-algo-id", rules.hash_name)
_R_MEC = ClaimRule(44243, "mec_policy", "cca-realm-mec-policy", rules.mec_policy, write=rules.write_mec_policy)
_R_LFA = ClaimRule(44244, "lfa_policy", "cca-realm-lfa-policy", rules.one_of(0, 1), required=False)
_R_INSTANCE = ClaimRule(256, "instance_id", "cca-realm-instance-id", rules.instance_id)
_R_DEVICES = ClaimRule(44257, "devices_token_hash", "cca-realm-devices-token-hash", rules.digest, required=False)

_REALM_2024 = _table(
    _R_CHALLENGE, _R_INSTANCE, _R_RPV, _R_RAK, _R_HASH, _R_RAK_HASH, _R_MEC, _R_PROFILE, _R_RIM, _R_REM, _R_DEVICES
)
REALM_TABLES: dict[str, ClaimTable] = {
    RealmProfile.LEGACY: _table(_R_CHALLENGE, _R_RPV, _R_RAK_RAW, _R_HASH, _R_RAK_HASH, _R_RIM, _R_REM),
    RealmProfile.V2023_1_0: _table(_R_CHALLENGE, _R_RPV, _R_RAK, _R_HASH, _R_RAK_HASH, _R_PROFILE, _R_RIM, _R_REM),
    RealmProfile.V2024_2_0: _REALM_2024,
    RealmProfile.V2026_2_0: _table(*_REALM_2024.rules, _R_LFA),
}
"""Realm claim table by claim 265 (the empty string when it is absent)."""

_RAK_LABELS = frozenset({_R_RAK.label, _R_RAK_HASH.label})
REALM_DIRECT_TABLES: dict[str, ClaimTable] = {
    profile: _table(*(rule for rule in table.rules if rule.label not in _RAK_LABELS), forbidden=_RAK_LABELS)
    for profile, table in REALM_TABLES.items()
    if profile in (RealmProfile.V2024_2_0, RealmProfile.V2026_2_0)
}
"""Realm claim tables in direct mode: an unsigned claim set without RAK, bound by its own hash."""
