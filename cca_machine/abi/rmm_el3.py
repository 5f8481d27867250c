"""What the RMM asks of EL3: the RMM-EL3 communication interface as a port (TF-A rmm-el3-comms-spec)."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from cca_machine.abi.smc import fast64


class RmmEl3(IntEnum):
    """Function ids the RMM calls at EL3."""

    RMI_REQ_COMPLETE = fast64(0x18F)
    GTSI_DELEGATE = fast64(0x1B0)
    GTSI_UNDELEGATE = fast64(0x1B1)
    ATTEST_GET_REALM_KEY = fast64(0x1B2)
    ATTEST_GET_PLAT_TOKEN = fast64(0x1B3)
    EL3_FEATURES = fast64(0x1B4)
    EL3_TOKEN_SIGN = fast64(0x1B5)
    MEC_REFRESH = fast64(0x1B6)
    RESERVE_MEMORY = fast64(0x1BB)
    BOOT_COMPLETE = fast64(0x1CF)


class El3Status(IntEnum):
    """Return codes of EL3 services."""

    OK = 0
    UNKNOWN = -1
    BAD_ADDRESS = -2
    BAD_PAS = -3
    NO_MEMORY = -4
    INVALID = -5
    AGAIN = -6
    FAULT = -7
    IN_PROGRESS = -8


class BootStatus(IntEnum):
    """x1 of RMM_BOOT_COMPLETE."""

    OK = 0
    UNKNOWN = -1
    VERSION_MISMATCH = -2
    CPU_COUNT = -3
    CPU_ID = -4
    SHARED_BUFFER = -5
    MANIFEST_VERSION = -6
    MANIFEST_DATA = -7


class El3Services(Protocol):
    """The EL3 a running RMM sees; implemented by the monitor, which alone changes the GPT."""

    def delegate(self, pa: int) -> int:
        """Move one granule from Non-secure to Realm PAS; an `El3Status` (BAD_ADDRESS, BAD_PAS leave it as it was)."""
        ...

    def undelegate(self, pa: int) -> int:
        """Move one granule from Realm to Non-secure PAS; an `El3Status`."""
        ...

    def delegate_run(self, pa: int, count: int) -> int:
        """`count` calls of `delegate` from `pa` upward, stopping at the first refusal; how many succeeded."""
        ...

    def undelegate_run(self, pa: int, count: int) -> int:
        """`count` calls of `undelegate` from `pa` upward, stopping at the first refusal; how many succeeded."""
        ...

    def realm_key(self) -> bytes:
        """The Realm attestation key: a P-384 private scalar of 48 bytes, big-endian."""
        ...

    def platform_token(self) -> bytes:
        """The platform token (COSE_Sign1, tag 18) whose challenge is the hash of the Realm attestation public key."""
        ...
