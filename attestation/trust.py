"""AR4SI trustworthiness vectors: eight claims, four tiers.

Source: draft-ietf-rats-ar4si, sections on trustworthiness claims and tiers; names and numbers as in veraison/ear.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec


class Tier(IntEnum):
    """Trustworthiness tier; the numbers order them from best known to worst."""

    NONE = 0
    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96

    @property
    def text(self) -> str:
        """The name used in EAR JSON."""
        return self.name.lower()


def tier_of(value: int) -> Tier:
    """The tier of a signed 8-bit claim value."""
    if -1 <= value <= 1:
        return Tier.NONE
    if -32 <= value <= 31:
        return Tier.AFFIRMING
    if -96 <= value <= 95:
        return Tier.WARNING
    return Tier.CONTRAINDICATED


class TrustClaim(StrEnum):
    """The eight members of a trustworthiness vector, in their numbered order, by their EAR JSON names."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"

    @property
    def field(self) -> str:
        """The record field of this member."""
        return self.value.replace("-", "_")


VERIFIER_MALFUNCTION = -1
NO_CLAIM = 0
CRYPTO_FAILED = 99

_ANY = {-1: "verifier malfunction", 0: "no claim", 1: "unexpected evidence", 99: "cryptographic validation failed"}
_MEANINGS: dict[TrustClaim, dict[int, str]] = {
    TrustClaim.INSTANCE_IDENTITY: {2: "recognized", 96: "untrustworthy", 97: "not recognized"},
    TrustClaim.CONFIGURATION: {2: "approved", 3: "no known vulnerabilities", 32: "unsafe", 96: "unsupportable"},
    TrustClaim.EXECUTABLES: {
        2: "approved at run time", 3: "approved at boot time", 32: "unsafe", 33: "not recognized",
        96: "contraindicated",
    },
    TrustClaim.FILE_SYSTEM: {2: "approved", 32: "unrecognized", 96: "contraindicated"},
    TrustClaim.HARDWARE: {2: "genuine", 32: "unsafe", 96: "contraindicated", 97: "unrecognized"},
    TrustClaim.RUNTIME_OPAQUE: {2: "encrypted memory", 32: "isolated memory", 96: "visible memory"},
    TrustClaim.STORAGE_OPAQUE: {2: "hardware-held keys", 32: "software-held keys", 96: "unencrypted"},
    TrustClaim.SOURCED_DATA: {2: "trusted", 32: "untrusted", 96: "contraindicated"},
}  # fmt: skip


def meaning(claim: TrustClaim, value: int) -> str:
    """What a claim value says, in words."""
    return _MEANINGS[claim].get(value) or _ANY.get(value) or tier_of(value).text


class TrustVector(msgspec.Struct, frozen=True, kw_only=True):
    """Eight signed 8-bit claim values; 0 is no claim."""

    instance_identity: int = NO_CLAIM
    configuration: int = NO_CLAIM
    executables: int = NO_CLAIM
    file_system: int = NO_CLAIM
    hardware: int = NO_CLAIM
    runtime_opaque: int = NO_CLAIM
    storage_opaque: int = NO_CLAIM
    sourced_data: int = NO_CLAIM

    @classmethod
    def all(cls, value: int) -> TrustVector:
        """A vector with the same value everywhere."""
        return cls(**{claim.field: value for claim in TrustClaim})

    @property
    def status(self) -> Tier:
        """The worst tier of the eight."""
        return max(tier_of(value) for value in self.members().values())

    def members(self) -> dict[TrustClaim, int]:
        """The eight values by name."""
        return {claim: getattr(self, claim.field) for claim in TrustClaim}
