"""The Realm Services Interface 1.0: what a Realm asks of the RMM (DEN0137 1.0-rel0, part B5)."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from cca_machine.abi.layout import Field, Layout
from cca_machine.abi.smc import NOT_SUPPORTED, fast64

VERSION_1_0 = 0x1_0000
MEASUREMENT_REGISTERS = 5
MEASUREMENT_BYTES = 64
MAX_EXTEND_BYTES = 64
HOST_CALL_ALIGNMENT = 256
IPA_STATE_CHANGE_DESTROYED = 1


class Rsi(IntEnum):
    """Function ids of RSI 1.0 (DEN0137 1.0-rel0, section B5.3)."""

    VERSION = fast64(0x190)
    FEATURES = fast64(0x191)
    MEASUREMENT_READ = fast64(0x192)
    MEASUREMENT_EXTEND = fast64(0x193)
    ATTESTATION_TOKEN_INIT = fast64(0x194)
    ATTESTATION_TOKEN_CONTINUE = fast64(0x195)
    REALM_CONFIG = fast64(0x196)
    IPA_STATE_SET = fast64(0x197)
    IPA_STATE_GET = fast64(0x198)
    HOST_CALL = fast64(0x199)


class RsiStatus(IntEnum):
    """X0 of an RSI command (DEN0137 1.0-rel0, section B5.4.1)."""

    SUCCESS = 0
    ERROR_INPUT = 1
    ERROR_STATE = 2
    INCOMPLETE = 3
    ERROR_UNKNOWN = 4


class RsiResponse(IntEnum):
    """Host's answer to a RIPAS change as the Realm sees it (DEN0137 1.0-rel0, section B5.4.8)."""

    ACCEPT = 0
    REJECT = 1


REALM_CONFIG = Layout(
    "RsiRealmConfig",
    4096,
    (Field("ipa_width", 0x000, 8), Field("hash_algo", 0x008, 1), Field("rpv", 0x200, 64, 0)),
)
"""RsiRealmConfig (DEN0137 1.0-rel0, section B5.4.6)."""

HOST_CALL = Layout("RsiHostCall", 256, (Field("imm", 0x00, 2), Field("gprs", 0x08, 8, 31)))
"""RsiHostCall (DEN0137 1.0-rel0, section B5.4.3)."""


class RealmConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What RSI_REALM_CONFIG writes into the Realm's page."""

    ipa_width: int
    hash_algo: int
    rpv: bytes

    def encode(self) -> bytes:
        """The page."""
        return REALM_CONFIG.encode(self)

    @classmethod
    def decode(cls, page: bytes) -> RealmConfig:
        """A configuration page as read by the Realm."""
        return cls(**REALM_CONFIG.decode(page))


class HostCall(msgspec.Struct, frozen=True, kw_only=True):
    """The structure a Realm passes to RSI_HOST_CALL."""

    imm: int = 0
    gprs: tuple[int, ...] = (0,) * 31

    def encode(self) -> bytes:
        """The 256-byte structure."""
        return HOST_CALL.encode(self)

    @classmethod
    def decode(cls, structure: bytes) -> HostCall:
        """A host call structure."""
        return cls(**HOST_CALL.decode(structure))


def status_name(x0: int) -> str:
    """Name of the status in `x0`; unknown calls are NOT_SUPPORTED."""
    if x0 == NOT_SUPPORTED:
        return "NOT_SUPPORTED"
    return RsiStatus(x0).name if x0 <= RsiStatus.ERROR_UNKNOWN else f"STATUS_{x0}"
