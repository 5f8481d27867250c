"""The claim sets of platform and Realm tokens as records.

Field order follows draft-ffm-rats-cca-token; values are as on the wire (digests trimmed to the hash length). Fields
that a profile does not know stay at their defaults and are not encoded.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PlatformProfile(StrEnum):
    """Values of claim 265 in platform tokens, without the mode suffix of the 2.x profiles."""

    LEGACY = "http://arm.com/CCA-SSD/1.0.0"
    V2023_1_0 = "tag:arm.com,2023:cca_platform#1.0.0"
    V2024_1_1 = "tag:arm.com,2024:cca_platform#1.1.0"
    V2024_2_0 = "tag:arm.com,2024:cca_platform#2.0.0"
    V2026_2_0 = "tag:arm.com,2026:cca_platform#2.0.0"
    V2026_2_1 = "tag:arm.com,2026:cca_platform#2.1.0"


class RealmProfile(StrEnum):
    """Values of claim 265 in Realm tokens; legacy tokens carry none, which is the empty string here."""

    LEGACY = ""
    V2023_1_0 = "tag:arm.com,2023:realm#1.0.0"
    V2024_2_0 = "tag:arm.com,2024:realm#2.0.0"
    V2026_2_0 = "tag:arm.com,2026:realm#2.0.0"


class BindingMode(StrEnum):
    """How a platform token is bound to a Realm token: the suffix of a 2.x platform profile."""

    DELEGATED = "delegated"
    DIRECT = "direct"
    HESRAK = "HESRAK"


class MecPolicy(StrEnum):
    """Claim 44243: whether the Realm has a memory encryption context of its own."""

    SHARED = "shared"
    PRIVATE = "private"


class SoftwareComponent(msgspec.Struct, frozen=True, kw_only=True):
    """One item of claim 2399: a measured firmware component."""

    measurement_type: str | None = None
    measurement_value: bytes
    version: str | None = None
    signer_id: bytes
    description: str | None = None
    live_activation: bool | None = None
    countersigners: tuple[bytes, ...] = ()


class RotPublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """One item of claim 2405: a root-of-trust public key of trusted boot ("CM" or "DM")."""

    owner: str
    active: int
    index: int
    digest: bytes


class ExtensionDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One item of claim 2404: a device that extends the platform."""

    hash_algo_id: str | None = None
    measurements: bytes
    certificates: bytes
    uses_ide: bool
    protocol: str
    vca: bytes | None = None
    device_type: str
    encryption: int | None = None


class PlatformClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claim set of a platform token; ``lifecycle`` is the 16-bit value of claim 2395."""

    profile: str = PlatformProfile.V2023_1_0
    challenge: bytes | None = None
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    sw_components: tuple[SoftwareComponent, ...]
    service_indicator: str | None = None
    hash_algo_id: str = "sha-256"
    client_id: int | None = None
    manufacturing_config: bytes | None = None
    extension: tuple[ExtensionDevice, ...] = ()
    rot_public_keys: tuple[RotPublicKey, ...] = ()
    peer_signers: tuple[bytes, ...] = ()
    tpm_binding: bytes | None = None
    workload_binding: bytes | None = None

    @property
    def binding(self) -> bytes | None:
        """The value that must equal the hash of the RAK: claim 2408 where the profile has it, else claim 10."""
        return self.challenge if self.workload_binding is None else self.workload_binding

    @property
    def mode(self) -> BindingMode:
        """The binding mode that the profile suffix names."""
        return BindingMode(self.profile.partition(";")[2] or BindingMode.DELEGATED)


class RealmClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claim set of a Realm token; ``public_key`` holds the RAK bytes exactly as in claim 44237."""

    profile: str = RealmProfile.V2023_1_0
    challenge: bytes
    personalization_value: bytes
    hash_algo_id: str = "sha-256"
    public_key: bytes = b""
    initial_measurement: bytes
    extensible_measurements: tuple[bytes, ...]
    public_key_hash_algo_id: str = "sha-256"
    mec_policy: str | None = None
    lfa_policy: int | None = None
    instance_id: bytes | None = None
    devices_token_hash: bytes | None = None


class Lifecycle(StrEnum):
    """Names of the lifecycle ranges of claim 2395 (upper byte is the state, lower byte is free)."""

    UNKNOWN = "unknown"
    ASSEMBLY_AND_TEST = "assembly-and-test"
    PROVISIONING = "cca-platform-rot-provisioning"
    SECURED = "secured"
    NON_PLATFORM_DEBUG = "non-cca-platform-rot-debug"
    RECOVERABLE_DEBUG = "recoverable-cca-platform-rot-debug"
    DECOMMISSIONED = "decommissioned"


_LIFECYCLES = dict(enumerate(Lifecycle))


def lifecycle_name(value: int) -> Lifecycle | None:
    """Name the state of a lifecycle value; None when the value lies in no range (a syntax error)."""
    state, low = divmod(value, 0x1000)
    return _LIFECYCLES.get(state) if 0 <= low <= 0xFF else None
